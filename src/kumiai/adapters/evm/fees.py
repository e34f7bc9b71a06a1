"""What to offer for gas, and how much of it at least: pure arithmetic on wei.

A transaction offers twice the base fee and a tip, so that it survives six full blocks; a
replacement offers an eighth more of both than what it replaces (nodes ask for a tenth), and never
less than a new transaction would.
"""

from __future__ import annotations

from dataclasses import dataclass

GWEI = 10**9
PPM = 1_000_000
BUMP_PPM_MIN = 125_000


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """Bounds in wei per gas. `cap`: nothing is ever offered above it."""

    cap: int = 200 * GWEI
    tip_min: int = GWEI // 1_000
    tip_max: int = 5 * GWEI
    bump_ppm: int = BUMP_PPM_MIN

    def __post_init__(self) -> None:
        if self.bump_ppm < BUMP_PPM_MIN:
            raise ValueError(f"a replacement needs {BUMP_PPM_MIN} ppm more, not {self.bump_ppm}")
        if not 0 <= self.tip_min <= self.tip_max <= self.cap:
            raise ValueError("0 <= tip_min <= tip_max <= cap does not hold")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a transaction offers for a unit of gas, in wei; the tip is part of `max_fee`."""

    max_fee: int
    tip: int


def make_offer(policy: FeePolicy, base_fee: int, tip_suggested: int) -> Offer | None:
    """Return what a new transaction offers, or None where the base fee is above the cap."""
    if base_fee > policy.cap:
        return None
    tip = min(max(tip_suggested, policy.tip_min), policy.tip_max, policy.cap)
    max_fee = min(2 * base_fee + tip, policy.cap)
    return Offer(max_fee, min(tip, max_fee))


def raise_offer(policy: FeePolicy, old: Offer, base_fee: int, tip_suggested: int) -> Offer | None:
    """Return what replaces `old`, or None where the cap leaves no room for the step."""
    least = Offer(_raise(old.max_fee, policy.bump_ppm), _raise(old.tip, policy.bump_ppm))
    if least.max_fee > policy.cap or least.tip > policy.cap:
        return None
    fresh = make_offer(policy, base_fee, tip_suggested) or least
    max_fee = max(least.max_fee, fresh.max_fee)
    return Offer(max_fee, min(max(least.tip, fresh.tip), max_fee))


def compute_gas_least(to: str | None, data: bytes) -> int:
    """Return the gas without which no block takes a transaction (EIP-2028, 3860, 7623).

    Some nodes take one with less into their pool, and drop it again without a word.
    """
    zeros = data.count(0)
    tokens = zeros + 4 * (len(data) - zeros)
    creation = 0 if to is not None else 32_000 + 2 * (-(-len(data) // 32))
    return 21_000 + max(4 * tokens + creation, 10 * tokens)


def _raise(amount: int, ppm: int) -> int:
    return max(amount + 1, -(-amount * (PPM + ppm) // PPM))
