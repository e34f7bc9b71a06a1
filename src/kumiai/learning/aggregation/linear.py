"""Weighted sums of the rows: where the mean and every rule that only chooses weights end.

    delta = sum_i q_i u_i / D,   q_i = weights_N[i], D = divisor, u_i = rows[i]

Over int32 rows q_i and D are integers, the sum is exact and the quotient is rounded half to even:
one result on every machine, in any order. Over float32 rows the weights q_i / D are float32.

    mean    q_i = w_i, D = sum_i w_i     McMahan et al., "Communication-Efficient Learning of Deep
                                         Networks from Decentralized Data", 2017, algorithm 1
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kumiai.learning.aggregation.kernels import Kernels
from kumiai.learning.aggregation.rows import Block, Rows, Vector, iterate_blocks
from kumiai.learning.aggregation.rule import WEIGHT_SUM_MAX, Members

FRACTION_BITS = 30  # of a share of 1: half a unit of error on a row of the largest numbers
FLOAT_BLOCK = 65_536  # numbers: the result's block stays in the L2 cache while the rows pass


def compute_mean(members: Members) -> Vector:
    """Return the weighted mean."""
    return combine(members.rows, members.weights_N, sum(members.weights_N), members.kernels)


def combine(rows: Rows, weights_N: Sequence[int], divisor: int, kernels: Kernels) -> Vector:
    """Return sum_i weights_i row_i / divisor, in the rows' type; what leaves int32 saturates.

    Raises ValueError where the weights' sizes sum to more than 2**31.
    """
    size_sum = sum(map(abs, weights_N))
    if size_sum > WEIGHT_SUM_MAX:
        raise ValueError(f"weights sum to {size_sum}, more than {WEIGHT_SUM_MAX}")
    delta_P = np.empty(rows.size, dtype=rows.dtype)
    if rows.dtype.kind == "f":
        shares_N = (np.array(weights_N, dtype=np.float64) / divisor).astype(rows.dtype)
        for block in iterate_blocks(rows.size, FLOAT_BLOCK):
            delta_P[block] = _add_floats(rows.take(block), shares_N)
        return delta_P
    common = math.gcd(divisor, *weights_N)  # equal weights become 1: small products stay in int32
    weights_N, divisor = [weight // common for weight in weights_N], divisor // common
    for block in iterate_blocks(rows.size, kernels.sum_block):
        sums_B = kernels.sum_weighted(rows.take(block), weights_N)
        kernels.divide_into(delta_P[block], sums_B, divisor)
    return delta_P


def quantise_shares(shares_N: Sequence[float]) -> list[int]:
    """Return shares of 1 as integers of FRACTION_BITS bits: what `combine` can use exactly.

    Their sum, not 2**30, is the divisor: equal shares then give exactly the plain mean.
    """
    return [round(math.ldexp(share, FRACTION_BITS)) for share in shares_N]


def _add_floats(rows_NB: Block, shares_N: Vector) -> Vector:
    if isinstance(rows_NB, np.ndarray):
        product_B: Vector = shares_N @ rows_NB
        return product_B
    sum_B = np.zeros_like(rows_NB[0])
    scratch_B = np.empty_like(sum_B)
    for row_B, share in zip(rows_NB, shares_N, strict=True):
        if share != 0:
            np.multiply(row_B, share, out=scratch_B)
            sum_B += scratch_B
    return sum_B
