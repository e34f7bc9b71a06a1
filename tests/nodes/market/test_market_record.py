"""Every input reads back to itself; what is not an input is refused."""

from __future__ import annotations

import typing
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.base import canonical
from kumiai.market import customer, provider
from kumiai.market.effects import Heard, PaymentSeen, Ticked
from kumiai.nodes.market.record import INPUTS, InputCodec

COMMANDS = (
    customer.Begin,
    customer.Accept,
    customer.Cancel,
    customer.Rate,
    provider.Start,
    provider.Leave,
    provider.Dispute,
    provider.RateCustomer,
)
CODEC = InputCodec(*COMMANDS)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def build(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type, the naive way: by what the hint says, without the codec's own code."""
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{one.name: build(hints[one.name]) for one in fields(hint)})
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if hint is int:
        return st.integers(-(2**70), 2**70)
    if hint is str:
        return TEXT
    if hint is bool:
        return st.booleans()
    if hint is type(None):
        return st.none()
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return st.lists(build(arguments[0]), max_size=3).map(tuple)
    if typing.get_origin(hint) is tuple:
        return st.tuples(*map(build, arguments))
    return st.one_of(*map(build, arguments))


@pytest.mark.parametrize("wanted", [*INPUTS, *COMMANDS], ids=lambda one: one.__name__)
def test_every_input_reads_back_to_itself(wanted: type) -> None:
    @settings(max_examples=40, deadline=None, database=None)
    @given(at_s=st.integers(0, 2**40), item=build(wanted))
    def law(at_s: int, item: Any) -> None:
        entry = CODEC.encode(at_s, item)
        body = canonical.encode_checked(entry)
        assert CODEC.decode(canonical.decode(body, 2**24)) == (at_s, item)

    law()


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"at_s": 1, "type": "Ticked"},
        {"at_s": 1, "type": "Ticked", "value": {}, "more": 1},
        {"at_s": True, "type": "Ticked", "value": {}},
        {"at_s": -1, "type": "Ticked", "value": {}},
        {"at_s": 1, "type": "Unknown", "value": {}},
        {"at_s": 1, "type": ["Ticked"], "value": {}},
        {"at_s": 1, "type": "Ticked", "value": None},
        {"at_s": 1, "type": "Ticked", "value": {"x": 1}},
        {"at_s": 1, "type": "Fetched", "value": {"key": 1}},
        {"at_s": 1, "type": "Fetched", "value": {"key": None}},
        {"at_s": 1, "type": "TokenSigned", "value": {"key": "", "signatures": "ab"}},
        {"at_s": 1, "type": "Redeemed", "value": {"key": "", "amount_msat": "5"}},
        {"at_s": 1, "type": "Redeemed", "value": {"key": "", "amount_msat": True}},
        {"at_s": 1, "type": "Redeemed", "value": {"key": "", "amount_msat": "0" * 30}},
        {"at_s": 1, "type": "JobOpened", "value": {"key": "", "hidden": [[1]]}},
        {"at_s": 1, "type": "Heard", "value": {"letter": None}},
    ],
    ids=str,
)
def test_what_is_no_entry_is_refused(entry: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        CODEC.decode(entry)


def test_an_input_of_another_machine_is_not_written() -> None:
    with pytest.raises(ValueError, match="no input"):
        InputCodec().encode(1, customer.Begin())
    with pytest.raises(ValueError, match="no input"):
        InputCodec(customer.Begin).decode(InputCodec(provider.Leave).encode(1, provider.Leave()))


def test_two_commands_of_one_name_are_refused() -> None:
    twin = type("Begin", (), {})
    with pytest.raises(ValueError, match="Begin"):
        InputCodec(customer.Begin, twin)


def test_a_field_of_a_wrong_type_is_not_written() -> None:
    with pytest.raises(ValueError, match="integer"):
        CODEC.encode(1, PaymentSeen("k", "settled", "", True))
    with pytest.raises(ValueError, match="str"):
        CODEC.encode(1, PaymentSeen("k", 7))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Letter"):
        CODEC.encode(1, Heard(Ticked()))  # type: ignore[arg-type]
