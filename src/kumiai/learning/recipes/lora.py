"""A frozen network with small trained additions: only the additions travel.

E. J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, section 4.1. A linear
layer with weight W gets, beside what it does, a product of two thin matrices:

    y = W x + (alpha / r) B (A x)

    r = rank, alpha = alpha; A_RI = [r, inputs], B_OR = [outputs, r], B starts at 0

Averaging members' A and B apart is not averaging their products: mean(B) mean(A) != mean(B A). With
`train_a = False` A is the same for everybody and stays as it is, so that the products average as
the B do, exactly, and half as many numbers travel (Y. Sun et al., "Improving LoRA in
Privacy-preserving Federated Learning", 2024, there FFA-LoRA; reconstruction: the paper's text was
not available). That A is no part of the layout: everybody draws it from the task's seed.

Widths are nested ranks: width p keeps the leading p r rows of A and columns of B, and the factor
alpha / r of the full rank, so that a narrow model is the full one with the other ranks at 0.

The base is never copied. `freeze` turns its weights into buffers outside the state, and every
module that `LoraBuilder.build` makes is a new skeleton around the same tensors: memory for one
base, whatever the number of modules, and no module's adapters are seen by another's thread.
"""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kumiai.learning.recipes.options import scale_size

RANK_DEFAULT = 8
ALPHA_DEFAULT = 16
ALL_LINEAR = "all-linear"
UNIFORM_BITS = 24  # as many as a float32 holds


class Adapted(nn.Module):
    """A linear layer that stays as it is, plus `scale` * B A; B [outputs, r], A [r, inputs]."""

    lora_a: Tensor
    lora_b: Tensor

    def __init__(self, inner: nn.Module, a_RI: Tensor, outputs: int, scale: float, train_a: bool):
        super().__init__()
        self.inner = inner
        self.scale = scale
        if train_a:
            self.lora_a = nn.Parameter(a_RI)
        else:
            self.register_buffer("lora_a", a_RI, persistent=False)
        self.lora_b = nn.Parameter(torch.zeros(outputs, len(a_RI)))

    def forward(self, inputs: Tensor) -> Tensor:
        change = (inputs @ self.lora_a.transpose(-2, -1)) @ self.lora_b.transpose(-2, -1)
        outputs: Tensor = self.inner(inputs) + self.scale * change
        return outputs


class Lora(nn.Module):
    """Token numbers [B, T] (integers, or floats holding integers) to scores [B, T, V]."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def train(self, mode: bool = True) -> Lora:
        """Switch to training, but never the base: its dropout stays off."""
        super().train(mode)
        self.base.eval()
        return self

    def forward(self, tokens_BT: Tensor) -> Tensor:
        outputs = self.base(input_ids=tokens_BT.long(), use_cache=False)
        scores: Tensor = outputs.logits
        return scores


@dataclass(frozen=True, eq=False)
class LoraBuilder:
    """`build(width)`: adapters on the layers `targets` of a base that `freeze` has frozen.

    targets: names of layers within the base, with inputs and outputs of each. seed: A's, where it
    is not trained.
    """

    base: nn.Module
    targets: tuple[tuple[str, int, int], ...]
    rank: int
    alpha: int
    train_a: bool
    seed: int

    @property
    def scale(self) -> float:
        """Alpha / r, of the full rank at every width."""
        return self.alpha / self.rank

    def build(self, width: float) -> nn.Module:
        rank = scale_size(self.rank, width)
        shared: dict[int, object] = {id(t): t for t in self.base.buffers()}
        base = copy.deepcopy(self.base, shared)
        for name, inputs, outputs in self.targets:
            # all ranks are drawn at every width, so that the narrow ones are the first of them
            a_RI = self.draw(name, inputs)[:rank].clone()
            parent, _, own = name.rpartition(".")
            layer = Adapted(base.get_submodule(name), a_RI, outputs, self.scale, self.train_a)
            setattr(base.get_submodule(parent), own, layer)
        return Lora(base)

    def draw(self, name: str, inputs: int) -> Tensor:
        """Return A of full rank: uniform in +-1/sqrt(inputs), a linear layer's usual start."""
        bound = 1 / math.sqrt(inputs)
        if self.train_a:
            return torch.empty(self.rank, inputs).uniform_(-bound, bound)
        return draw_uniform(f"{self.seed}/{name}", (self.rank, inputs), bound)


def draw_uniform(label: str, shape: tuple[int, int], bound: float) -> Tensor:
    """Return numbers in +-bound that follow from `label` alone, on every machine and version."""
    start = int.from_bytes(hashlib.sha256(f"kumiai/lora/{label}".encode()).digest(), "big")
    raw = np.random.PCG64(start).random_raw(math.prod(shape))
    units = (raw >> np.uint64(64 - UNIFORM_BITS)).astype(np.float32) / 2.0**UNIFORM_BITS
    numbers = (bound * (2 * units - 1)).astype(np.float32)
    return torch.from_numpy(numbers).view(shape)


def freeze(model: nn.Module) -> nn.Module:
    """Turn all parameters of `model` into buffers outside its state_dict, in place; return it."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                del module._parameters[name]
                module.register_buffer(name, parameter.detach(), persistent=False)
        module._non_persistent_buffers_set.update(module._buffers)
    return model.eval()


def choose_targets(
    model: nn.Module, wanted: str, head: nn.Module | None, rank: int
) -> tuple[tuple[str, int, int], ...]:
    """Return (name, inputs, outputs) of the layers that `wanted` names, in the model's order.

    wanted: endings of layers' names, parted by commas, or "all-linear" for all but the `head`.
    Raises ValueError, naming those that there are, for an ending that no linear layer has, or for a
    rank above a layer's sizes.
    """
    found = {name: sizes for name, m in model.named_modules() if (sizes := measure_linear(m))}
    if wanted == ALL_LINEAR:
        heads = {name for name, m in model.named_modules() if m is head}
        chosen = [name for name in found if name not in heads]
    else:
        endings = [part.strip() for part in wanted.split(",")]
        for ending in endings:
            if not any(_ends_with(name, ending) for name in found):
                known = ", ".join(sorted({name.rpartition(".")[2] for name in found}))
                raise ValueError(
                    f"recipe 'lora': target_modules has {ending!r}, which no linear layer of the "
                    f"base is called: it has {known}"
                )
        chosen = [name for name in found if any(_ends_with(name, e) for e in endings)]
    for name in chosen:
        if rank > min(found[name]):
            raise ValueError(
                f"recipe 'lora': rank = {rank} is more than layer {name!r} of {found[name]} "
                "(inputs, outputs) can have: lower it"
            )
    if not chosen:
        raise ValueError("recipe 'lora': the base has no linear layer to adapt")
    return tuple((name, *found[name]) for name in chosen)


def measure_linear(module: nn.Module) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a linear layer, None for another kind of module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    # GPT-2's linear layer holds its weight the other way round: [inputs, outputs]
    weight = getattr(module, "weight", None)
    if type(module).__name__ == "Conv1D" and isinstance(weight, Tensor):
        inputs, outputs = weight.shape
        return inputs, outputs
    return None


def _ends_with(name: str, ending: str) -> bool:
    return bool(ending) and (name == ending or name.endswith(f".{ending}"))
