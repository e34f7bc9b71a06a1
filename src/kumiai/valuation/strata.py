"""Shapley values by coalition sizes: within each size, what does it change that a player is in?

    phi_i = (v(N) - v({})) / n  +  sum over s = 1..n/2 of k_s (m_is - m_s) / (n - s)

    w(S) = v(S) - v(N without S)      k_s = 1, but 1/2 for s = n/2
    m_s   mean of w over the coalitions of size s;  m_is   over those of size s with player i

This is Shapley's value, rearranged. Every measured coalition serves all players; what size alone
does to v (often most of it) cancels, and so does whatever of v a coalition and its complement
share, which no Shapley value depends on: any game of single players and pairs is exact.

Source: reuse within sizes is known from P. Kolpaczki, V. Bengs, M. Muschalik, E. Huellermeier,
"Approximating the Shapley Value without Marginal Contributions", AAAI 2024, complements from J.
Zhang, Q. Sun, J. Liu, L. Xiong, J. Pei, K. Ren, "Efficient Sampling Approaches to Shapley Value
Approximation", SIGMOD 2023 (both reconstructions). The design and the fit are this project's:

* Size 1 is measured whole. For every size s = 2..n/2 a layer draws a random circle of the players
  and a random pattern of s of its places, and turns the pattern through all n places: everybody is
  in equally many coalitions. At s = n/2 the pattern has one of each two opposite places, so that
  the turns hold their own complements.
* The means come out of one least-squares fit, every size weighing as much as its k_s::

      w(S) = a_s + sum over i in S of (b_i + c_i (1/s + 1/(n-s)))

  What c_i is fitted to is, but for a factor, the formula's sum over sizes: whatever shape the
  effects of size have, what the fit leaves adds nothing to it. b_i lets the players' effects be
  estimated from all sizes together where they are much the same in all.

Values sum to v(N) - v({}). A player without any effect is worth 0 within the error, not to the
digit as with methods that watch each player join: whoever pays what is above 0 needs errors_N. Ten
players, one layer: 92 coalitions instead of 1,024; `benchmarks/valuation.py` prints how the ranking
compares, and a steep game in which no method does well at that price.

errors_N is the standard error of the means of what the fit leaves, the same for all players and
corrected for the numbers fitted; 0 where nothing is left (seen 0.9 to 1.3 times the true error, the
mean over players). Up to 6 players all coalitions are measured. Cost: 2 + 2 n + layers * n (n - 3)
utilities, fewer where coalitions repeat, in one request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.exact import plan_exact
from kumiai.valuation.game import FloatArray, Plan, Valuation

WHOLE_PLAYERS_MAX = 6  # 64 coalitions: as many as a fit would need to be trusted


@dataclass(frozen=True, slots=True)
class StrataLimits:
    """layers: how often every size is sampled, n coalitions each time; one or more."""

    layers: int = 1


def count_strata(player_count: int, limits: StrataLimits) -> int:
    """Return how many utilities are asked for at most."""
    if player_count <= WHOLE_PLAYERS_MAX:
        return 1 << player_count
    return 2 + 2 * player_count + limits.layers * player_count * (player_count - 3)


def plan_strata(player_count: int, seed: int, limits: StrataLimits) -> Plan:
    """Value players by size. ValueError for no layer."""
    if limits.layers < 1:
        raise ValueError(f"layers {limits.layers} measure nothing: use 1 or more")
    if player_count <= WHOLE_PLAYERS_MAX:
        return (yield from plan_exact(player_count))
    everybody = (1 << player_count) - 1
    layers = draw_layers(np.random.PCG64(seed), player_count, limits.layers)
    members_HN = np.vstack([np.eye(player_count, dtype=np.int64), *layers])
    masks = [int("".join(map(str, row[::-1])), 2) for row in members_HN.tolist()]
    utilities = yield [0, everybody, *masks, *(everybody ^ mask for mask in masks)]
    won, inside_H, outside_H = np.split(utilities, [2, 2 + len(masks)])
    values_N, errors_N = _estimate(members_HN, inside_H - outside_H)
    return Valuation((won[1] - won[0]) / player_count + values_N, errors_N, 0)


def draw_layers(raw: np.random.PCG64, player_count: int, layers: int) -> list[NDArray[np.int64]]:
    """Return coalitions as rows of 0 and 1, of the sizes 2..n/2, `layers` times n of each."""
    places = np.arange(player_count)
    turns = (places[:, None] + places) % player_count
    rows = []
    for _ in range(layers):
        for size in range(2, player_count // 2 + 1):
            circle = np.argsort(raw.random_raw(player_count), kind="stable")
            order = np.argsort(raw.random_raw(player_count), kind="stable")
            if 2 * size == player_count:  # of two opposite places the one that comes first
                rank = np.argsort(order, kind="stable")
                order = places[rank < rank[(places + size) % player_count]]
            members_NN = np.zeros((player_count, player_count), dtype=np.int64)
            np.put_along_axis(members_NN, circle[turns[:, order[:size]]], 1, axis=1)
            rows.append(members_NN)
    return rows


def _estimate(members_HN: NDArray[np.int64], gains_H: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (values but for the equal part of v(N) - v({}), their standard errors).

    gains_H: w of H coalitions, the rows of members_HN, of which size 1 is whole.
    """
    count = members_HN.shape[1]
    sizes_H = members_HN.sum(axis=1)
    sizes = np.arange(1, count // 2 + 1)
    fades_S = 1 / sizes + 1 / (count - sizes)
    weights_S = np.where(2 * sizes == count, 0.5, 1.0)
    # the turns of one layer are n rows of a size; so are the players alone
    rows_S = np.bincount(sizes_H, minlength=len(sizes) + 1)[1:]
    roots_H = (weights_S * count / rows_S)[sizes_H - 1] ** 0.5
    is_size_HS = (sizes_H[:, None] == sizes).astype(np.float64)
    centred_HN = members_HN - sizes_H[:, None] / count
    design = np.hstack([is_size_HS, centred_HN, centred_HN * fades_S[sizes_H - 1][:, None]])
    fit, _, rank, _ = np.linalg.lstsq(design * roots_H[:, None], gains_H * roots_H, rcond=None)
    left_H = gains_H - design @ fit
    left_H[np.abs(left_H) < 1e-12 * np.abs(gains_H).max(initial=0.0)] = 0.0  # rounding
    # an effect b within size s raises m_is - m_s by b (n - s) / (n - 1)
    steady_N, fading_N = np.split(fit[len(sizes) :], 2)
    values_N = (weights_S.sum() * steady_N + weights_S @ fades_S * fading_N) / (count - 1)
    variance = 0.0
    for size, weight in zip(sizes[1:].tolist(), weights_S[1:].tolist(), strict=True):
        left = left_H[sizes_H == size]
        inside = len(left) * size / count
        # at n/2 a mean over those without i is the negative of the mean over those with i
        spread = 1.0 if weight < 1 else 1 - size / count
        variance += (weight / (count - size)) ** 2 * left.var() * spread / inside
    independent = float(weights_S @ rows_S)
    freedom = max(1.0, independent - float(rank)) / independent
    return values_N, np.full(count, (variance / freedom) ** 0.5)
