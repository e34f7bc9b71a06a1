"""The first layer of a network, taken out: its output mixes as its weights do.

A linear layer or a convolution that reads the samples themselves is linear in its weights:

    layer(x; a * w + b * v) = a * layer(x; w) + b * layer(x; v)

The models of a coalition game are mixtures of a few vectors (the global model and each player's
update), so that the layer runs once a vector, not once a coalition; most of a perceptron's work is
in it. Equal up to the rounding of float32 to running each model whole. `find_first_layer` tries
the network both ways and finds nothing where they differ: a layer that is used twice, reads what
other weights made, or shares its weights with another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kumiai.learning.layout import Layout, flatten, integer_buffers, unflatten
from kumiai.learning.recipe import Recipe, build_seeded

LINEAR_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
SAMPLES_MAX = 512  # of one forward pass
TRIED_SAMPLES = 4
TRIED_SEED = 1  # of weights that are not the network's own
TRIED_SHARE = 0.5
TOLERANCE = 1e-3


class Given(nn.Module):
    """Stands in the layer's place and returns the output that it was given."""

    output: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("output", torch.zeros(0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output


@dataclass(frozen=True)
class FirstLayer:
    """A network in two parts. `layer` makes what `rest` takes under the name `output_name`.

    inputs: what the layer reads, [S, ...] for all samples. tensors: where the layer's own tensors
    lie in the layout, as (name within the layer, offset, shape). rest_P: True for the numbers of
    the layout that the rest needs; rest_layout: their order.
    """

    layer: nn.Module
    rest: nn.Module
    output_name: str
    inputs: Tensor
    tensors: tuple[tuple[str, int, tuple[int, ...]], ...]
    rest_P: Tensor
    rest_layout: Layout

    def compute_outputs(self, vector_P: Tensor, start: int, stop: int) -> Tensor:
        """Return what the layer with the weights of `vector_P` makes of samples start..stop-1."""
        state = {
            name: vector_P[offset : offset + torch.Size(shape).numel()].view(shape)
            for name, offset, shape in self.tensors
        }
        outputs: Tensor = functional_call(self.layer, state, (self.inputs[start:stop],))
        return outputs

    def count_output_floats(self) -> int:
        """Return the numbers in the layer's output for one sample."""
        outputs: Tensor = self.layer(self.inputs[:1])
        return outputs.numel()


def find_first_layer(recipe: Recipe, layout: Layout, samples: Tensor) -> FirstLayer | None:
    """Take the first layer out of the full-width network; None where that cannot be done."""
    module = build_seeded(recipe, 1.0, seed=0).eval()
    try:
        with torch.no_grad():
            found = _take_out(module, layout, samples)
            return found if found and _agrees(recipe, layout, found, samples) else None
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return None  # a user's network may do anything; it is then run whole


def _take_out(module: nn.Module, layout: Layout, samples: Tensor) -> FirstLayer | None:
    name, layer = _find_called_first(module, samples[:1])
    if layer is None:
        return None
    read: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    for part in samples.split(SAMPLES_MAX):
        module(part)
    hook.remove()
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, Given())
    prefix = f"{name}."
    tensors, rest_P = [], torch.ones(layout.size, dtype=torch.bool)
    kept = []
    entries = zip(layout.names, layout.shapes, layout.offsets, layout.is_parameter, strict=True)
    for full_name, shape, offset, is_parameter in entries:
        if full_name.startswith(prefix):
            tensors.append((full_name.removeprefix(prefix), offset, shape))
            rest_P[offset : offset + torch.Size(shape).numel()] = False
        else:
            kept.append((full_name, shape, is_parameter))
    sizes = [torch.Size(shape).numel() for _, shape, _ in kept]
    rest_layout = Layout(
        names=tuple(name for name, _, _ in kept),
        shapes=tuple(shape for _, shape, _ in kept),
        offsets=tuple(sum(sizes[:i]) for i in range(len(sizes))),
        size=sum(sizes),
        is_parameter=tuple(is_parameter for _, _, is_parameter in kept),
    )
    inputs = torch.cat(read)
    output_name = f"{prefix}output"
    return FirstLayer(layer, module, output_name, inputs, tuple(tensors), rest_P, rest_layout)


def _find_called_first(module: nn.Module, sample: Tensor) -> tuple[str, nn.Module | None]:
    called: list[tuple[str, nn.Module]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda it, _, name=name: called.append((name, it)))
        for name, layer in module.named_modules()
        if name and isinstance(layer, LINEAR_KINDS)
    ]
    module(sample)
    for hook in hooks:
        hook.remove()
    return called[0] if called else ("", None)


def _agrees(recipe: Recipe, layout: Layout, found: FirstLayer, samples: Tensor) -> bool:
    """Compare both ways on a mixture of two vectors, in which every number is off its start.

    Not the starting weights alone: what stands before the layer may do nothing with those.
    """
    whole = build_seeded(recipe, 1.0, seed=TRIED_SEED).eval()
    own_P = flatten(layout, whole.state_dict())
    noise_P = torch.rand(layout.size, generator=torch.Generator().manual_seed(TRIED_SEED))
    basis = (own_P, 0.1 * noise_P * (1 + own_P.abs()))
    mixed_P = basis[0] + TRIED_SHARE * basis[1]
    tried = samples[:TRIED_SAMPLES]
    model = unflatten(layout, mixed_P)
    expected = functional_call(whole, {**model, **integer_buffers(whole)}, (tried,))
    first, second = (found.compute_outputs(vector_P, 0, len(tried)) for vector_P in basis)
    state = unflatten(found.rest_layout, mixed_P[found.rest_P])
    state[found.output_name] = first + TRIED_SHARE * second
    outputs = functional_call(found.rest, {**state, **integer_buffers(found.rest)}, (tried,))
    is_same = torch.allclose(expected, outputs, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return is_same and bool(expected.isfinite().any())


__all__ = ["FirstLayer", "find_first_layer"]
