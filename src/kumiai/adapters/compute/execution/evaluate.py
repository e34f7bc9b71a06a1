"""Many models on the same samples: the work of contribution scoring, where M reaches hundreds.

Networks without convolutions are stacked (one batched product for all models); others run one by
one with channels innermost. Both in chunks of bounded memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from kumiai.adapters.compute.execution.counting import count_layer_outputs
from kumiai.adapters.compute.execution.inline import convert_format
from kumiai.adapters.compute.execution.shards import IMAGE_DIMENSIONS
from kumiai.learning.client import Params
from kumiai.learning.layout import Layout, compute_layout, integer_buffers, unflatten
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.learning.slim import slice_state

CHUNK_BYTES_MAX = 64 * 2**20
SAMPLES_MAX = 512  # samples of one forward pass
FLOAT_BYTES = 4


def evaluate_models(
    recipe: Recipe,
    layout: Layout,
    vectors_MP: Tensor,
    inputs: Tensor,
    targets: Tensor,
    *,
    width: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return (losses_M, accuracies_M), float64 means over the samples, of M full-width vectors.

    A model whose numbers are not finite gets a loss that is not finite. Raises ValueError for
    vectors of another size, no samples, or lengths that differ.
    """
    if vectors_MP.dim() != 2 or vectors_MP.shape[1] != layout.size:
        raise ValueError(f"models of shape {tuple(vectors_MP.shape)}, expected (M, {layout.size})")
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(f"{len(inputs)} inputs and {len(targets)} targets to evaluate on")
    module = build_seeded(recipe, width, seed=0).eval()
    narrow = compute_layout(module)
    shapes = dict(zip(narrow.names, narrow.shapes, strict=True))
    evaluator = ModelEvaluator(recipe, layout, module, shapes)
    with torch.no_grad():
        return evaluator.evaluate(vectors_MP.detach(), inputs, targets)


class ModelEvaluator:
    """One module of one width, evaluated with many sets of tensors."""

    def __init__(
        self, recipe: Recipe, layout: Layout, module: nn.Module, shapes: dict[str, tuple[int, ...]]
    ) -> None:
        self._recipe = recipe
        self._layout = layout
        self._module = module
        self._shapes = shapes
        self._integers = integer_buffers(module)
        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        self._has_convolution = any(isinstance(m, kinds) for m in module.modules())

    def evaluate(
        self, vectors_MP: Tensor, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (losses_M, accuracies_M) as float64."""
        count = len(vectors_MP)
        losses_M = torch.zeros(count, dtype=torch.float64)
        correct_M = torch.zeros(count, dtype=torch.float64)
        chunk = 1 if self._has_convolution else self._count_stacked(inputs)
        is_image = self._has_convolution and inputs.dim() == IMAGE_DIMENSIONS
        if is_image:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        for start in range(0, count, chunk):
            part = slice(start, min(start + chunk, count))
            state = slice_stacked(unflatten(self._layout, vectors_MP[part]), self._shapes)
            for x, y in split_samples(inputs, targets):
                if chunk == 1:
                    one = {name: t[0] for name, t in state.items()}
                    loss, correct = self._judge(convert_format(one, is_image), x, y)
                else:
                    loss, correct = vmap(self._judge, in_dims=(0, None, None))(state, x, y)
                losses_M[part] += loss.double() * len(x)
                correct_M[part] += correct.double()
        return losses_M / len(inputs), correct_M / len(inputs)

    def _judge(self, state: Params, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs = functional_call(self._module, {**state, **self._integers}, (inputs,))
        correct = self._recipe.compute_correct(outputs, targets).sum()
        return self._recipe.compute_loss(outputs, targets), correct

    def _count_stacked(self, inputs: Tensor) -> int:
        """Return how many models fit the memory: their tensors and their layers' outputs."""
        sizes = count_layer_outputs(self._module, inputs[:1])
        samples = min(len(inputs), SAMPLES_MAX)
        floats = self._layout.size + samples * (sum(sizes) + 1)
        return max(1, CHUNK_BYTES_MAX // (FLOAT_BYTES * floats))


def slice_stacked(state: Params, shapes: dict[str, tuple[int, ...]]) -> Params:
    """Return the leading blocks of stacked tensors [M, ...]."""
    if all(tuple(state[name].shape[1:]) == shape for name, shape in shapes.items()):
        return state
    sliced: Params = vmap(lambda one: slice_state(one, shapes))(state)
    return sliced


def split_samples(inputs: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return both in pieces of at most SAMPLES_MAX samples."""
    pieces = zip(torch.split(inputs, SAMPLES_MAX), torch.split(targets, SAMPLES_MAX), strict=True)
    return list(pieces)
