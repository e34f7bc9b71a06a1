"""A committee's own small training run as the root of trust: whoever points elsewhere has no say.

    delta = sum_i t_i (|g| / |u_i|) u_i / sum_i t_i,   t_i = max(0, cos(u_i, g))

Cao, Fang, Liu and Gong, "FLTrust: Byzantine-Robust Federated Learning via Trust Bootstrapping",
2021, section 4; g = reference, the update that the committee trained on its own clean data. Bounds
any number of hostile members: each has at most the root's length, along the root. Weights are
ignored. Deviation: a row is lengthened at most SCALE_MAX times, so that a minute one cannot
take the integers' resolution from the others. Nobody trusted: the zero vector.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.aggregation.gram import compute_gram
from kumiai.learning.aggregation.linear import FRACTION_BITS, combine
from kumiai.learning.aggregation.rows import Vector, WithReference
from kumiai.learning.aggregation.rule import Members

SCALE_BITS = 4
SCALE_MAX = 2**SCALE_BITS


def compute_trust_root(members: Members) -> Vector:
    """Return the trust-weighted mean; ValueError without a reference or with one of length 0."""
    if members.reference_P is None:
        raise ValueError("trust_root needs the root's own update as the reference, got none")
    rows = WithReference(members.rows, members.reference_P)
    gram_MM = compute_gram(rows, members.kernels)
    if gram_MM[-1, -1] <= 0.0:
        raise ValueError("trust_root needs a root update that is not zero")
    shares_N, scales_N = _compute_shares(gram_MM)
    weights_N = _quantise(shares_N * scales_N)
    # not 2**bits: rows of the root's length then give exactly their mean
    divisor = max(1, sum(_quantise(shares_N)))
    return combine(members.rows, weights_N, divisor, members.kernels)


def _quantise(shares_N: NDArray[np.float64]) -> list[int]:
    bits = FRACTION_BITS - SCALE_BITS  # scaled shares sum to at most SCALE_MAX
    return [round(math.ldexp(share, bits)) for share in shares_N.tolist()]


def _compute_shares(
    gram_MM: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return t_i / sum_j t_j [N], zeros if no t is positive, and the scales |g| / |u_i| [N]."""
    lengths_M = np.sqrt(np.diagonal(gram_MM))
    lengths_N, root = lengths_M[:-1], lengths_M[-1]
    is_row_N = lengths_N > 0.0
    safe_N = np.where(is_row_N, lengths_N, 1.0)
    trust_N = np.where(is_row_N, np.maximum(gram_MM[:-1, -1] / safe_N / root, 0.0), 0.0)
    total = math.fsum(trust_N)
    shares_N = trust_N / total if total > 0.0 else trust_N
    return shares_N, np.minimum(root / safe_N, SCALE_MAX)
