"""CSSV: members are valued class by class, by the rows of the model's last layer. No hold-out.

    cosine_ik = cos(h_ik, h_k)      h_ik: class k's row (weights and bias) of member i's update,
                                    h_k = sum over i of w_i h_ik / |h_i|
    value_i = mean over classes k of cosine_ik
    memory over rounds: r_i <- mu r_i + (1 - mu) value_i

Source: N. Tastan, S. Fares, T. Aremu, S. Horvath, K. Nandakumar, "Redefining Contributions:
Shapley-Driven Federated Learning" (ShapFed), IJCAI 2024 (a reconstruction from public code, which
enumerates the grand coalition alone: a similarity, not a sum over coalitions). Deviation: each
member's head is first divided by its length, so that a scaled update does not turn the aggregate
its own way.

The table of cosines is worth a look by itself: under label skew it says who knows which class.
What `cgsv` says of copies and replays holds here too; a head is easier to fake than an update.

Shapes: N members, C classes, D numbers a class: the head's input width, and 1 for the bias. Values
lie in -1..1. Nothing is measured or sampled. Cost O(N C D).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.cgsv import compute_shares
from kumiai.valuation.cosine import compute_row_cosines, normalise_rows
from kumiai.valuation.game import FloatArray, Valuation

MEMORY = 0.9


def join_heads(weights_NCD: NDArray[Any], biases_NC: NDArray[Any] | None = None) -> FloatArray:
    """Return the heads [N, C, D] or, with biases, [N, C, D + 1]. ValueError for unequal N or C."""
    weights = np.array(weights_NCD, dtype=np.float64)
    if biases_NC is None:
        return weights
    biases = np.array(biases_NC, dtype=np.float64)
    if weights.ndim != 3 or biases.shape != weights.shape[:2]:
        raise ValueError(f"weights have shape {weights.shape}, biases {biases.shape}")
    return np.concatenate([weights, biases[:, :, None]], axis=2)


def compute_class_cosines(
    heads_NCD: NDArray[Any], importance_N: Sequence[float] | NDArray[Any] | None = None
) -> FloatArray:
    """Return each member's cosine with the aggregate, class by class [N, C]; 0 for a row of zeros.

    ValueError if the shape is not [N, C, D] with a class, an entry is not finite, or importance
    does not fit.
    """
    if heads_NCD.ndim != 3 or heads_NCD.shape[1] == 0:
        raise ValueError(f"heads have shape {heads_NCD.shape}, expected [N, C, D]")
    count, classes, size = heads_NCD.shape
    heads = normalise_rows(heads_NCD.reshape(count, classes * size)).reshape(heads_NCD.shape)
    together_CD = np.tensordot(compute_shares(importance_N, count), heads, axes=1)
    return np.stack(
        [compute_row_cosines(heads[:, k], together_CD[k]) for k in range(classes)], axis=1
    )


def value_by_class_cosine(
    heads_NCD: NDArray[Any], importance_N: Sequence[float] | NDArray[Any] | None = None
) -> Valuation:
    """Return the members' mean cosine over the classes. ValueError as `compute_class_cosines`."""
    cosines_NC = compute_class_cosines(heads_NCD, importance_N)
    return Valuation(cosines_NC.mean(axis=1), np.zeros(len(cosines_NC)), 0)


def apply_class_cosine(
    scores_N: FloatArray,
    heads_NCD: NDArray[Any],
    importance_N: Sequence[float] | NDArray[Any] | None = None,
    memory: float = MEMORY,
) -> tuple[Valuation, FloatArray]:
    """Return (this round's values, the running scores after it); start with scores of zero.

    ValueError as `compute_class_cosines`, for a memory outside 0..1, or scores that do not fit.
    """
    valuation = value_by_class_cosine(heads_NCD, importance_N)
    if not 0 <= memory <= 1 or len(scores_N) != len(valuation.values_N):
        raise ValueError(f"memory {memory}, {len(scores_N)} scores, {len(heads_NCD)} heads")
    return valuation, memory * scores_N + (1 - memory) * valuation.values_N
