"""GTG-Shapley: Shapley values of one round from a few dozen guided random orders of the members.

Each order lets the players join one by one; a player's value is its mean gain on joining.

Source: Z. Liu, Y. Chen, H. Yu, Y. Liu, L. Cui, "GTG-Shapley: Efficient and Accurate Participant
Contribution Evaluation in Federated Learning", ACM TIST 2022. This is a reconstruction from public
code, not from the paper's text::

    v0 = v({}), vN = v(everybody)
    a sweep = n orders, each led by another player ("guided"), the rest random
    in an order: a player's gain is v(prefix + player) - v(prefix);
        once |vN - v(prefix)| < truncation the rest gain 0 (within-round truncation)
    stop when, for each of the last 10 running means m' of the gains and the mean m now,
        mean_i |m_i - m'_i| / (|m_i| + 1e-12) <= convergence; at least max(30, n) orders before that

Deviations. A sweep here is one random circle of the players, walked from each of them in both
directions: 2 n orders in which everybody leads twice and stands twice at every place, with half as
many different coalitions. On games with diminishing gains that halves the error of as many
independent orders (9 to 12 players, 40 orders: 5-7 % before, 2-4 % after) with fewer models to
measure. An order is not cut while a player is to come who does harm alone, v({i}) - v0 <=
-truncation, because help and harm may cancel in vN and both would be hidden; for the same reason
there is no truncation between rounds. Only whole sweeps are made (a part of one would favour
whoever leads it) unless not even one is allowed: then some places of the circle are drawn.
Convergence is looked at after sweeps.

errors_N is the standard error of the mean over pairs (an order and its reverse), taken as
independent: seen 1.4 times the true error, on the careful side. The orders depend on `seed` and n
alone, by index: whoever wants values that do not depend on the order of members sorts them first.
Within a wave all orders advance together: one request holds the prefixes of dozens of orders.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.game import FloatArray, Plan, Valuation

ORDERS_MIN = 30  # before convergence is believed
PAIRS_RECENT = 5  # running means, of an order and its reverse each, that must agree with the last


@dataclass(frozen=True, slots=True)
class GtgLimits:
    """When to stop.

    permutations_max: orders at most (4 or more); truncation: in the unit of the utility;
    convergence: relative change of the means that counts as settled.
    """

    permutations_max: int = 40
    truncation: float = 0.001
    convergence: float = 0.05


def plan_gtg(player_count: int, seed: int, limits: GtgLimits) -> Plan:
    """Sample guided orders until the values settle. ValueError for fewer than four orders."""
    if limits.permutations_max < 4:
        raise ValueError(
            f"permutations_max {limits.permutations_max} gives no standard error: use 4"
        )
    raw = np.random.PCG64(seed)  # its raw stream is the same in every numpy release
    sweep_pairs = min(player_count, limits.permutations_max // 2)
    sweeps_max = limits.permutations_max // (2 * sweep_pairs)
    sweeps_wanted = min(sweeps_max, ceil(max(ORDERS_MIN, player_count) / (2 * sweep_pairs)))
    ends = yield [0, (1 << player_count) - 1, *(1 << i for i in range(player_count))]
    gains_HN = np.zeros((0, player_count))  # H pairs
    sweeps_done = 0
    while sweeps_done < sweeps_max:
        sweeps = max(1, sweeps_wanted - sweeps_done)
        circles = [_draw_circle(raw, player_count, sweep_pairs) for _ in range(sweeps)]
        wave_RN = yield from _plan_wave(np.vstack(circles), ends, limits.truncation)
        gains_HN = np.vstack([gains_HN, (wave_RN[0::2] + wave_RN[1::2]) / 2])
        sweeps_done += sweeps
        if _has_settled(gains_HN, limits.convergence):
            break
    errors_N = gains_HN.std(axis=0, ddof=1) / len(gains_HN) ** 0.5
    return Valuation(gains_HN.mean(axis=0), errors_N, 0)


def _draw_circle(raw: np.random.PCG64, player_count: int, pairs: int) -> NDArray[np.int64]:
    """Return [2 * pairs, n] orders: a random circle walked from `pairs` places, both ways each."""
    circle = np.argsort(raw.random_raw(player_count), kind="stable")
    # the circle is random, so its first places are a fair draw
    steps_HN = np.arange(pairs)[:, None] + np.arange(player_count)
    forth_HN = circle[steps_HN % player_count]
    return np.stack([forth_HN, forth_HN[:, ::-1]], axis=1).reshape(2 * pairs, player_count)


def _plan_wave(
    orders_RN: NDArray[np.int64], ends: FloatArray, truncation: float
) -> Generator[list[int], FloatArray, FloatArray]:
    """Advance all orders together, one position a request; return gains [R, n] by player.

    ends: the utilities of nobody, everybody and each player alone.
    """
    nobody, everybody, alone_N = ends[0], ends[1], ends[2:]
    count, players = orders_RN.shape
    leaders_R = orders_RN[:, 0]
    gains_RN = np.zeros((count, players))
    gains_RN[np.arange(count), leaders_R] = alone_N[leaders_R] - nobody
    reached_R = alone_N[leaders_R]
    harmful_N = alone_N - nobody <= -truncation
    last_harm_R = (harmful_N[orders_RN] * np.arange(players)).max(axis=1)
    bits_RN = [[1 << player for player in order] for order in orders_RN.tolist()]
    prefixes = [bits[0] for bits in bits_RN]
    rows = np.arange(count)
    for position in range(1, players):
        is_open = np.abs(everybody - reached_R[rows]) >= truncation
        rows = rows[is_open | (last_harm_R[rows] >= position)]
        if len(rows) == 0:
            break
        open_rows = rows.tolist()
        for row in open_rows:
            prefixes[row] |= bits_RN[row][position]
        utilities = yield [prefixes[row] for row in open_rows]
        gains_RN[rows, orders_RN[rows, position]] = utilities - reached_R[rows]
        reached_R[rows] = utilities
    return gains_RN


def _has_settled(gains_HN: FloatArray, convergence: float) -> bool:
    """Tell whether the last running means differ little from the mean over all orders."""
    counts = np.arange(1, len(gains_HN) + 1)[:, None]
    means_HN = np.cumsum(gains_HN, axis=0) / counts
    now = means_HN[-1]
    changes = np.abs(means_HN[-PAIRS_RECENT - 1 : -1] - now) / (np.abs(now) + 1e-12)
    return bool(changes.mean(axis=1).max() <= convergence)
