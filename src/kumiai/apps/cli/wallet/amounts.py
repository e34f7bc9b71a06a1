"""Amounts as people write and read them: whole sat and msat (1 sat = 1,000 msat), no fractions."""

from __future__ import annotations

import re
from typing import Final

from kumiai.base.errors import InputError

MSAT_OF_SAT: Final = 1_000
AMOUNT_MSAT_MAX: Final = 21_000_000 * 10**11  # every bitcoin there will be
_AMOUNT = re.compile(r"([0-9][0-9_,]{0,24}) ?(sat|msat)")


def read_amount(field: str, text: str) -> int:
    """Read "500sat", "1_000 sat" or "250msat" as msat; InputError names the field."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise InputError(field, text, "write a whole number with its unit: 500sat or 250msat")
    number = int(match[1].replace("_", "").replace(",", ""))
    amount_msat = number * (MSAT_OF_SAT if match[2] == "sat" else 1)
    if not 1 <= amount_msat <= AMOUNT_MSAT_MAX:
        raise InputError(field, text, f"give 1 to {AMOUNT_MSAT_MAX} msat")
    return amount_msat


def show_amount(amount_msat: int) -> str:
    """Return msat as "1,234 sat", "1,234 sat 567 msat" or "567 msat"; below zero with a minus."""
    sign = "−" if amount_msat < 0 else ""
    sat, msat = divmod(abs(amount_msat), MSAT_OF_SAT)
    parts = [f"{sat:,} sat"] if sat or not msat else []
    parts += [f"{msat} msat"] if msat else []
    return sign + " ".join(parts)
