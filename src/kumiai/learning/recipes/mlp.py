"""A multilayer perceptron: flatten, then Linear and ReLU per hidden size, then a Linear head.

Initialisation (He et al., "Delving Deep into Rectifiers", 2015): the hidden weights are drawn
uniformly with variance 2 / full fan-in. A narrow net uses the leading inputs only, so each of its
hidden layers after the first starts with sqrt(p) of that signal: at p = 0.25 a gain of 0.71 a
layer, still above the 0.58 that PyTorch's default gives a full net, so every width trains from the
same numbers without a rescaling that would make the narrow net depend on the full one. The head
keeps PyTorch's smaller default: a run starts near uniform predictions at all widths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from kumiai.learning.recipes.options import OptionValue, check_names, get_sizes, scale_size

HIDDEN_DEFAULT = "64"


class Mlp(nn.Module):
    """Samples of any shape [B, ...] to class scores [B, C]."""

    def __init__(self, sizes: tuple[int, ...], class_count: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], class_count)
        for layer in self.hidden:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        values = inputs.flatten(1)
        for layer in self.hidden:
            values = layer(values).relu()
        scores: Tensor = self.head(values)
        return scores


@dataclass(frozen=True)
class MlpBuilder:
    """`build(width)` narrows the hidden sizes; inputs and classes stay whole."""

    input_size: int
    hidden_sizes: tuple[int, ...]
    class_count: int

    def list_arguments(self, width: float) -> tuple[tuple[int, ...], int]:
        """Return what `Mlp` of this width is made with."""
        hidden = tuple(scale_size(size, width) for size in self.hidden_sizes)
        return (self.input_size, *hidden), self.class_count

    def build(self, width: float) -> nn.Module:
        return Mlp(*self.list_arguments(width))


def read_options(
    options: Mapping[str, OptionValue], input_shape: tuple[int, ...], class_count: int
) -> MlpBuilder:
    """Option `hidden`: hidden sizes, "64" by default, "128,64" for two layers."""
    check_names("mlp", options, ("hidden",))
    hidden = get_sizes("mlp", options, "hidden", HIDDEN_DEFAULT)
    return MlpBuilder(math.prod(input_shape), hidden, class_count)
