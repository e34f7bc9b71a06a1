"""What people write on the command line, as numbers: amounts, shares, times, keys.

Every function raises InputError that names the option, the value and the fix.
"""

from __future__ import annotations

import re
from decimal import Decimal

from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.settlement.payroll import CUMULATIVE_MAX

COIN_UNITS = {"wei": 1, "gwei": 10**9, "ether": 10**18}
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
SECONDS_MAX = 2**32 - 1
_AMOUNT = re.compile(r"(\d{1,3}(?:[_,]\d{3})+|\d{1,39})(\.\d{1,18})?(wei|gwei|ether)?", re.ASCII)
_DURATION = re.compile(r"(\d{1,10})([smhd])", re.ASCII)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)(%?)", re.ASCII)
_HASH = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")


def read_amount(field: str, text: str) -> int:
    """Return an amount in the smallest unit, 1 to 2**128 - 1: 5000, 5_000, 0.5ether, 20gwei."""
    found = _AMOUNT.fullmatch(text.strip())
    fix = "a whole number of the smallest unit (5000, 5_000), or coin as 0.5ether or 20gwei"
    if found is None or (found[2] and not found[3]):
        raise InputError(field, text, fix)
    digits = found[1].replace("_", "").replace(",", "") + (found[2] or "")
    amount = Decimal(digits) * COIN_UNITS[found[3] or "wei"]
    if amount != int(amount):
        raise InputError(field, text, "the smallest unit cannot be divided: write fewer digits")
    if not 0 < amount <= CUMULATIVE_MAX:
        raise InputError(field, text, "an amount is from 1 to 2**128 - 1")
    return int(amount)


def read_share(field: str, text: str) -> int:
    """Return a share in parts per million: 30%, 12.5%, 0.3."""
    found = _SHARE.fullmatch(text.strip())
    if found is None:
        raise InputError(field, text, "a share is written as 30% or 0.3")
    ppm = Decimal(found[1]) * (PPM // 100 if found[2] else PPM)
    if ppm != int(ppm) or ppm > PPM:
        raise InputError(field, text, "a share is from 0% to 100%, in steps of 0.0001%")
    return int(ppm)


def read_duration(field: str, text: str) -> int:
    """Return seconds: 90s, 15m, 2h, 7d, or 0."""
    found = _DURATION.fullmatch(text.strip())
    if text.strip() == "0":
        return 0
    if found is None:
        raise InputError(field, text, "a time is a number and s, m, h or d: 90s, 15m, 2h, 7d")
    seconds = int(found[1]) * SECONDS[found[2]]
    if seconds > SECONDS_MAX:
        raise InputError(field, text, "that is too long")
    return seconds


def read_hash(field: str, text: str) -> bytes:
    """Return 32 bytes from 64 hex digits, with or without 0x."""
    found = _HASH.fullmatch(text.strip())
    if found is None:
        raise InputError(field, text, "write 64 hex digits, with or without 0x")
    return bytes.fromhex(found[1])
