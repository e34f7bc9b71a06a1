"""Decimals at the door: a person writes `learning_rate = 0.05`, the document holds 50000 ppm.

Every field `x_ppm` may be given as `x` (times a million), every `x_milli` as `x` (times a thousand)
and every `x_ppb` as `x` (times a billion). The conversion goes through `Decimal` and must be exact:
what cannot be written as an integer is refused, never rounded, so two people who write the same
number get the same task id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kumiai.base.amounts import divide_half_even
from kumiai.base.errors import InputError
from kumiai.tasks.errors import show_value

SCALES = {"_ppm": 1_000_000, "_milli": 1_000, "_ppb": 1_000_000_000}
_EXPONENT_MAX = 30  # beyond every bound; Decimal("1e999999999") must not become an integer
_DECIMALS_MAX = 100


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
                InputError(
                    f"{path}{key}", show_value(value), f"{field} is given too: keep one of the two"
                )
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
    if -int(number.as_tuple().exponent) > _DECIMALS_MAX:
        raise ValueError(f"has more than {_DECIMALS_MAX} decimals: shorten it")
    numerator, denominator = number.as_integer_ratio()  # exact, whatever the decimal context
    scaled, rest = divmod(numerator * scale, denominator)
    if rest:
        nearest = divide_half_even(numerator * scale, denominator)
        raise ValueError(
            f"has more decimals than 1/{scale}, the smallest step: shorten it, for example "
            f"to {_write_decimal(nearest, scale)}"
        )
    return scaled


def _write_decimal(scaled: int, scale: int) -> str:
    sign, (whole, part) = "-" if scaled < 0 else "", divmod(abs(scaled), scale)
    return f"{sign}{whole}.{part:0{len(str(scale)) - 1}d}".rstrip("0").rstrip(".")
