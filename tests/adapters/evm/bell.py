"""The tests' own contract (Bell.sol, compiled into Bell.json): its typed calls and its place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.adapters.evm.anvil import KEYS

from kumiai.adapters.evm.abi import (
    Call,
    ContractError,
    Event,
    collect_errors,
    collect_events,
    make_function,
)
from kumiai.adapters.evm.accounts import Account

BYTECODE = bytes.fromhex(
    json.loads(Path(__file__).with_name("Bell.json").read_text())["bytecode"][2:]
)
ACCOUNTS = [Account(bytes.fromhex(key[2:])) for key in KEYS]
CHAIN_ID = 31337
RING_GAS = 80_000

_RING = make_function("ring(bytes note)", "()", {})
_RING_TIMES = make_function("ringTimes(uint256 times)", "()", {})
_ALLOW = make_function("allow(uint256 times)", "()", {})
_SCOLD = make_function("scold()", "()", {})
_RINGS = make_function("rings()", "(uint256 value_0)", {})


@dataclass(frozen=True, slots=True)
class Rung(Event):
    by: str
    number: int
    note: bytes
    SIGNATURE: ClassVar[str] = "Rung(address indexed by, uint256 indexed number, bytes note)"


@dataclass(frozen=True, slots=True)
class TooLoud(ContractError):
    given: int
    most: int
    SIGNATURE: ClassVar[str] = "TooLoud(uint256 given, uint256 most)"


EVENTS = collect_events(globals())
ERRORS = collect_errors(globals())
ADVICE = {"TooLoud": "Ring less often."}


def ring(note: bytes) -> Call[None]:
    return Call(_RING, (note,))


def ring_times(times: int) -> Call[None]:
    return Call(_RING_TIMES, (times,))


def allow(times: int) -> Call[None]:
    return Call(_ALLOW, (times,))


def scold() -> Call[None]:
    return Call(_SCOLD, ())


def rings() -> Call[int]:
    return Call(_RINGS, ())
