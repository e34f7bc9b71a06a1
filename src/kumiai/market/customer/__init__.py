"""The customer's machine: post a job, contract providers, train in rounds, judge, pay, close."""

from kumiai.market.customer.machine import Customer
from kumiai.market.customer.state import (
    Accept,
    Begin,
    Cancel,
    CustomerPlan,
    CustomerState,
    Phase,
    Rate,
)

__all__ = [
    "Accept",
    "Begin",
    "Cancel",
    "Customer",
    "CustomerPlan",
    "CustomerState",
    "Phase",
    "Rate",
]
