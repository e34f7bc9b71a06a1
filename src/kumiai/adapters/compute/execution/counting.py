"""What a piece of work costs: operations dispatched to PyTorch, arithmetic, numbers in between.

The formulas are those of torch.utils.flop_counter (a multiply-add is two operations; only products,
convolutions and attention count). Its own FlopCounterMode is not used: entering it imports
PyTorch's compiler, which takes longer than a first round.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kumiai.learning.client import LocalWork


class WorkCounter(TorchDispatchMode):
    """Counts while it is entered, from nought each time.

    op_count: operations dispatched; flop: their floating point operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.op_count, self.flop = 0, 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled under this mode

    def __enter__(self) -> WorkCounter:
        self.op_count, self.flop = 0, 0
        super().__enter__()
        return self

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        self.op_count += 1
        formula = flop_registry.get(getattr(operation, "_overloadpacket", None))
        if formula is not None:
            self.flop += formula(*args, **kwargs, out_val=result)
        return result


def count_layer_outputs(module: nn.Module, sample: Tensor) -> list[int]:
    """Return the floats in the output of each layer, in order of calls, for one batch."""
    sizes: list[int] = []

    def note(module: nn.Module, arguments: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel())

    hooks = [layer.register_forward_hook(note) for layer in module.modules()]
    try:
        with torch.no_grad():
            module(sample)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def count_sample_flop(work: LocalWork, shape: tuple[int, ...], targets: Tensor | None) -> int:
    """Count one sample's forward and backward operations of all trained widths."""
    inputs = torch.zeros(1, *shape)
    wanted = torch.zeros(1, dtype=torch.int64) if targets is None else targets
    module = work.modules[0][0]
    tensors = {name: t.detach().clone() for name, t in module.state_dict().items()}
    kept = {name: tensors[name] for name in work.layout.names}
    carry = work.init(kept)
    with WorkCounter() as counter:
        work.step(carry, carry.params, inputs, wanted, None)
    return counter.flop


__all__ = ["WorkCounter", "count_layer_outputs", "count_sample_flop"]
