"""What one field of the task document is: its default, its unit, its bounds, in words.

Hashed documents hold integers only, so every quantity is an integer with its unit in its name:
`_ppm` (parts per million), `_milli` (thousandths), `_ms` (milliseconds). A person may write the
plain decimal instead: see `decimals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from kumiai.base.amounts import PPM
from kumiai.base.canonical import INTEGER_MAX
from kumiai.tasks import codecs

OPTION_COUNT_MAX = 64
OPTION_TEXT_LENGTH_MAX = 1_000
SHORT_TEXT_LENGTH_MAX = 200
LONG_TEXT_LENGTH_MAX = 4_000
TRAINERS_MAX = 10_000
ROUNDS_MAX = 10_000
FRAGMENTS_MAX = 64  # of a model: parts that travel in turn
STALENESS_MAX = 16  # rounds: what was shown in as many is compared with every update
VALIDATORS_MAX = 31
RATIO_PPM_MAX = 1_000 * PPM
RECIPE_PATTERN = r"^(mlp|cnn|resnet18|transformer|lora|[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*)$"
SOURCE_PATTERN = r"^(mnist5k|digits|penguins|sotu|[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*)$"
COMPONENT_PATTERN = r"^([A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*)?$"
OPTION_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
UNIT_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"
ONE_DAY_MS = 24 * 3600 * 1000

Option = int | str | bool


class Section(BaseModel):
    """The base of every section: immutable, no unknown field, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def setting(default: Any, unit: str, description: str, **limits: Any) -> Any:
    """Declare a field that may be left out. `limits` are pydantic's (ge, le, max_length ...)."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **limits)


def share(default: int, description: str, ge: int = 0, le: int = PPM) -> Any:
    """Declare a field in parts per million, from 0 to 1 unless told otherwise."""
    return setting(default, "ppm", description, ge=ge, le=le)


def text(default: str, description: str, length_max: int = SHORT_TEXT_LENGTH_MAX) -> Any:
    """Declare a field of free text."""
    return setting(default, "text", description, max_length=length_max)


def one_of(default: str, description: str) -> Any:
    """Declare a field whose values are listed in its type."""
    return setting(default, "choice", description)


def _canonicalise_codec(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return codecs.canonicalise(value)
    except ValueError as error:
        raise PydanticCustomError("codec", "{problem}", {"problem": str(error)}) from error


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _check_option(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= INTEGER_MAX:
        return value
    if isinstance(value, str) and len(value) <= OPTION_TEXT_LENGTH_MAX:
        return value
    raise PydanticCustomError(
        "option",
        "an option is an integer, a text or true/false: write a fraction as an integer with its "
        "unit in the name (dropout_ppm = 100000)",
    )


def _check_text(value: object) -> object:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise PydanticCustomError("text", "the text is not valid Unicode") from error
    return value


Text = Annotated[str, BeforeValidator(_check_text)]
CodecText = Annotated[str, BeforeValidator(_canonicalise_codec), BeforeValidator(_check_text)]
Widths = Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]
OptionName = Annotated[str, Field(pattern=OPTION_NAME_PATTERN)]
Options = Mapping[
    OptionName,
    Annotated[Option, BeforeValidator(_check_option), BeforeValidator(_check_text)],
]
