"""What the widths of one iteration have in common is computed once: the first layer's outputs.

All widths see the same samples, and where a narrow layer has all inputs of the full one, its
outputs are the first of the full one's. So a narrow first layer is a slice of the full one, forward
and backward; autograd adds the widths' gradients before the one product that gives the weights'. In
a network of one hidden layer that is nearly all the work of the narrow widths.

Deeper layers see other inputs at every width and share nothing. A first layer that is reached in
another way than through `ARRANGING` calls (say, after the samples were scaled) is computed for each
width, as without this module: same results, no gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]
Key = tuple[object, ...]

# new views of the same numbers: the same call on the same tensor is the same tensor
ARRANGING: frozenset[Function] = frozenset(
    {
        Tensor.flatten,
        Tensor.permute,
        Tensor.reshape,
        Tensor.squeeze,
        Tensor.transpose,
        Tensor.unsqueeze,
        Tensor.view,
        torch.flatten,
        torch.permute,
        torch.reshape,
        torch.squeeze,
        torch.transpose,
        torch.unsqueeze,
    }
)
# layers, and the dimension of their outputs that a narrow layer has less of, from the end
LAYERS: Mapping[Function, int] = {functional.linear: -1, torch.conv1d: -2, torch.conv2d: -3}
ARGUMENTS = ("input", "weight", "bias")
CONVOLUTION = (*ARGUMENTS, "stride", "padding", "dilation", "groups")


class SharedFirstLayer(TorchFunctionMode):
    """Active while the widths' networks are called on `inputs` one after the other, full first."""

    def __init__(self, inputs: Tensor, state: Mapping[str, Tensor]) -> None:
        """`state`: the full network's tensors by name, as that network is called with them."""
        super().__init__()
        self._state = state
        self._full_of = {id(tensor): tensor for tensor in state.values()}
        self._samples = {id(inputs): inputs}  # by id: keeping them keeps their ids their own
        self._arranged: dict[Key, Tensor] = {}
        self._outputs: dict[Key, Tensor] = {}
        self._blocks: list[Mapping[str, Tensor]] = []  # kept, so that their ids stay their own

    def register(self, blocks: Mapping[str, Tensor]) -> None:
        """Name the leading blocks with which the next network will be called."""
        self._blocks.append(blocks)
        self._full_of.update({id(tensor): self._state[name] for name, tensor in blocks.items()})

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if args and id(args[0]) in self._samples:
            if func in ARRANGING:
                return self._arrange(func, args, given)
            if _is_in_place(func, given):
                self._samples.clear()  # what follows sees other samples
        if func in LAYERS:
            named = {**dict(zip(CONVOLUTION, args, strict=False)), **given}
            if id(named.get("input")) in self._samples and id(named.get("weight")) in self._full_of:
                return self._call(func, args, given, named)
        return func(*args, **given)

    def _arrange(self, func: Function, args: tuple[Any, ...], given: Mapping[str, Any]) -> Tensor:
        key = (func, id(args[0]), repr(args[1:]), repr(given))
        if key not in self._arranged:
            view = func(*args, **given)
            self._arranged[key] = self._samples[id(view)] = view
        return self._arranged[key]

    def _call(
        self,
        func: Function,
        args: tuple[Any, ...],
        given: Mapping[str, Any],
        named: Mapping[str, Any],
    ) -> Tensor:
        weight, bias = named["weight"], named.get("bias")
        full = self._full_of[id(weight)]
        full_bias = None if bias is None else self._full_of.get(id(bias))
        options = {name: value for name, value in given.items() if name not in ARGUMENTS}
        rest = (repr(args[len(ARGUMENTS) :]), repr(sorted(options.items())))
        key = (func, id(named["input"]), id(full), id(full_bias), rest)
        # with groups a narrow output belongs to other inputs than the full one of its place
        is_alike = (bias is None or full_bias is not None) and named.get("groups", 1) == 1
        outputs: Tensor
        if weight is full and bias is full_bias:
            self._outputs[key] = func(*args, **given)
        elif not (is_alike and key in self._outputs and weight.shape[1:] == full.shape[1:]):
            outputs = func(*args, **given)
            return outputs
        # a copy: a network may write into what its first layer gave it (inplace=True)
        return self._outputs[key].narrow(LAYERS[func], 0, len(weight)).clone()


def _is_in_place(func: Function, given: Mapping[str, Any]) -> bool:
    name = getattr(func, "__name__", "")
    is_named = name.endswith("_") and not name.endswith("__")
    return is_named or name.startswith(("__i", "__set")) or bool(given.get("inplace"))
