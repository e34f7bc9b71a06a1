"""How much an update counts that was trained from an older model than the one it is added to.

Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek and Huba, "Federated Learning with Buffered
Asynchronous Aggregation" (FedBuff), 2022. A reconstruction: the discount is theirs, the integers
are ours::

    s(tau) = 1 / sqrt(1 + tau)      tau: rounds between the model it started from and the one it
                                    moves, `staleness`
    w_i' = w_i * s(tau_i)           in units of 2**-16, rounded down

Deviation: the paper divides the discounted sum by the number of updates, K; here it is divided by
the sum of the weights, as every weighted rule does. A round in which all are equally old moves the
model as one in which all are new; in a mixed one the old count less, by the same ratio as there.

Guarantee: integers only, the same on every machine; never more for an older update; weights stay at
least 1 and sum to less than `WEIGHT_SUM_MAX`. Without an old update the weights are what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from kumiai.learning.aggregation import fit_weights

DISCOUNT_BITS = 16  # with 10,000 members of weight 1 the sum stays below 2**31


def compute_discount(staleness: int) -> int:
    """Return floor(2**16 / sqrt(1 + staleness)); ValueError for a negative age."""
    if staleness < 0:
        raise ValueError(f"staleness {staleness} is negative")
    return isqrt((1 << 2 * DISCOUNT_BITS) // (1 + staleness))


def discount_weights(weights: Sequence[int], staleness_N: Sequence[int]) -> list[int]:
    """Return the weights of updates of these ages, in their order."""
    if not any(staleness_N):
        return list(weights)
    return fit_weights(
        [
            max(1, weight * compute_discount(staleness))
            for weight, staleness in zip(weights, staleness_N, strict=True)
        ]
    )
