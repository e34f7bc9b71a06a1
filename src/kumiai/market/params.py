"""Parameters of an event, read strictly: each name once, numbers in one form, with bounds.

Numbers are decimal integers without sign or leading zeros, so a percent cannot pass for a
fraction, nor 1e3 for 1000. `ParamError` names the parameter, the value and what would do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kumiai.base.canonical import is_hash

INTEGER_MAX = 2**63 - 1
VALUES_MAX = 64
VALUE_CHARS_MAX = 4_096

_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNED = re.compile(r"0|-?[1-9][0-9]{0,18}")
_POINT = re.compile(r"0[23][0-9a-f]{64}")


class ParamError(ValueError):
    """A peer's parameter that is missing or not what the document asks."""

    def __init__(self, name: str, value: object, fix: str) -> None:
        shown = repr(value)
        super().__init__(f"param {name} = {shown[:120]}: {fix}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Params:
    """Name -> values of an event's `param` tags."""

    values: Mapping[str, tuple[str, ...]]

    def has(self, name: str) -> bool:
        """Tell whether the parameter is there."""
        return name in self.values

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return all values, () if the parameter is absent."""
        return self.values.get(name, ())

    def get_text(self, name: str, default: str | None = None) -> str:
        """Return the only value; ParamError if absent (without default) or not one."""
        found = self.values.get(name)
        if found is None:
            if default is None:
                raise ParamError(name, None, "is missing")
            return default
        if len(found) != 1:
            raise ParamError(name, found, "must have exactly one value")
        return found[0]

    def get_int(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Return an integer within [low, high]."""
        if name not in self.values and default is not None:
            return default
        return read_int(name, self.get_text(name), low, high)

    def get_hash(self, name: str, default: str | None = None) -> str:
        """Return 64 lower-case hex digits."""
        text = self.get_text(name, default)
        if text != default and not is_hash(text):
            raise ParamError(name, text, "must be 64 lower-case hex digits")
        return text

    def get_point(self, name: str, default: str | None = None) -> str:
        """Return a compressed public key: 66 lower-case hex digits."""
        text = self.get_text(name, default)
        if text != default and not _POINT.fullmatch(text):
            raise ParamError(name, text, "must be a compressed key, 66 lower-case hex digits")
        return text

    def get_keys(self, name: str, count_max: int) -> tuple[str, ...]:
        """Return distinct x-only keys, () if absent."""
        found = self.get_all(name)
        if len(found) > count_max or len(set(found)) != len(found):
            raise ParamError(name, found, f"must be at most {count_max} different keys")
        for key in found:
            if not is_hash(key):
                raise ParamError(name, key, "must be a key of 64 lower-case hex digits")
        return found


def read_params(tags: Iterable[Sequence[str]]) -> Params:
    """Collect `param` tags; ParamError for a name given twice or too much of anything."""
    found: dict[str, tuple[str, ...]] = {}
    for tag in tags:
        if not tag or tag[0] != "param":
            continue
        if len(tag) < 2 or len(tag) - 2 > VALUES_MAX:
            raise ParamError(tag[1] if len(tag) > 1 else "", tag[:4], "has no name or too much")
        name = tag[1]
        if name in found:
            raise ParamError(name, tag[2:4], "is given twice")
        if any(len(value) > VALUE_CHARS_MAX for value in tag[2:]):
            raise ParamError(name, tag[2][:40], f"is longer than {VALUE_CHARS_MAX} characters")
        found[name] = tuple(tag[2:])
    return Params(found)


def write_param(name: str, *values: object) -> tuple[str, ...]:
    """Return one `param` tag."""
    return ("param", name, *(str(value) for value in values))


def read_int(name: str, text: str, low: int, high: int) -> int:
    """Read an integer in its only form; ParamError outside [low, high]."""
    pattern = _SIGNED if low < 0 else _INTEGER
    if not pattern.fullmatch(text) or not low <= int(text) <= high:
        raise ParamError(name, text, f"must be an integer from {low} to {high}")
    return int(text)
