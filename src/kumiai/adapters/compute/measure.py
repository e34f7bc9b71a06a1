"""The loss of many models on many hold-outs, in as few passes as there can be.

The models are mixtures of a few vectors: row m of weights_MB says how much of each of B vectors is
in model m. All hold-outs are joined once; a batch of models is stacked and run over them together,
and the losses are then averaged for each hold-out. The first layer runs once a vector where it can
be taken out (`first_layer`). Networks with convolutions run one by one, where that is faster.

Two means are taken. `plain` is the loss itself. In `bounded` a sample's cross entropy counts at
most log(C) * C / (C - 1) for C classes, the bound at which guessing surely costs as much as
guessing evenly. Beyond it an answer is wrong, and how sure the model is of that must not decide
what a member is worth: late in training a network is too sure of itself, and a poisoner that only
flattens its answers lowers the plain mean (seen on MNIST-5k: 6 % of the rewards). A user's own loss
is taken as it is in both.

Blocks bound the memory: at most `BLOCK_SAMPLES_MAX` samples and about `BLOCK_BYTES` of intermediate
numbers at a time, small enough for a processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from kumiai.adapters.compute.execution.counting import count_layer_outputs
from kumiai.adapters.compute.first_layer import FirstLayer, find_first_layer
from kumiai.learning.layout import Layout, integer_buffers, unflatten
from kumiai.learning.recipe import Recipe, build_seeded, compute_class_loss, compute_token_loss

Samples = tuple[Tensor, Tensor]
State = dict[str, Tensor]
FloatArray = NDArray[np.float64]

BLOCK_SAMPLES_MAX = 512
BLOCK_BYTES = 4 * 2**20
FIRST_LAYER_BYTES_MAX = 128 * 2**20  # of its outputs, for all vectors and samples
FLOAT_BYTES = 4
IMAGE_DIMENSIONS = 4  # [samples, channels, height, width]
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Losses(NamedTuple):
    """Mean losses [M, K] of M models on K hold-outs; what is not finite stays so."""

    plain_MK: FloatArray
    bounded_MK: FloatArray


class HoldoutMeasure:
    """One network and K hold-outs, measured with many sets of weights."""

    def __init__(self, recipe: Recipe, layout: Layout, holdouts: Sequence[Samples]) -> None:
        """Join the hold-outs. ValueError if there is none, or one without samples."""
        if not holdouts or any(len(x) == 0 or len(x) != len(y) for x, y in holdouts):
            raise ValueError(
                f"hold-outs of {[len(x) for x, _ in holdouts]} samples: each needs one"
            )
        self.recipe, self.layout = recipe, layout
        self.module = build_seeded(recipe, 1.0, seed=0).eval()
        self.has_convolution = any(isinstance(m, _CONVOLUTIONS) for m in self.module.modules())
        self.inputs = torch.cat([x for x, _ in holdouts])
        self.targets = torch.cat([y for _, y in holdouts])
        self.sizes_K = np.array([len(x) for x, _ in holdouts], dtype=np.float64)
        self.ends = self.sizes_K.cumsum().astype(np.int64).tolist()
        self.first: FirstLayer | None = None
        if not self.has_convolution:
            self.first = find_first_layer(recipe, layout, self.inputs)
        elif self.inputs.dim() == IMAGE_DIMENSIONS:
            self.inputs = self.inputs.contiguous(memory_format=torch.channels_last)
        self.layer_floats_max = max(count_layer_outputs(self.module, self.inputs[:1]), default=1)

    def open(self, basis_BP: Tensor) -> Mixtures:
        """Return what measures mixtures of these vectors, float32 [B, P]."""
        fits = False
        if self.first is not None:
            sample_floats = self.first.count_output_floats() * len(self.inputs)
            fits = FLOAT_BYTES * len(basis_BP) * sample_floats <= FIRST_LAYER_BYTES_MAX
        return Mixtures(self, basis_BP, self.first if fits else None)

    def measure(self, models_MP: Tensor) -> Losses:
        """Return the losses of each model, float32 [M, P], on each hold-out."""
        return self.open(models_MP).measure(torch.eye(len(models_MP)))

    def measure_accuracy(self, model_P: Tensor) -> FloatArray:
        """Return the share of right answers [K] of one model on each hold-out."""
        state = {**unflatten(self.layout, model_P), **integer_buffers(self.module)}
        right = []
        with torch.no_grad():
            for start, stop in self.find_blocks():
                outputs = functional_call(self.module, state, (self.inputs[start:stop],))
                correct_S = self.recipe.compute_correct(outputs, self.targets[start:stop])
                right.append(correct_S.double())
        sums_K: FloatArray = np.add.reduceat(torch.cat(right).numpy(), [0, *self.ends[:-1]])
        return sums_K / self.sizes_K

    def find_blocks(self) -> list[tuple[int, int]]:
        """Return (start, stop) of the samples that are run together."""
        edges = [*range(0, len(self.inputs), BLOCK_SAMPLES_MAX), len(self.inputs)]
        return list(pairwise(edges))

    def find_spans(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return (hold-out, low, high), counted from `start`, of the samples start..stop-1."""
        edges = list(pairwise([0, *self.ends]))
        return [
            (k, max(begin, start) - start, min(end, stop) - start)
            for k, (begin, end) in enumerate(edges)
            if begin < stop and end > start
        ]


class Mixtures:
    """Models that are mixtures of B vectors; `batch_size` of them fit the blocks at once."""

    def __init__(self, measure: HoldoutMeasure, basis_BP: Tensor, first: FirstLayer | None) -> None:
        self._measure, self._first = measure, first
        self._module = measure.module if first is None else first.rest
        self._layout = measure.layout if first is None else first.rest_layout
        self._integers = integer_buffers(self._module)
        # the columns that are mixed as numbers; the first layer's are mixed as outputs
        self._basis_BR = basis_BP if first is None else basis_BP[:, first.rest_P].contiguous()
        self._blocks: list[Tensor] = []  # [B, samples of the block * floats]
        if first is not None:
            with torch.no_grad():
                self._blocks = [
                    torch.stack([first.compute_outputs(v_P, *span).flatten() for v_P in basis_BP])
                    for span in measure.find_blocks()
                ]
                self._output_shape = first.compute_outputs(basis_BP[0], 0, 1).shape[1:]
        samples = min(len(measure.inputs), BLOCK_SAMPLES_MAX)
        floats = self._layout.size + samples * measure.layer_floats_max
        fitting = max(1, BLOCK_BYTES // (FLOAT_BYTES * floats))
        self.batch_size = 1 if measure.has_convolution else fitting

    def measure(self, weights_MB: Tensor) -> Losses:
        """Return the losses of each mixture on each hold-out, M any number."""
        parts = weights_MB.split(self.batch_size)
        with torch.no_grad():
            sums_2MK = np.concatenate([self._sum_batch(part_MB) for part_MB in parts], axis=1)
        plain_MK, bounded_MK = sums_2MK / self._measure.sizes_K
        return Losses(plain_MK, bounded_MK)

    def _sum_batch(self, weights_MB: Tensor) -> FloatArray:
        """Return the sums of the samples' losses, plain and bounded: [2, M, K]."""
        measure = self._measure
        sums_2MK = np.zeros((2, len(weights_MB), len(measure.ends)))
        state = unflatten(self._layout, weights_MB @ self._basis_BR)
        for number, (start, stop) in enumerate(measure.find_blocks()):
            if self._first is not None:
                mixed = weights_MB @ self._blocks[number]
                shape = (len(weights_MB), stop - start, *self._output_shape)
                state[self._first.output_name] = mixed.view(shape)
            outputs = self._run(state, measure.inputs[start:stop])
            self._add_losses(outputs, start, stop, sums_2MK)
        return sums_2MK

    def _run(self, state: State, inputs: Tensor) -> Tensor:
        """Return the outputs [M, S, ...] of M models for S samples."""

        def run_one(one: State) -> Tensor:
            outputs: Tensor = functional_call(self._module, {**one, **self._integers}, (inputs,))
            return outputs

        count = len(next(iter(state.values())))
        if self._measure.has_convolution or count == 1:
            return torch.stack(
                [run_one({name: t[i] for name, t in state.items()}) for i in range(count)]
            )
        stacked: Tensor = vmap(run_one)(state)
        return stacked

    def _add_losses(self, outputs: Tensor, start: int, stop: int, sums_2MK: FloatArray) -> None:
        """Add the losses of samples start..stop-1, each to the sums of its hold-out."""
        spans = self._measure.find_spans(start, stop)
        targets = self._measure.targets[start:stop]
        losses = self._compute_sample_losses(outputs, targets)
        if losses is not None:
            begins, places = [low for _, low, _ in spans], [k for k, _, _ in spans]
            bound = compute_bound(outputs.shape[-1])
            for which, each in enumerate((losses, losses.clamp(max=bound))):
                each_MS = each.flatten(2).mean(dim=2) if each.dim() > 2 else each
                sums = np.add.reduceat(each_MS.numpy(), begins, axis=1, dtype=np.float64)
                sums_2MK[which][:, places] += sums
            return
        for k, low, high in spans:  # a user's loss may be anything: models one by one
            for m, one in enumerate(outputs):
                loss = self._measure.recipe.compute_loss(one[low:high], targets[low:high])
                sums_2MK[:, m, k] += float(loss) * (high - low)

    def _compute_sample_losses(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return the loss of each answer [M, S, ...] where the recipe's is a built-in mean."""
        if self._measure.recipe.compute_loss not in (compute_class_loss, compute_token_loss):
            return None
        scores = outputs.movedim(-1, 1)  # classes second: six times faster than last
        wanted = targets.expand(len(outputs), *targets.shape)
        if scores.shape[0] != wanted.shape[0] or scores.shape[2:] != wanted.shape[1:]:
            return None
        return functional.cross_entropy(scores, wanted, reduction="none")


def compute_bound(class_count: int) -> float:
    """Return what one answer's cross entropy counts at most, in nats."""
    return math.log(class_count) * class_count / (class_count - 1) if class_count > 1 else 0.0
