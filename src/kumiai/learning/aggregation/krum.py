"""Rules of neighbourhood: keep the updates that lie nearest to others.

    krum        the one update with the best score
    multi_krum  weighted mean of the N - f updates with the best scores

    score(i) = sum of |u_i - u_j|^2 over the N - f - 2 nearest j     f = settings.byzantine_count

Blanchard, El Mhamdi, Guerraoui and Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent", 2017, section 4. The guarantee needs N >= 2 f + 3. Equal scores go by the rows'
fingerprints, so that nobody's place in the list decides; rows that are equal too are the same.
"""

from __future__ import annotations

import numpy as np

from kumiai.learning.aggregation.gram import compute_distances
from kumiai.learning.aggregation.kernels import Kernels
from kumiai.learning.aggregation.linear import combine
from kumiai.learning.aggregation.rows import (
    Rows,
    Vector,
    compute_fingerprint,
    iterate_blocks,
)
from kumiai.learning.aggregation.rule import Members

COPY_BLOCK = 65_536  # numbers


def compute_krum(members: Members) -> Vector:
    """Return the update with the best score, as it is.

    Raises ValueError when 0 < f and N < 2 f + 3.
    """
    (best,) = select_krum(members, 1)
    delta_P = np.empty(members.rows.size, dtype=members.rows.dtype)
    for block in iterate_blocks(members.rows.size, COPY_BLOCK):
        delta_P[block] = members.rows.take(block)[best]
    return delta_P


def compute_multi_krum(members: Members) -> Vector:
    """Return the weighted mean of the N - f updates with the best scores.

    Raises ValueError when 0 < f and N < 2 f + 3: the rule's guarantee needs that many.
    """
    chosen = set(select_krum(members, len(members.rows) - members.settings.byzantine_count))
    weights_N = [w if index in chosen else 0 for index, w in enumerate(members.weights_N)]
    return combine(members.rows, weights_N, sum(weights_N), members.kernels)


def select_krum(members: Members, kept: int) -> list[int]:
    """Return the indices, ascending, of the `kept` updates nearest to their N - f - 2 neighbours.

    Equal scores go to the smaller fingerprint, then to the smaller weight, then to the lower index.
    """
    rows, weights_N, kernels = members.rows, members.weights_N, members.kernels
    count, byzantine_count = len(rows), members.settings.byzantine_count
    if byzantine_count < 0 or (byzantine_count > 0 and count < 2 * byzantine_count + 3):
        raise ValueError(
            f"krum and multi_krum with byzantine_count {byzantine_count} need at least "
            f"{2 * byzantine_count + 3} members, got {count}"
        )
    if kept == count:
        return list(range(count))
    scores = compute_scores(rows, byzantine_count, kernels)
    border = sorted(scores)[kept - 1]
    kept_surely = [i for i in range(count) if scores[i] < border]
    at_border = [i for i in range(count) if scores[i] == border]
    places = kept - len(kept_surely)
    if len(at_border) > places:  # hashing reads whole rows: only where it decides
        at_border = [
            i
            for *_, i in sorted((compute_fingerprint(rows, i), weights_N[i], i) for i in at_border)
        ]
    return sorted(kept_surely + at_border[:places])


def compute_scores(rows: Rows, byzantine_count: int, kernels: Kernels) -> list[int] | list[float]:
    """Return every row's sum of squared distances to its nearest others: exact over int32."""
    distances, count = compute_distances(rows, kernels).tolist(), len(rows)
    neighbours = max(0, count - byzantine_count - 2)
    return [sum(sorted(row[:i] + row[i + 1 :])[:neighbours]) for i, row in enumerate(distances)]
