"""What every local rule is: an (init, apply) pair over named tensors.

Functional form, so that the same code runs for one member, under torch.func.vmap for many at once,
and traced into a compiled graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

Params = dict[str, Tensor]
Slots = dict[str, Any]  # the optimiser's memory: a pytree of tensors


class Rule(NamedTuple):
    """A client update rule.

    init(params) gives the optimiser's memory; apply(grads, slots, params, anchor) gives the next
    (params, slots), where anchor holds the global model's parameters.
    """

    init: Callable[[Params], Slots]
    apply: Callable[[Params, Slots, Params, Params], tuple[Params, Slots]]
