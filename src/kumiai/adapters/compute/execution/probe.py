"""What a recipe allows: found by trying it on the members' first batches, not by asking its author.

Each trait is checked numerically; a recipe that fails a check runs on a slower backend, with the
same result. What cannot be seen on the first batches (a loss that weighs samples only when a rare
class turns up) is not found: such a recipe should be run with backend "inline".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kumiai.adapters.compute.execution.devices import drawing
from kumiai.adapters.compute.execution.shards import JoinedShards
from kumiai.learning.client import LocalWork, Params, compute_sample_losses
from kumiai.learning.layout import unflatten

TOLERANCE = 1e-4
BATCH_SIZE_MAX = 32  # samples looked at per member


@dataclass(frozen=True)
class Traits:
    """has_convolution: stacking loses on a CPU. is_random: dropout and the like, so that the order
    of members would matter when stacked. is_separable: the loss of a batch is the mean of its
    samples' losses and no sample sees another, so that padding is harmless.
    """

    has_convolution: bool
    is_random: bool
    is_separable: bool


def probe(work: LocalWork, global_P: Tensor, data: JoinedShards) -> Traits:
    """Return the recipe's traits on these members' samples.

    Raises ValueError, naming recipe and member, where the recipe raises.
    """
    tensors = {name: t.clone() for name, t in unflatten(work.layout, global_P).items()}
    firsts = [
        torch.arange(offset, offset + min(count, BATCH_SIZE_MAX))
        for offset, count in zip(data.offsets, data.counts, strict=True)
    ]
    widest = max(range(len(firsts)), key=lambda n: len(firsts[n]))
    is_random = _is_random(work, tensors, data, firsts[widest])
    return Traits(
        has_convolution=has_convolution(work),
        is_random=is_random,
        is_separable=not is_random and all(_is_separable(work, tensors, data, r) for r in firsts),
    )


def is_divisible(work: LocalWork, global_P: Tensor, data: JoinedShards) -> bool:
    """Whether a batch's gradient is the weighted mean of its parts', also of a random recipe.

    For a recipe that draws random numbers the loss is looked at, and whether buffers move with the
    batch; what else its samples might see of each other is not found.
    """
    traits = probe(work, global_P, data)
    if not traits.is_random:
        return traits.is_separable
    tensors = {name: t.clone() for name, t in unflatten(work.layout, global_P).items()}
    rows = torch.arange(data.offsets[0], data.offsets[0] + min(data.counts[0], BATCH_SIZE_MAX))
    inputs, targets = data.batch(rows)
    _, rest = work.divide(tensors)
    with drawing(data.device, 1):
        _, moved = work.compute_loss(work.divide(tensors)[0], rest, inputs, targets, None)
    outputs = _forward(work, tensors, inputs, 1)
    samples_B = compute_sample_losses(work.recipe, outputs.clone(), targets)
    is_mean = _is_close(work.recipe.compute_loss(outputs.clone(), targets), samples_B.mean())
    return is_mean and all(torch.equal(moved[name], rest[name]) for name in rest)


def has_convolution(work: LocalWork) -> bool:
    """Whether the network contains a convolution layer."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)
    return any(isinstance(module, kinds) for module in work.modules[0][0].modules())


def _forward(work: LocalWork, tensors: Params, inputs: Tensor, seed: int) -> Tensor:
    """Outputs in training mode under `seed`, float buffers and random state left alone."""
    state = {name: t.clone() for name, t in {**tensors, **work.integers[0]}.items()}
    with drawing(inputs.device, seed), torch.no_grad():
        outputs: Tensor = functional_call(work.modules[0][0], state, (inputs,))
    return outputs


def _is_random(work: LocalWork, tensors: Params, data: JoinedShards, rows: Tensor) -> bool:
    inputs, _ = data.batch(rows)
    one, other = (_forward(work, tensors, inputs, seed) for seed in (1, 2))
    return not torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))


def _is_separable(work: LocalWork, tensors: Params, data: JoinedShards, rows: Tensor) -> bool:
    inputs, targets = data.batch(rows)
    half = max(1, len(rows) // 2)
    try:
        outputs = _forward(work, tensors, inputs, 1)
        fewer = _forward(work, tensors, inputs[:half], 1)
        # a loss may change what it is given
        whole = work.recipe.compute_loss(outputs.clone(), targets)
        samples_B = compute_sample_losses(work.recipe, outputs.clone(), targets)
    except (RuntimeError, ValueError, TypeError, IndexError):
        # a recipe that cannot take half a batch or single samples is simply not separable; if it
        # cannot take these samples at all, training will say so with the member's index
        return False
    if samples_B.shape != (len(rows),):
        return False
    return _is_close(outputs[:half], fewer) and _is_close(whole, samples_B.mean())


def _is_close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def describe(traits: Traits) -> Sequence[str]:
    """Return the traits that matter to the choice, in words."""
    words = []
    if traits.has_convolution:
        words.append("has convolutions")
    if traits.is_random:
        words.append("draws random numbers")
    if not traits.is_separable:
        words.append("mixes the samples of a batch")
    return words
