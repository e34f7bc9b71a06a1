"""What contracts refuse with, and what to do about each: custom errors to sentences.

The sentences are in the catalogue (`chain.advice.NAME`) with the error's own values as places, so
StakeTooSmall(stake, minimum) becomes "stake at least {minimum}".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, cast

from kumiai.adapters.evm.abi import ContractError, ErrorTypes
from kumiai.adapters.evm.bindings.arena.errors import ERRORS as ARENA_ERRORS
from kumiai.adapters.evm.bindings.disputes.errors import ERRORS as DISPUTES_ERRORS
from kumiai.adapters.evm.bindings.iarena.errors import ERRORS as IARENA_ERRORS
from kumiai.adapters.evm.bindings.idisputes.errors import ERRORS as IDISPUTES_ERRORS
from kumiai.adapters.evm.bindings.ierc20.errors import ERRORS as TOKEN_ERRORS
from kumiai.adapters.evm.bindings.timelock.errors import ERRORS as TIMELOCK_ERRORS
from kumiai.adapters.evm.errors import RevertedError
from kumiai.apps.report.texts import Texts

ERRORS: ErrorTypes = {
    **TOKEN_ERRORS,
    **TIMELOCK_ERRORS,
    **DISPUTES_ERRORS,
    **IDISPUTES_ERRORS,
    **ARENA_ERRORS,
    **IARENA_ERRORS,
}
STATUSES = ("none", "open", "running", "stopped", "closed", "cancelled", "expired")
ROLES = ("none", "trainer", "validator")
_TIMES = {"deadline", "from", "from_", "until", "activeAt", "closesAt"}
_ROUNDS = {"RootIsBlocked"}  # here `from` is a round, no time


def explain(error: RevertedError, texts: Texts) -> RevertedError:
    """Return the refusal with a sentence of what to do, in the reader's language."""
    if not isinstance(error.error, ContractError):
        return error
    name, values = error.error.NAME, list_values(error.error)
    key = f"chain.advice.{name}"
    if not texts.has(key):
        return error
    shown = ", ".join(f"{key} {value}" for key, value in values.items())
    message = texts.text("chain.refused", error=f"{name} ({shown})" if shown else name)
    places: dict[str, object] = dict(values)
    return RevertedError(message, error.data, error=error.error, advice=texts.text(key, **places))


def list_values(error: ContractError) -> Mapping[str, str]:
    """The error's parameters by name, as people read them."""
    name = error.NAME
    return {
        field.name.rstrip("_"): _show(name, field.name, getattr(error, field.name))
        for field in fields(cast("Any", error))
    }


def show_time(seconds: int) -> str:
    """A moment of the chain as 2026-11-22 08:54:20 UTC; far ones as "never"."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return "never"


def _show(error: str, name: str, value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int) and name in _TIMES and error not in _ROUNDS:
        return show_time(value)
    if name == "status" and isinstance(value, int) and value < len(STATUSES):
        return STATUSES[value]
    if name == "role" and isinstance(value, int) and value < len(ROLES):
        return ROLES[value]
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
