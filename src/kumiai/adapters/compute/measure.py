"""The loss of many models on many hold-outs, in as few passes as there can be.

All hold-outs are joined once; a batch of models is stacked and run over them together, and the
losses are then averaged for each hold-out. Networks with convolutions run one by one, where that is
faster. Blocks bound the memory: at most `BLOCK_SAMPLES_MAX` samples and about `BLOCK_BYTES` of
intermediate numbers at a time, small enough for a processor's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from kumiai.learning.layout import Layout, integer_buffers, unflatten
from kumiai.learning.recipe import Recipe, build_seeded, compute_class_loss, compute_token_loss

Samples = tuple[Tensor, Tensor]
FloatArray = NDArray[np.float64]

BLOCK_SAMPLES_MAX = 512
BLOCK_BYTES = 4 * 2**20
FLOAT_BYTES = 4
IMAGE_DIMENSIONS = 4  # [samples, channels, height, width]
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class HoldoutMeasure:
    """One network and K hold-outs, measured with many sets of weights."""

    def __init__(self, recipe: Recipe, layout: Layout, holdouts: Sequence[Samples]) -> None:
        """Join the hold-outs. ValueError if there is none, or one without samples."""
        if not holdouts or any(len(x) == 0 or len(x) != len(y) for x, y in holdouts):
            raise ValueError(
                f"hold-outs of {[len(x) for x, _ in holdouts]} samples: each needs one"
            )
        self._recipe, self._layout = recipe, layout
        self._module = build_seeded(recipe, 1.0, seed=0).eval()
        self._integers = integer_buffers(self._module)
        self._has_convolution = any(isinstance(m, _CONVOLUTIONS) for m in self._module.modules())
        self._inputs = torch.cat([x for x, _ in holdouts])
        self._targets = torch.cat([y for _, y in holdouts])
        self._sizes_K = np.array([len(x) for x, _ in holdouts], dtype=np.float64)
        self._ends = self._sizes_K.cumsum().astype(np.int64).tolist()
        if self._has_convolution and self._inputs.dim() == IMAGE_DIMENSIONS:
            self._inputs = self._inputs.contiguous(memory_format=torch.channels_last)
        self.batch_size = 1 if self._has_convolution else self._count_stacked()

    def measure(self, models_MP: Tensor) -> FloatArray:
        """Return the mean loss [M, K] of each model (float32 [M, P]) on each hold-out.

        What is not finite stays so: the caller knows what it means. Callers keep M near
        `batch_size`, the number of models for which the blocks fit the cache.
        """
        sums_MK = np.zeros((len(models_MP), len(self._ends)))
        with torch.no_grad():
            state = unflatten(self._layout, models_MP)
            for start in range(0, len(self._inputs), BLOCK_SAMPLES_MAX):
                stop = min(start + BLOCK_SAMPLES_MAX, len(self._inputs))
                outputs = self._run(state, self._inputs[start:stop])
                self._add_losses(outputs, start, stop, sums_MK)
        return sums_MK / self._sizes_K

    def measure_accuracy(self, model_P: Tensor) -> FloatArray:
        """Return the share of right answers [K] of one model on each hold-out."""
        with torch.no_grad():
            state = unflatten(self._layout, model_P[None, :])
            right_S = torch.cat(
                [
                    self._recipe.compute_correct(self._run(state, x)[0], y).double()
                    for x, y in zip(
                        torch.split(self._inputs, BLOCK_SAMPLES_MAX),
                        torch.split(self._targets, BLOCK_SAMPLES_MAX),
                        strict=True,
                    )
                ]
            )
        shares_K: FloatArray = np.add.reduceat(right_S.numpy(), [0, *self._ends[:-1]])
        return shares_K / self._sizes_K

    def _run(self, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the outputs [M, S, ...] of M models for S samples."""

        def run_one(one: dict[str, Tensor]) -> Tensor:
            outputs: Tensor = functional_call(self._module, {**one, **self._integers}, (inputs,))
            return outputs

        count = len(next(iter(state.values())))
        if self._has_convolution or count == 1:
            return torch.stack(
                [run_one({name: t[i] for name, t in state.items()}) for i in range(count)]
            )
        stacked: Tensor = vmap(run_one)(state)
        return stacked

    def _add_losses(self, outputs: Tensor, start: int, stop: int, sums_MK: FloatArray) -> None:
        """Add the losses of samples start..stop-1, each to the sum of its hold-out."""
        spans = self._find_spans(start, stop)
        targets = self._targets[start:stop]
        losses_MS = self._compute_sample_losses(outputs, targets)
        if losses_MS is not None:
            begins = [low for _, low, _ in spans]
            sums = np.add.reduceat(losses_MS.numpy(), begins, axis=1, dtype=np.float64)
            sums_MK[:, [k for k, _, _ in spans]] += sums
            return
        for k, low, high in spans:  # a user's loss may be anything: models one by one
            for m, one in enumerate(outputs):
                loss = self._recipe.compute_loss(one[low:high], targets[low:high])
                sums_MK[m, k] += float(loss) * (high - low)

    def _find_spans(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return (hold-out, low, high), counted from `start`, of the samples start..stop-1."""
        edges = list(pairwise([0, *self._ends]))
        return [
            (k, max(begin, start) - start, min(end, stop) - start)
            for k, (begin, end) in enumerate(edges)
            if begin < stop and end > start
        ]

    def _compute_sample_losses(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return each sample's loss [M, S] where the recipe's loss is a built-in mean."""
        if self._recipe.compute_loss not in (compute_class_loss, compute_token_loss):
            return None
        scores = outputs.movedim(-1, 1)  # classes second: six times faster than last
        wanted = targets.expand(len(outputs), *targets.shape)
        if scores.shape[0] != wanted.shape[0] or scores.shape[2:] != wanted.shape[1:]:
            return None
        losses = functional.cross_entropy(scores, wanted, reduction="none")
        return losses.flatten(2).mean(dim=2) if losses.dim() > 2 else losses

    def _count_stacked(self) -> int:
        """Return for how many models the tensors and the layers' outputs of a block fit."""
        sizes: list[int] = []

        def note(module: nn.Module, arguments: object, output: object) -> None:
            if isinstance(output, Tensor):
                sizes.append(output.numel())

        hooks = [module.register_forward_hook(note) for module in self._module.modules()]
        try:
            with torch.no_grad():
                self._module(self._inputs[:1])
        finally:
            for hook in hooks:
                hook.remove()
        samples = min(len(self._inputs), BLOCK_SAMPLES_MAX)
        floats = self._layout.size + samples * max(sizes, default=1)
        return max(1, BLOCK_BYTES // (FLOAT_BYTES * floats))
