"""The one flat order of a model's numbers: position i means the same weight on every machine.

P runs over the float32 entries of the module's state_dict in its order: parameters and float
buffers. Integer buffers (counters, index tables) are not trained and keep their initial value. A
weight that is tied under two names is listed once, under its first name; torch.func.functional_call
ties it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """Where each tensor lies in the flat vector of P numbers.

    names, shapes, offsets: one entry per tensor, offsets in numbers from the start; size: P.
    is_parameter: True where the tensor is trained by gradient; False for float buffers and for
    parameters with requires_grad switched off.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]
    size: int
    is_parameter: tuple[bool, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The count of numbers in each tensor."""
        return tuple(math.prod(shape) for shape in self.shapes)


def compute_layout(module: nn.Module) -> Layout:
    """Return the layout of `module`.

    Raises ValueError for float tensors that are not float32 (their updates would not fit the wire
    format) and for a module without any float tensor.
    """
    names: list[str] = []
    shapes: list[tuple[int, ...]] = []
    offsets: list[int] = []
    trained: list[bool] = []
    size = 0
    for name, tensor in _float_entries(module).items():
        names.append(name)
        shapes.append(tuple(tensor.shape))
        offsets.append(size)
        trained.append(isinstance(tensor, nn.Parameter) and tensor.requires_grad)
        size += tensor.numel()
    if size == 0:
        raise ValueError(f"{type(module).__name__} has no float32 parameter or buffer to train")
    return Layout(tuple(names), tuple(shapes), tuple(offsets), size, tuple(trained))


def flatten(layout: Layout, state: Mapping[str, Tensor]) -> Tensor:
    """Return the float32 vector [P] of `state` (a state_dict or a dict of its tensors).

    Differentiable. Raises ValueError for a missing name or another shape; extra names are ignored.
    """
    pieces = []
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        if name not in state:
            raise ValueError(f"tensor {name!r} is missing from the state")
        tensor = state[name]
        if tuple(tensor.shape) != shape:
            raise ValueError(f"tensor {name!r} has shape {tuple(tensor.shape)}, expected {shape}")
        pieces.append(tensor.reshape(-1).to(torch.float32))
    return torch.cat(pieces)


def unflatten(layout: Layout, vector_P: Tensor) -> dict[str, Tensor]:
    """Return name -> view into `vector_P`, without a copy; [N, P] gives views [N, *shape].

    Works under torch.func.vmap and grad. One split, so that its gradient is one concatenation.
    """
    if vector_P.shape[-1] != layout.size:
        raise ValueError(f"vector has {vector_P.shape[-1]} numbers, the layout {layout.size}")
    batch = vector_P.shape[:-1]
    pieces = torch.split(vector_P, list(layout.sizes), dim=-1)
    return {
        name: piece.view(batch + shape)
        for name, shape, piece in zip(layout.names, layout.shapes, pieces, strict=True)
    }


def integer_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the state_dict entries outside the layout for not being float."""
    return {
        name: tensor.clone()
        for name, tensor in module.state_dict().items()
        if not tensor.dtype.is_floating_point and not tensor.dtype.is_complex
    }


def _float_entries(module: nn.Module) -> dict[str, Tensor]:
    entries: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        is_float = tensor.dtype.is_floating_point or tensor.dtype.is_complex
        if not is_float or id(tensor) in seen:
            continue
        if tensor.dtype != torch.float32:
            raise ValueError(
                f"tensor {name!r} has dtype {tensor.dtype}, expected torch.float32: "
                "build the module with .float()"
            )
        seen.add(id(tensor))
        entries[name] = tensor
    return entries
