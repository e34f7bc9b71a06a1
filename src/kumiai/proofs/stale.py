"""What changes in the search for copies and replays where updates may be older than their round.

A customer's view: work that was shown in one round is not paid a second time in another's name, and
nobody is blamed for work that honestly began where an earlier round's did.

    SHOWN      u_i is a copy, as `similarity` understands it, of an update v_k that another member
               showed in one of the rounds before
    no REPLAY  a stale u_i is not blamed for its likeness to g, the last global step, while
               cos(u_i, g)^2 <= max over k of cos(v_k, g)^2, v_k shown in the last round

The second rule is needed because the v_k are what g was made of, and an honest stale update may
have begun at the very model that they began at: then it is as like g as they are, whatever the
threshold. It is even less: for unit vectors with the same cosine c to each other, of which K make
g, cos(v_k, g)^2 = (1 + (K - 1) c) / K and cos(u_i, g)^2 = K c^2 / (1 + (K - 1) c), which is smaller
for every c < 1. A replay of g itself has cosine 1 and stays blamed, as does g with less noise on it
than the members' own differences; with more it is a mixture, of which the value is measured.

Guarantee and cost as in `similarity`, once for every round that is looked back at. The rules are
this project's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kumiai.proofs.similarity import IntegerArray, compute_gram, find_copies


def find_shown(
    updates_NP: IntegerArray, shown_MP: IntegerArray, is_own_NM: NDArray[np.bool_], cosine_ppm: int
) -> NDArray[np.bool_]:
    """Tell for each update [N] whether it copies one of those shown in one earlier round [M, P].

    is_own_NM: which of them are the same member's: its own it cannot steal.
    """
    count = len(updates_NP)
    if not count or not len(shown_MP):
        return np.zeros(count, dtype=bool)
    rows = np.vstack([updates_NP, shown_MP])
    is_copy_RR = find_copies(compute_gram(rows)[0], len(rows), cosine_ppm)
    is_copied: NDArray[np.bool_] = np.any(is_copy_RR[:count, count:] & ~is_own_NM, axis=1)
    return is_copied


def find_excused(
    updates_NP: IntegerArray, shown_MP: IntegerArray, previous_P: IntegerArray
) -> NDArray[np.bool_]:
    """Tell for each update [N] whether one of the last round's is as like the last step as it is.

    Exact: cosines are compared as fractions of Python integers, without a division.
    """
    count, total = len(updates_NP), len(updates_NP) + len(shown_MP)
    gram = compute_gram(np.vstack([updates_NP, shown_MP, previous_P[None, :]]))[0]
    cosines = [(gram[i, total] ** 2, gram[i, i]) for i in range(total)]  # times |g|^2
    best, length = 0, 1
    for square, own in cosines[count:]:
        if own > 0 and square * length > best * own:
            best, length = square, own
    excused = [square * length <= best * own for square, own in cosines[:count]]
    return np.array(excused, dtype=bool)
