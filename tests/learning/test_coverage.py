"""The mean of nested blocks: laws, the plain mean as its twin, and blocks that really nest."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.learning.aggregation import (
    aggregate,
    average_covered,
    count_covering,
    find_covered,
    is_inside,
)
from kumiai.learning.layout import compute_layout, unflatten
from kumiai.learning.recipe import build_recipe, build_seeded
from kumiai.learning.server import ServerSettings, apply_in_span, build_server
from kumiai.learning.slim import compute_levels, extract_width, narrow_recipe

WIDTHS = (250_000, 500_000, 750_000, 1_000_000)
RECIPES = {
    "mlp": build_recipe("mlp", {"hidden": 8}, WIDTHS, (5,), 3),
    "cnn": build_recipe("cnn", {}, WIDTHS, (1, 8, 8), 3),
}


@st.composite
def rounds(draw):
    count, size = draw(st.integers(1, 5)), draw(st.integers(1, 30))
    integers = st.integers(-(2**31) + 1, 2**31 - 1)
    updates = [
        np.array(draw(st.lists(integers, min_size=size, max_size=size)), dtype=np.int32)
        for _ in range(count)
    ]
    weights = draw(st.lists(st.integers(0, 1_000), min_size=count, max_size=count))
    weights[0] += 1
    places = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    levels = np.array(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)), np.int32)
    return updates, weights, places, levels


def average_slowly(updates, weights, places, levels):
    """Number by number, in fractions."""
    delta = []
    for p, level in enumerate(levels):
        held = [(u[p], w) for u, w, a in zip(updates, weights, places, strict=True) if a >= level]
        total = sum(w for _, w in held)
        delta.append(round(Fraction(sum(int(u) * w for u, w in held), total)) if total else 0)
    return delta


@given(rounds())
@settings(max_examples=120, deadline=None)
def test_it_is_the_mean_over_who_holds_a_number(case) -> None:
    assert average_covered(*case).tolist() == average_slowly(*case)


@given(rounds())
@settings(max_examples=60, deadline=None)
def test_with_all_widths_full_it_is_the_plain_mean(case) -> None:
    updates, weights, _, levels = case
    found = average_covered(updates, weights, [3] * len(updates), levels)
    assert np.array_equal(found, aggregate("mean", updates, weights))


@given(rounds(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_and_members_without_weight_change_nothing(case, random) -> None:
    updates, weights, places, levels = case
    order = list(range(len(updates)))
    random.shuffle(order)
    expected = average_covered(*case)
    mixed = [[column[i] for i in order] for column in (updates, weights, places)]
    assert np.array_equal(average_covered(*mixed, levels), expected)
    silent = ([*updates, np.full_like(updates[0], 2**30)], [*weights, 0], [*places, 3])
    assert np.array_equal(average_covered(*silent, levels), expected)


@given(rounds())
@settings(max_examples=60, deadline=None)
def test_what_nobody_holds_stays_and_nothing_outside_of_a_block_is_read(case) -> None:
    updates, weights, places, levels = case
    delta = average_covered(*case)
    covered = find_covered(places, levels, weights)
    assert set(np.flatnonzero(delta)) <= set(covered)
    counts = count_covering(places, levels)
    assert np.array_equal(find_covered(places, levels), np.flatnonzero(counts))
    cut = [np.where(levels <= a, u, 7) for u, a in zip(updates, places, strict=True)]
    assert np.array_equal(average_covered(cut, weights, places, levels), delta)
    for update, place in zip(updates, places, strict=True):
        assert is_inside(np.where(levels <= place, update, 0), place, levels)
        if (levels > place).any():
            assert not is_inside(np.where(levels > place, 1, 0), place, levels)


def test_sizes_that_do_not_fit_are_refused() -> None:
    levels, one = np.zeros(3, np.int32), np.ones(3, np.int32)
    with pytest.raises(ValueError, match="1 updates, 1 weights and 2 widths"):
        average_covered([one], [1], [0, 1], levels)
    with pytest.raises(ValueError, match="3 numbers"):
        average_covered([one[:2]], [1], [0], levels)


@pytest.mark.parametrize("name", RECIPES)
def test_levels_are_the_blocks_that_extraction_cuts_out(name: str) -> None:
    recipe = RECIPES[name]
    levels_P = compute_levels(recipe)
    vector_P = torch.arange(1.0, len(levels_P) + 1)
    layout = compute_layout(build_seeded(recipe, 1.0, 0))
    assert set(unflatten(layout, torch.from_numpy(levels_P))) == set(layout.names)
    for place, width in enumerate(recipe.widths):
        cut = extract_width(recipe, vector_P, width)
        expected = torch.cat([tensor.flatten() for tensor in cut.values()])
        assert torch.equal(vector_P[torch.from_numpy(levels_P <= place)], expected)


@pytest.mark.parametrize("name", RECIPES)
def test_a_narrow_recipe_builds_the_narrow_networks_and_no_other(name: str) -> None:
    recipe, inner = RECIPES[name], narrow_recipe(RECIPES[name], 2)
    assert inner.widths[-1] == 1.0 and len(inner.widths) == 3 and inner.origin is None
    for share, width in zip(inner.widths, recipe.widths, strict=False):
        found = compute_layout(build_seeded(inner, share, 0))
        assert found == compute_layout(build_seeded(recipe, width, 0))
    with pytest.raises(ValueError, match="KeyError"):
        build_seeded(inner, 4 / 3, 0)


def test_momentum_does_not_move_what_nobody_holds() -> None:
    rule = build_server("fedavg", ServerSettings(momentum_ppm=900_000))
    model, delta = np.zeros(4, np.int32), np.full(4, 100, np.int32)
    state, moved = apply_in_span(rule, rule.init(4), model, delta, slice(0, 4))
    places = np.array([0, 2])
    after, again = apply_in_span(rule, state, moved, np.zeros(4, np.int32), places)
    assert np.array_equal(again[[1, 3]], moved[[1, 3]]) and (again[places] > moved[places]).all()
    assert np.array_equal(after[0][[1, 3]], state[0][[1, 3]])
