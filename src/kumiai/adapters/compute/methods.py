"""A round's players valued by the task's method, each within the models it may ask for.

`validation.permutations_max` = R is one budget for all that sample: R orders of the players for
`gtg`, `permutation` and `tmc` (about R n / 2 models of n players), as many models for `banzhaf`,
and for `strata` the layers that fit into them, one at least. Above `SAMPLED_PLAYERS_MAX` players
that would be thousands of models a round: there every one of them becomes `loo`, which takes 201
models for 100 members. `exact` becomes `gtg` above the 12 players of which it can measure all
groups.

`cosine`, `cgsv` and `class_cosine` look at the updates alone and measure nothing. `cgsv` takes all
players as equally important in every round: sizes are claims, and memory between rounds is the
ledger's (`rounds`), not the valuation's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.compute.coalitions import CoalitionGame
from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.learning.layout import Layout
from kumiai.tasks.document import TaskDocument
from kumiai.valuation import (
    BanzhafLimits,
    GtgLimits,
    Limits,
    PermutationLimits,
    StrataLimits,
    TmcLimits,
    Valuation,
    assess_games,
    join_heads,
    value_by_cgsv,
    value_by_class_cosine,
    value_by_cosine,
)
from kumiai.valuation.exact import PLAYERS_MAX

IntMatrix = NDArray[np.int32]

SAMPLED_PLAYERS_MAX = 30
SAMPLED = ("gtg", "permutation", "tmc", "strata", "banzhaf")
ORDERS_MIN = 4  # fewer give no standard error
HEAD_DIMENSIONS = 2  # [classes, inputs]


def check_method(task: TaskDocument, layout: Layout) -> None:
    """Raise InputError for a method that this network cannot be valued by."""
    if task.validation.valuation == "class_cosine" and find_head(layout) is None:
        fix = "the network does not end in a linear layer with a row a class: choose cosine or cgsv"
        raise InputError("validation.valuation", "class_cosine", fix)


def value_players(
    task: TaskDocument,
    layout: Layout,
    game: CoalitionGame,
    updates: Sequence[NDArray[np.int32]],
    seed: int,
) -> list[Valuation]:
    """Return a valuation for each of the game's hold-outs; one update or more."""
    method = choose_method(task, len(updates))
    looks: dict[str, Callable[[IntMatrix], Valuation]] = {
        "cosine": value_by_cosine,
        "cgsv": value_by_cgsv,
        "class_cosine": lambda rows_NP: value_by_class_cosine(read_heads(layout, rows_NP)),
    }
    if method in looks:
        return [looks[method](np.stack(updates))] * len(game.losses_K)
    limits = _choose_limits(task, method, len(updates))
    return assess_games(method, len(updates), game.utility, len(game.losses_K), seed, limits)


def choose_method(task: TaskDocument, player_count: int) -> str:
    """Return the method for so many players; see the module's text."""
    if task.mode == "compete":
        return "standalone"
    method: str = task.validation.valuation
    if method == "exact" and player_count > PLAYERS_MAX:
        method = "gtg"
    return "loo" if method in SAMPLED and player_count > SAMPLED_PLAYERS_MAX else method


def find_head(layout: Layout) -> tuple[int, int | None] | None:
    """Return the places in the layout of the last layer's weights [C, D] and of its bias, if any.

    None where the last trained tensors are of another form.
    """
    places = [i for i, is_parameter in enumerate(layout.is_parameter) if is_parameter]
    last = places[-1] if places else -1
    bias = None
    if len(places) > 1 and len(layout.shapes[last]) == 1:
        last, bias = places[-2], last
    if last < 0 or len(layout.shapes[last]) != HEAD_DIMENSIONS:
        return None
    if bias is not None and layout.shapes[bias][0] != layout.shapes[last][0]:
        return None
    return last, bias


def read_heads(layout: Layout, updates_NP: IntMatrix) -> NDArray[np.float64]:
    """Return what the updates change in the last layer: [N, C, D], or [N, C, D + 1] with a bias."""
    found = find_head(layout)
    if found is None:
        raise ValueError(f"no last layer with a row a class among {layout.names}")
    weights, bias = (None if place is None else _cut(layout, updates_NP, place) for place in found)
    assert weights is not None
    return join_heads(weights, bias)


def _cut(layout: Layout, updates_NP: IntMatrix, place: int) -> IntMatrix:
    start = layout.offsets[place]
    part = updates_NP[:, start : start + layout.sizes[place]]
    return part.reshape(len(updates_NP), *layout.shapes[place])


def _choose_limits(task: TaskDocument, method: str, player_count: int) -> Limits | None:
    orders = max(ORDERS_MIN, task.validation.permutations_max)
    truncation = task.validation.truncation_ppm / PPM
    models = max(ORDERS_MIN, orders * player_count // 2)
    if method == "gtg":
        return GtgLimits(permutations_max=orders, truncation=truncation)
    if method == "permutation":
        return PermutationLimits(permutations_max=orders)
    if method == "tmc":
        return TmcLimits(permutations_max=orders)
    if method == "banzhaf":
        return BanzhafLimits(coalitions_max=models)
    if method == "strata":
        of_a_layer = max(1, player_count * (player_count - 3))
        return StrataLimits(layers=max(1, (models - 2 - 2 * player_count) // of_a_layer))
    return None
