"""What changes in the search for copies and replays where updates may be older than their round.

A customer's view: work that was shown in one round is not paid a second time in another's name, and
nobody is blamed for work that honestly began where an earlier round's did. Every update names its
base, the round whose model it began at.

    copies     as `similarity` has it, but what is common to everybody, which is taken out before
               two updates are compared, is that of the original's base: those who began at the same
               model went the same way, and in a round of mixed bases the sum of all directions is
               not theirs. Originals are the round's earlier updates and those shown in the rounds
               before (SHOWN). Where most of a base are alike, the common direction is theirs, as in
               `similarity`: here too for those who name a base without having begun there. Of one
               or two updates nobody can tell what they have in common: where a base has no more,
               only exact copies are found.
    no REPLAY  a stale u_i is not blamed for its likeness to g, the last global step, while
               cos(u_i, g)^2 <= max over k of cos(v_k, g)^2, v_k shown in the last round

The second rule is needed because the v_k are what g was made of, and an honest stale update may
have begun at the very model that they began at: then it is as like g as they are, whatever the
threshold. It is even less: for unit vectors with the same cosine c to each other, of which K make
g, cos(v_k, g)^2 = (1 + (K - 1) c) / K and cos(u_i, g)^2 = K c^2 / (1 + (K - 1) c), which is smaller
for every c < 1. A replay of g itself has cosine 1 and stays blamed, as does g with less noise on it
than the members' own differences; with more it is a mixture, of which the value is measured.

Who copies gains nothing by naming a wrong base: the original's is what counts. Guarantee and cost
as in `similarity`, once for every base that is looked back at. The rules are this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kumiai.proofs.similarity import IntegerArray, compute_gram, find_copies, find_core


def find_copies_by_base(
    updates_NP: IntegerArray,
    bases_N: Sequence[int],
    shown_MP: IntegerArray,
    bases_M: Sequence[int],
    cosine_ppm: int,
) -> NDArray[np.bool_]:
    """Tell for each update whether it copies each of the updates and of those shown, [N, N + M].

    The base of the second of a pair, the original, decides what is taken for common.
    """
    count = len(updates_NP)
    is_copy = np.zeros((count, count + len(shown_MP)), dtype=bool)
    for base in sorted({*bases_N, *bases_M}):
        shown = [k for k, other in enumerate(bases_M) if other == base]
        rows = np.vstack([updates_NP, shown_MP[shown]])
        is_base_N = np.array([other == base for other in bases_N], dtype=bool)
        gram = compute_gram(rows)[0]
        group = np.concatenate([is_base_N, np.ones(len(shown), dtype=bool)])
        found = find_copies(gram, len(rows), cosine_ppm, find_core(gram, group, cosine_ppm))
        own = np.flatnonzero(is_base_N)
        is_copy[:, own] = found[:count, own]
        is_copy[:, [count + k for k in shown]] = found[:count, count:]
    return is_copy


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
