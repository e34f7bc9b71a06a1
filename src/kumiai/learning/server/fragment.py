"""A server rule's step on one fragment alone: the others, and what is remembered of them, rest.

With fragments in turn (`learning.fragments`) a fragment's momentum must not decay, nor move it, in
the rounds in which nothing of it arrived. All rules work number by number, so a step on a slice of
model, delta and state is the whole step there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.fixed_point import IntVector
from kumiai.learning.server.rule import ServerRule, ServerState, check_shapes


def apply_in_span(
    rule: ServerRule,
    state: ServerState,
    model_P: IntVector,
    delta_P: IntVector,
    span: slice | NDArray[np.int64],
) -> tuple[ServerState, IntVector]:
    """`rule.apply` within `span`, a slice or the numbers' places; all else stays.

    An error's index counts from the span.
    """
    check_shapes(rule, state, model_P.shape)
    if isinstance(span, slice) and span == slice(0, len(model_P)):
        return rule.apply(state, model_P, delta_P)
    part = tuple(vector_P[span] for vector_P in state)
    moved_part, moved_K = rule.apply(part, model_P[span], delta_P[span])
    next_state = tuple(vector_P.copy() for vector_P in state)
    for vector_P, vector_K in zip(next_state, moved_part, strict=True):
        vector_P[span] = vector_K
    moved_P = model_P.copy()
    moved_P[span] = moved_K
    return next_state, moved_P
