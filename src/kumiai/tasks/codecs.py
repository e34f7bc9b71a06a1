"""How a task writes which codec its updates travel in: "ef|topk:density=0.01|int2:block=64".

    description = "dense-fixed" | stage ("|" stage)*
    stage       = name [":" option ("," option)*]
    option      = name "=" integer

dense-fixed is the fixed point of aggregation itself, nothing left out. An option x_ppm may also be
written x, as a decimal (density=0.01 is density_ppm=10000), if that is exact. A list of stages is
as good as one text. Order: ef, then dct or powersgd, then topk, then one packer; without a packer
it is dense. The stages themselves are `learning.codecs`.

The canonical form has every option written out, integers only: a default that changes in a later
version cannot change a run that exists.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from kumiai.base.amounts import PPM

DENSE_FIXED = "dense-fixed"
DESCRIPTION_LENGTH_MAX = 200
BLOCK_MAX = 65_536
CHUNK_MAX = 2**20
RANK_MAX = 64
SIDE_MAX = 64  # of a cosine transform's tile: the basis' rounding is tested up to here


@dataclass(frozen=True)
class Option:
    """Bounds of one integer; default None: it must be written."""

    least: int
    most: int
    default: int | None


@dataclass(frozen=True)
class StageForm:
    """What may be written of one stage. place: stages stand in ascending order of it."""

    place: int
    options: Mapping[str, Option]


_BLOCK = {"block": Option(1, BLOCK_MAX, 256)}
_ROUNDED = {**_BLOCK, "stochastic": Option(0, 1, 0)}
PACKER_PLACE = 3
STAGES: Mapping[str, StageForm] = {
    "ef": StageForm(0, {"decay_ppm": Option(1, PPM, PPM)}),
    "dct": StageForm(1, {"chunk": Option(2, SIDE_MAX, SIDE_MAX)}),
    "powersgd": StageForm(1, {"rank": Option(1, RANK_MAX, 2)}),
    "topk": StageForm(2, {"density_ppm": Option(1, PPM, None), "chunk": Option(0, CHUNK_MAX, 0)}),
    "dense": StageForm(PACKER_PLACE, {}),
    "bf16": StageForm(PACKER_PLACE, {}),
    "int8": StageForm(PACKER_PLACE, _ROUNDED),
    "int4": StageForm(PACKER_PLACE, {**_ROUNDED, "block": Option(1, BLOCK_MAX, 64)}),
    "int2": StageForm(PACKER_PLACE, {"block": Option(1, BLOCK_MAX, 64)}),
    "sign": StageForm(PACKER_PLACE, _BLOCK),
}
PACKER_NAMES = tuple(name for name, form in STAGES.items() if form.place == PACKER_PLACE)
Stage = tuple[str, dict[str, int]]

_STAGE = re.compile(r"([a-z0-9]+)(?::(.*))?", re.ASCII)
_OPTION = re.compile(r"([a-z_]+)=([0-9]{1,9}(?:\.[0-9]{1,9})?)", re.ASCII)


def canonicalise(description: str) -> str:
    """Return the one text that stands for `description`; ValueError says what is wrong with it."""
    if description.strip() in ("", DENSE_FIXED):
        return DENSE_FIXED
    return write_description(parse_description(description))


def mixes_coordinates(description: str) -> bool:
    """Tell whether few numbers travel and each of them touches many of the update's."""
    stages = [] if canonicalise(description) == DENSE_FIXED else parse_description(description)
    return any(name in ("dct", "powersgd") for name, _ in stages)


def parse_description(description: str | Sequence[str]) -> list[Stage]:
    """Return [(name, every option)], checked, the packer last."""
    texts = description.split("|") if isinstance(description, str) else list(description)
    if not texts:
        raise ValueError("codec without a stage: write dense")
    if sum(map(len, texts)) > DESCRIPTION_LENGTH_MAX:
        raise ValueError(f"codec of more than {DESCRIPTION_LENGTH_MAX} characters")
    stages = [_parse_stage(text.strip()) for text in texts]
    _check_order([name for name, _ in stages])
    if STAGES[stages[-1][0]].place != PACKER_PLACE:
        stages.append(("dense", {}))
    return stages


def write_description(stages: Sequence[Stage]) -> str:
    """Return the canonical text: every option in its fixed order, integers only."""
    return "|".join(
        name + (":" if options else "") + ",".join(f"{key}={options[key]}" for key in options)
        for name, options in stages
    )


def _parse_stage(text: str) -> Stage:
    match = _STAGE.fullmatch(text)
    if match is None or match[1] not in STAGES:
        raise ValueError(f"codec stage {text!r} is unknown: use one of {', '.join(STAGES)}")
    name, form = match[1], STAGES[match[1]]
    given: dict[str, int] = {}
    for item in match[2].split(",") if match[2] is not None else []:
        key, value = _parse_option(name, item.strip())
        if key in given:
            raise ValueError(f"{name}: {key} is given twice")
        given[key] = value
    for key, option in form.options.items():
        value = given.get(key, option.default if option.default is not None else -1)
        if key not in given and option.default is None:
            raise ValueError(f"{name} needs {key}: write {name}:{key}=10000")
        if not option.least <= value <= option.most:
            raise ValueError(f"{name}: {key} {value} is outside {option.least}..{option.most}")
    return name, {key: given.get(key, option.default or 0) for key, option in form.options.items()}


def _parse_option(name: str, item: str) -> tuple[str, int]:
    options, match = STAGES[name].options, _OPTION.fullmatch(item)
    if match is None:
        raise ValueError(f"{name}: {item!r} is no option: write name=integer")
    key, number = match[1], Decimal(match[2])
    if key not in options and f"{key}_ppm" in options:
        key, number = f"{key}_ppm", number * PPM
    if key not in options:
        known = ", ".join(options) or "none"
        raise ValueError(f"{name} has no option {key!r}: it has {known}")
    if number != int(number):
        raise ValueError(f"{name}: {item} is no integer{' of ppm' if 'ppm' in key else ''}")
    return key, int(number)


def _check_order(names: Sequence[str]) -> None:
    for earlier, later in itertools.pairwise(names):
        if STAGES[earlier].place >= STAGES[later].place:
            raise ValueError(
                f"codec stage {later!r} cannot follow {earlier!r}: the order is ef, "
                "dct or powersgd, topk, then one of " + ", ".join(PACKER_NAMES)
            )
    if names == ["ef"]:
        raise ValueError("codec 'ef' alone has nothing to feed back: add stages after it")
    if "powersgd" in names and "topk" in names:
        raise ValueError("codec stage 'topk' cannot follow 'powersgd': factors are not sparse")
