"""The door to all rules: checks what it is given, leaves out weight 0, makes buckets, calls one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kumiai.learning.aggregation.bucketing import bucket_members
from kumiai.learning.aggregation.clipping import compute_centered_clip, compute_norm_clip
from kumiai.learning.aggregation.geometric_median import compute_geometric_median
from kumiai.learning.aggregation.kernels import Kernels, NumpyKernels
from kumiai.learning.aggregation.krum import compute_krum, compute_multi_krum
from kumiai.learning.aggregation.linear import compute_mean
from kumiai.learning.aggregation.order import compute_median, compute_trimmed_mean
from kumiai.learning.aggregation.rows import Block, PlainRows, Vector
from kumiai.learning.aggregation.rule import WEIGHT_SUM_MAX, Members, Rule, Settings
from kumiai.learning.aggregation.trust import compute_trust_root
from kumiai.learning.fixed_point import FloatVector, IntVector

AGGREGATORS: Mapping[str, Rule] = {
    "mean": compute_mean,
    "median": compute_median,
    "trimmed_mean": compute_trimmed_mean,
    "krum": compute_krum,
    "multi_krum": compute_multi_krum,
    "geometric_median": compute_geometric_median,
    "centered_clip": compute_centered_clip,
    "norm_clip": compute_norm_clip,
    "trust_root": compute_trust_root,
}


def aggregate(
    name: str,
    updates_NP: Sequence[IntVector] | IntVector,
    weights_N: Sequence[int],
    settings: Settings | None = None,
    *,
    reference_P: IntVector | None = None,
    kernels: Kernels | None = None,
) -> IntVector:
    """Return the delta [P] of rule `name` over N updates (rows of an array, or a list of vectors).

    reference_P: the root's update for trust_root, the starting centre for centered_clip. kernels:
    faster loops with the same results. Raises ValueError for an unknown rule, no member of positive
    weight, negative or huge weights, rows of different shape or dtype, or fewer members than the
    rule needs.
    """
    return _run(name, updates_NP, weights_N, settings, reference_P, kernels, np.dtype(np.int32))


def aggregate_floats(
    name: str,
    updates_NP: Sequence[FloatVector] | FloatVector,
    weights_N: Sequence[int],
    settings: Settings | None = None,
    *,
    reference_P: FloatVector | None = None,
    kernels: Kernels | None = None,
) -> FloatVector:
    """As `aggregate`, over float32: for experiments; the last bits depend on the machine.

    Raises ValueError as well where a row has NaN or, with distances, infinity; of the mean only the
    result shows it.
    """
    return _run(name, updates_NP, weights_N, settings, reference_P, kernels, np.dtype(np.float32))


def _run(
    name: str,
    updates_NP: Block,
    weights_N: Sequence[int],
    settings: Settings | None,
    reference_P: Vector | None,
    kernels: Kernels | None,
    dtype: np.dtype[np.int32] | np.dtype[np.float32],
) -> Vector:
    if name not in AGGREGATORS:
        raise ValueError(f"aggregator {name!r} is unknown: use one of {', '.join(AGGREGATORS)}")
    _check(updates_NP, weights_N, reference_P, dtype)
    kept = [index for index, weight in enumerate(weights_N) if weight > 0]
    if len(kept) < len(weights_N):
        updates_NP = [updates_NP[index] for index in kept]
    members = Members(
        rows=PlainRows(updates_NP),
        weights_N=[int(weights_N[index]) for index in kept],
        reference_P=reference_P,
        settings=settings or Settings(),
        kernels=kernels or NumpyKernels(),
    )
    return AGGREGATORS[name](bucket_members(members))


def _check(
    updates_NP: Block,
    weights_N: Sequence[int],
    reference_P: Vector | None,
    dtype: np.dtype[np.int32] | np.dtype[np.float32],
) -> None:
    if len(updates_NP) != len(weights_N):
        raise ValueError(f"{len(updates_NP)} updates and {len(weights_N)} weights")
    if any(weight < 0 for weight in weights_N) or not 0 < sum(weights_N) < WEIGHT_SUM_MAX:
        raise ValueError(
            f"weights {list(weights_N)[:8]} must be at least 0, one above 0, and sum to less "
            f"than {WEIGHT_SUM_MAX}"
        )
    named = [(f"update {index}", update) for index, update in enumerate(updates_NP)]
    if reference_P is not None:
        named.append(("reference", reference_P))
    for name, update in named:
        if update.dtype != dtype or update.shape != updates_NP[0].shape or update.ndim != 1:
            raise ValueError(
                f"{name} is {update.dtype} of shape {update.shape}, "
                f"expected {dtype} of shape {updates_NP[0].shape}"
            )
