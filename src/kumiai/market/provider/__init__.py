"""The provider's machine: announce, offer, accept a contract, train, deliver, be paid."""

from kumiai.market.provider.machine import Provider
from kumiai.market.provider.state import (
    Dispute,
    Leave,
    Pause,
    ProviderPolicy,
    ProviderState,
    RateCustomer,
    Start,
)

__all__ = [
    "Dispute",
    "Leave",
    "Pause",
    "Provider",
    "ProviderPolicy",
    "ProviderState",
    "RateCustomer",
    "Start",
]
