"""What a payment may cost beside its amount: the limit that is paid with, and reserved before it.

One rule for both: what a wallet is allowed to spend on a route is what a budget holds back for it.
"""

from __future__ import annotations

from typing import Final

from kumiai.base.amounts import PPM

FEE_PPM_MAX: Final = 10_000  # of the amount: what a route may cost
FEE_MSAT_LEAST: Final = 2_000  # small payments may cost so much: LNbits reserves it of each


def compute_fee_max(amount_msat: int) -> int:
    """Return the most, in msat, that the route of a payment over Lightning may cost."""
    return max(FEE_MSAT_LEAST, amount_msat * FEE_PPM_MAX // PPM)
