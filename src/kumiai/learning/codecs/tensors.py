"""A flat update seen as the matrices it is made of, for the codecs that use their structure.

A tensor [a, b, c, ...] is the matrix [a, b c ...] (a convolution's filters are rows), a vector [n]
is [1, n]. Without shapes the whole update is one vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kumiai.learning.codecs.wire import Shape


def get_matrices(shapes: Sequence[Shape] | None, size: int) -> list[tuple[int, int, int]]:
    """Return (offset, rows, columns) of every tensor that is not empty.

    Raises ValueError if the shapes do not add up to `size`.
    """
    if shapes is None:
        return [(0, 1, size)]
    matrices, offset = [], 0
    for shape in shapes:
        count = math.prod(shape)
        rows = shape[0] if len(shape) > 1 else 1
        if count:
            matrices.append((offset, rows, count // rows))
        offset += count
    if offset != size:
        raise ValueError(f"{len(shapes)} tensors hold {offset} numbers, the update {size}")
    return matrices
