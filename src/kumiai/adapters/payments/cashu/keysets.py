"""A mint's keys and fees (NUT-01, NUT-02). An id is the hash of its keys: they cannot be swapped.

Amounts are powers of two; a sum is paid in as few pieces as it has binary digits. The fee of a swap
is `input_fee_ppk` thousandths of a unit for each piece that goes in, rounded up once:
fee = ceil(sum of ppk / 1000).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kumiai.adapters.payments.cashu import points
from kumiai.adapters.payments.cashu.tokens import AMOUNT_MAX

KEY_COUNT_MAX = 64
KEYSET_COUNT_MAX = 256
FEE_PPK_MAX = 1_000_000  # a thousand units for each piece: nobody means that


@dataclass(frozen=True, slots=True)
class Keyset:
    """One set of keys: amount -> public key of the mint for it."""

    id: str
    unit: str
    is_active: bool
    input_fee_ppk: int
    final_expiry_s: int | None
    keys: Mapping[int, str]


def check_keyset(keyset: Keyset) -> None:
    """Raise ValueError unless the id is the hash of the keys, and fee and amounts are sound."""
    if not 0 <= keyset.input_fee_ppk <= FEE_PPK_MAX:
        raise ValueError(f"a fee of {keyset.input_fee_ppk} ppk is out of range")
    if not 1 <= len(keyset.keys) <= KEY_COUNT_MAX:
        raise ValueError(f"{len(keyset.keys)} keys: a keyset has 1 to {KEY_COUNT_MAX}")
    for amount, key in keyset.keys.items():
        if not 0 < amount < 2**64 or amount & (amount - 1):
            raise ValueError(f"amount {amount} is no power of two")
        points.read_point(key)
    if keyset.id not in {_compute_id_v1(keyset), _compute_id_v0(keyset)}:
        raise ValueError(f"keyset {keyset.id[:20]} does not belong to its keys")


def split_amount(amount: int, keyset: Keyset) -> list[int]:
    """Return the powers of two that make `amount`, ascending; ValueError if the mint lacks one."""
    parts = [1 << bit for bit in range(amount.bit_length()) if amount >> bit & 1]
    missing = [part for part in parts if part not in keyset.keys]
    if amount < 0 or amount > AMOUNT_MAX or missing:
        raise ValueError(f"the mint has no keys for {missing or amount}")
    return parts


def compute_fee(ppks: Iterable[int]) -> int:
    """Return the fee of a swap whose inputs cost these thousandths each."""
    return (sum(ppks) + 999) // 1000


def split_with_fee(amount: int, keyset: Keyset, count_max: int = KEY_COUNT_MAX) -> list[int]:
    """Return pieces that are worth `amount` after the fee for spending them, with the least fee.

    They may be worth more: by less than one unit of fee where a mint takes little, by several where
    one large piece costs less to spend than small ones; and where `amount` has more pieces than
    `count_max`, by as little as makes them so few (of 6 pieces: less than a 63rd).
    """
    total = amount
    while True:
        while total.bit_count() > count_max:
            total += total & -total  # the next greater sum that has fewer pieces
        parts = split_amount(total, keyset)
        if total - compute_fee([keyset.input_fee_ppk] * len(parts)) >= amount:
            return parts
        total += 1  # ends: a sum has at most 53 pieces, and their fee is bounded by FEE_PPK_MAX


def _compute_id_v1(keyset: Keyset) -> str:
    """The id with version byte 01: it also covers unit, fee and expiry (NUT-02)."""
    text = ",".join(f"{amount}:{keyset.keys[amount]}" for amount in sorted(keyset.keys))
    text += f"|unit:{keyset.unit}"
    if keyset.input_fee_ppk > 0:
        text += f"|input_fee_ppk:{keyset.input_fee_ppk}"
    if keyset.final_expiry_s is not None:
        text += f"|final_expiry:{keyset.final_expiry_s}"
    return "01" + hashlib.sha256(text.encode()).hexdigest()


def _compute_id_v0(keyset: Keyset) -> str:
    """The id with version byte 00, of the keys alone."""
    raw = b"".join(bytes.fromhex(keyset.keys[amount]) for amount in sorted(keyset.keys))
    return "00" + hashlib.sha256(raw).hexdigest()[:14]
