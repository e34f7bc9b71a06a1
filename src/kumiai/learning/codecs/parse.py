"""From a description such as "ef|topk:density=0.01|int2:block=64" to a codec.

How descriptions are written is `tasks.codecs`: task documents hold them, checked at the door. Here
each stage gets its code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kumiai.learning.codecs.codec import Codec
from kumiai.learning.codecs.dct import Dct
from kumiai.learning.codecs.feedback import ErrorFeedback
from kumiai.learning.codecs.packers import Bfloat, BlockInt, Dense
from kumiai.learning.codecs.plain import Plain
from kumiai.learning.codecs.powersgd import PowerSgd
from kumiai.learning.codecs.signs import Sign, TwoBit
from kumiai.learning.codecs.stack import Stack
from kumiai.learning.codecs.topk import TopK
from kumiai.learning.codecs.wire import Packer, Shape, Transform, compute_codec_id
from kumiai.tasks.codecs import (
    DENSE_FIXED,
    STAGES,
    parse_description,
    write_description,
)

PACKERS: Mapping[str, Callable[[Mapping[str, int]], Packer]] = {
    "dense": lambda options: Dense(),
    "bf16": lambda options: Bfloat(),
    "int8": lambda options: BlockInt(8, options["block"], options["stochastic"]),
    "int4": lambda options: BlockInt(4, options["block"], options["stochastic"]),
    "int2": lambda options: TwoBit(options["block"]),
    "sign": lambda options: Sign(options["block"]),
}


def build_codec(description: str | Sequence[str], shapes: Sequence[Shape] | None = None) -> Codec:
    """Return the codec of `description`.

    shapes: of the update's tensors in their flat order (`Layout.shapes`): powersgd needs them, dct
    is better with them, the others ignore them. Raises ValueError that says what is wrong and what
    would be right.
    """
    if description == DENSE_FIXED:
        return Plain()
    stages = parse_description(description)
    is_fed_back = stages[0][0] == "ef"
    inner = stages[1:] if is_fed_back else stages
    fixed_shapes = None if shapes is None else tuple(tuple(shape) for shape in shapes)
    uses_shapes = any(name in ("dct", "powersgd") for name, _ in inner)
    text = write_description(inner)
    codec = Stack(
        text,
        compute_codec_id(text, fixed_shapes if uses_shapes else None),
        tuple(_build_transform(name, options, fixed_shapes) for name, options in inner[:-1]),
        PACKERS[inner[-1][0]](inner[-1][1]),
    )
    return ErrorFeedback(codec, stages[0][1]["decay_ppm"]) if is_fed_back else codec


def _build_transform(
    name: str, options: Mapping[str, int], shapes: tuple[Shape, ...] | None
) -> Transform:
    if name == "topk":
        return TopK(options["density_ppm"], options["chunk"])
    if name == "dct":
        return Dct(options["chunk"], shapes)
    if shapes is None:
        raise ValueError("codec stage 'powersgd' needs the shapes of the update's tensors")
    return PowerSgd(options["rank"], shapes)


__all__ = ["PACKERS", "STAGES", "build_codec", "parse_description", "write_description"]
