"""How an input of a market machine is written down: a document that reads back to the same value.

An entry of the journal is `{"at_s": seconds, "type": class name, "value": fields}`. The form of the
fields follows from the dataclass itself: texts, booleans, integers (decimal text from 2**53 on),
lists for tuples, objects for dataclasses, null where None is allowed. Reading is strict: an unknown
class, a missing or unknown field, a value of another type is a ValueError that names the place.
A union of several dataclasses is written with the class's name beside it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeVar

from kumiai.base.canonical import INTEGER_MAX
from kumiai.market import effects

ENTRY_FIELDS: Final = frozenset({"at_s", "type", "value"})
INPUTS: Final[tuple[type, ...]] = (
    effects.Heard,
    effects.Ticked,
    effects.Woken,
    *typing.get_args(effects.Result),
)

T = TypeVar("T")
Write = Callable[[Any], Any]
Read = Callable[[Any, str], Any]


class InputCodec:
    """Inputs of one machine <-> documents; `commands` are the classes its owner can say."""

    def __init__(self, *commands: type) -> None:
        """Raise ValueError for two classes of one name, or a field that has no written form."""
        self._classes: dict[str, type] = {}
        for wanted in (*INPUTS, *commands):
            if self._classes.setdefault(wanted.__name__, wanted) is not wanted:
                raise ValueError(f"two classes of inputs are called {wanted.__name__}")
            _form_of(wanted)

    def encode(self, at_s: int, item: object) -> dict[str, object]:
        """Return the entry of `item`; ValueError for a class that was not registered."""
        name = type(item).__name__
        if self._classes.get(name) is not type(item):
            raise ValueError(f"{name} is no input of this machine")
        write, _ = _form_of(type(item))
        return {"at_s": at_s, "type": name, "value": write(item)}

    def decode(self, entry: Mapping[str, object]) -> tuple[int, Any]:
        """Return (time, input); ValueError for anything that `encode` would not write."""
        if not isinstance(entry, Mapping) or set(entry) != ENTRY_FIELDS:
            raise ValueError(f"an entry has exactly the fields {sorted(ENTRY_FIELDS)}")
        at_s, name = entry["at_s"], entry["type"]
        if type(at_s) is not int or at_s < 0:
            raise ValueError(f"at_s: {at_s!r} is no time in seconds")
        wanted = self._classes.get(name) if isinstance(name, str) else None
        if wanted is None:
            raise ValueError(f"type: {str(name)[:80]!r} is no input of this machine")
        _, read = _form_of(wanted)
        return at_s, read(entry["value"], wanted.__name__)


def encode_value(value: object) -> Any:
    """Return the written form of any dataclass that has one: a plan, a policy."""
    return _form_of(type(value))[0](value)


def decode_value(wanted: type[T], document: object) -> T:
    """Read back what `encode_value` wrote of a `wanted`; ValueError names the place."""
    found: T = _form_of(wanted)[1](document, wanted.__name__)
    return found


def _form_of(hint: Any) -> tuple[Write, Read]:
    """Return how values of this type are written and read; ValueError if they have no form."""
    return _find_form(hint)


@lru_cache(maxsize=1_024)
def _find_form(hint: Any) -> tuple[Write, Read]:
    if isinstance(hint, type) and is_dataclass(hint):
        return _form_of_dataclass(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _form_of_enum(hint)
    if hint is int:
        return _write_integer, _read_integer
    if hint in (str, bool, types.NoneType):
        return _form_of_plain(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _form_of_tuple(arguments)
    if origin in (typing.Union, types.UnionType):
        return _form_of_union(arguments)
    raise ValueError(f"{hint} has no written form")


def _form_of_dataclass(wanted: type) -> tuple[Write, Read]:
    hints = typing.get_type_hints(wanted)
    forms = {field.name: _form_of(hints[field.name]) for field in fields(wanted)}
    writers = [(name, form[0]) for name, form in forms.items()]
    readers = [(name, form[1]) for name, form in forms.items()]
    names = set(forms)

    def write(value: Any) -> Any:
        if type(value) is not wanted:
            raise ValueError(f"{type(value).__name__} instead of {wanted.__name__}")
        return {name: write_field(getattr(value, name)) for name, write_field in writers}

    def read(document: Any, place: str) -> Any:
        if not isinstance(document, dict) or set(document) != names:
            raise ValueError(f"{place}: must have exactly the fields {sorted(names)}")
        found = {name: take(document[name], f"{place}.{name}") for name, take in readers}
        return wanted(**found)

    return write, read


def _form_of_enum(wanted: type[Enum]) -> tuple[Write, Read]:
    def write(value: Any) -> Any:
        return wanted(value).value

    def read(document: Any, place: str) -> Any:
        try:
            if type(document) not in (str, int):
                raise ValueError(document)
            return wanted(document)
        except ValueError as error:
            raise ValueError(f"{place}: {document!r} is no {wanted.__name__}") from error

    return write, read


def _form_of_plain(wanted: type) -> tuple[Write, Read]:
    def write(value: Any) -> Any:
        if not isinstance(value, wanted):
            raise ValueError(f"{value!r} is not {wanted.__name__}")
        return str(value) if wanted is str else value  # a StrEnum is written as its text

    def read(document: Any, place: str) -> Any:
        if type(document) is not wanted:
            raise ValueError(f"{place}: {str(document)[:80]!r} is not {wanted.__name__}")
        return document

    return write, read


def _form_of_tuple(arguments: tuple[Any, ...]) -> tuple[Write, Read]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        write_item, read_item = _form_of(arguments[0])

        def write(value: Any) -> Any:
            return [write_item(item) for item in value]

        def read(document: Any, place: str) -> Any:
            if not isinstance(document, list):
                raise ValueError(f"{place}: must be a list")
            return tuple(read_item(item, f"{place}[{i}]") for i, item in enumerate(document))

        return write, read

    forms = [_form_of(argument) for argument in arguments]

    def write_all(value: Any) -> Any:
        return [form[0](item) for form, item in zip(forms, value, strict=True)]

    def read_all(document: Any, place: str) -> Any:
        if not isinstance(document, list) or len(document) != len(forms):
            raise ValueError(f"{place}: must be a list of {len(forms)}")
        pairs = enumerate(zip(forms, document, strict=True))
        return tuple(form[1](item, f"{place}[{i}]") for i, (form, item) in pairs)

    return write_all, read_all


def _form_of_union(arguments: tuple[Any, ...]) -> tuple[Write, Read]:
    """None or one type; or None and dataclasses, which are told apart by name."""
    inner = [argument for argument in arguments if argument is not types.NoneType]
    has_none = len(inner) < len(arguments)
    if len(inner) > 1 and not all(is_dataclass(argument) for argument in inner):
        raise ValueError(f"{arguments}: values of such a union cannot be told apart")
    by_name = {argument.__name__: argument for argument in inner if len(inner) > 1}

    def write(value: Any) -> Any:
        if value is None and has_none:
            return None
        if not by_name:
            return _form_of(inner[0])[0](value)
        name = type(value).__name__
        if by_name.get(name) is not type(value):
            raise ValueError(f"{name} is none of {sorted(by_name)}")
        return {"type": name, "value": _form_of(type(value))[0](value)}

    def read(document: Any, place: str) -> Any:
        if document is None and has_none:
            return None
        if not by_name:
            return _form_of(inner[0])[1](document, place)
        if not isinstance(document, dict) or set(document) != {"type", "value"}:
            raise ValueError(f"{place}: must have exactly the fields type and value")
        wanted = by_name.get(document["type"]) if isinstance(document["type"], str) else None
        if wanted is None:
            raise ValueError(f"{place}: type is none of {sorted(by_name)}")
        return _form_of(wanted)[1](document["value"], f"{place}.{wanted.__name__}")

    return write, read


def _write_integer(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not an integer")
    return int(value) if abs(value) <= INTEGER_MAX else str(int(value))


def _read_integer(document: Any, place: str) -> int:
    if type(document) is int:
        return document
    try:
        if isinstance(document, str) and len(document) <= 40:
            number = int(document)
            if str(number) == document and abs(number) > INTEGER_MAX:
                return number
    except ValueError:
        pass
    raise ValueError(f"{place}: {str(document)[:80]!r} is not an integer")
