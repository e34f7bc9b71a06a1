"""Muon: the step of a matrix has all its directions equally long; AdamW for what is no matrix.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); as the inner
optimiser of DiLoCo: "MuLoCo: Muon is a practical inner optimizer for DiLoCo" (arXiv 2505.23725).
Neither text was at hand: a reconstruction from the method as it is generally known.

    m = mu m + g;  G = g + mu m                              Nesterov, as in PyTorch's SGD
    O = NS(G): next to U V^T of G = U S V^T
    w = w (1 - lr wd) - lr s O,  s = sqrt(max(1, rows / columns))

NS repeats X = a X + (b A + c A A) X with A = X X^T five times from X = G / ||G||_F, on the shorter
side; (a, b, c) = (3.4445, -4.7750, 2.0315) brings singular values into about 0.7 .. 1.2 fast rather
than to 1. A convolution kernel is a matrix of [out, in * height * width]. Deviations: float32 where
bfloat16 is usual; every tensor of two or more dimensions is treated as hidden, the last layer and
embeddings too, where the authors leave these to AdamW; tensors of AdamW use `learning_rate` / 10.

lr: `learning_rate`; mu: `momentum` (0.95 where it is 0); wd: `weight_decay`; g: gradient.
Cost: 15 matrix products an iteration and matrix, on its shorter side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kumiai.learning.local_rules.optimisers import adamw
from kumiai.learning.local_rules.rule import Params, Rule, Slots

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
REPEATS = 5
NORM_MIN = 1e-7
MATRIX_DIMENSIONS = 2
MOMENTUM = 0.95
ADAM_SHARE = 0.1  # of the learning rate: a unit step of Adam is longer than one of Muon


def muon(learning_rate: float, momentum: float, weight_decay: float) -> Rule:
    """Return the rule; momentum 0 means 0.95, without which orthogonal steps follow the noise."""
    vectors = adamw(ADAM_SHARE * learning_rate, weight_decay)
    mu = momentum or MOMENTUM

    def init(params: Params) -> Slots:
        matrices, rest = _divide(params)
        slots: Slots = {"momentum": {name: torch.zeros_like(w) for name, w in matrices.items()}}
        return {**slots, "vectors": vectors.init(rest)} if rest else slots

    def apply(grads: Params, slots: Slots, params: Params, anchor: Params) -> tuple[Params, Slots]:
        matrices, rest = _divide(grads)
        velocity = {name: mu * slots["momentum"][name] + g for name, g in matrices.items()}
        moved: Params = {}
        for name, g in matrices.items():
            step = orthogonalise_tensor(g + mu * velocity[name])
            moved[name] = params[name] * (1 - learning_rate * weight_decay) - learning_rate * step
        if not rest:
            return moved, {"momentum": velocity}
        others = {name: params[name] for name in rest}
        small, memory = vectors.apply(rest, slots["vectors"], others, anchor)
        joined = {**moved, **small}
        return {name: joined[name] for name in params}, {"momentum": velocity, "vectors": memory}

    return Rule(init, apply)


def orthogonalise_tensor(gradient: Tensor) -> Tensor:
    """Return s NS(G) in the gradient's own shape; dimensions beyond the second count as columns."""
    matrix = gradient.reshape(gradient.shape[0], -1)
    rows, columns = matrix.shape
    step = math.sqrt(max(1.0, rows / columns)) * orthogonalise(matrix)
    return step.reshape(gradient.shape)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return the matrix with singular values brought near 1 (Newton-Schulz); 0 stays 0."""
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.transpose(-2, -1) if is_tall else matrix
    x = x / (torch.sqrt((x * x).sum()) + NORM_MIN)
    a, b, c = COEFFICIENTS
    for _ in range(REPEATS):
        gram = x @ x.transpose(-2, -1)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.transpose(-2, -1) if is_tall else x


def _divide(tensors: Params) -> tuple[Params, Params]:
    """Divide tensors into those with matrices' steps and the others."""
    matrices = {name: t for name, t in tensors.items() if t.dim() >= MATRIX_DIMENSIONS}
    return matrices, {name: t for name, t in tensors.items() if name not in matrices}
