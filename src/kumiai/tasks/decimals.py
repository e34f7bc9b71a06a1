"""Decimals at the door: a person writes `learning_rate = 0.05`, the document holds 50000 ppm.

Every field `x_ppm` may be given as `x` (times a million) and every `x_milli` as `x` (times a
thousand). The conversion goes through `Decimal` and must be exact: what cannot be written as an
integer is refused, never rounded, so two people who write the same number get the same task id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kumiai.base.errors import InputError
from kumiai.tasks.errors import show_value

SCALES = {"_ppm": 1_000_000, "_milli": 1_000}
_EXPONENT_MAX = 30  # 1e30 is beyond every bound; Decimal("1e999999999") must not become an integer


def find_decimal_names(field_names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Map decimal names to (field, scale): {"momentum": ("momentum_ppm", 1_000_000)}."""
    names = {}
    for field in field_names:
        for suffix, scale in SCALES.items():
            if field.endswith(suffix):
                names[field.removesuffix(suffix)] = (field, scale)
    return names


def convert_section(
    path: str, raw: Mapping[str, Any], field_names: Iterable[str], problems: list[InputError]
) -> dict[str, Any]:
    """Replace the decimal names in one section by their integer fields; append what is wrong."""
    fields = set(field_names)
    decimal_names = find_decimal_names(fields)
    converted = {key: value for key, value in raw.items() if key in fields}
    for key, value in raw.items():
        if key in fields:
            continue
        if key not in decimal_names:
            converted[key] = value  # left for the schema to refuse, with a suggestion
            continue
        field, scale = decimal_names[key]
        if field in raw:
            problems.append(
                InputError(f"{path}{key}", value, f"{field} is given too: keep one of the two")
            )
            continue
        try:
            converted[field] = _scale(value, scale)
        except ValueError as error:
            problems.append(InputError(f"{path}{key}", show_value(value), str(error)))
    return converted


def _scale(value: object, scale: int) -> object:
    if isinstance(value, list | tuple):
        return [_scale(item, scale) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number such as 0.05")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite() or number.adjusted() > _EXPONENT_MAX:
        raise ValueError("must be a finite number such as 0.05")
    scaled = number.scaleb(len(str(scale)) - 1)
    if scaled != scaled.to_integral_value():
        raise ValueError(
            f"has more decimals than 1/{scale}, the smallest step: shorten it, for example "
            f"to {_shorten(number, scale)}"
        )
    return int(scaled)


def _shorten(number: Decimal, scale: int) -> str:
    nearest = (number * scale).to_integral_value() / scale
    return f"{nearest:f}"
