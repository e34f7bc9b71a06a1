"""NoLoCo (Kolehmainen et al., 2025): the pair step against a plain loop and its closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from kumiai.learning.fixed_point import dequantise, quantise
from kumiai.learning.pairing import Matrix, PairStep, draw_pairs
from kumiai.learning.server import build_server
from kumiai.learning.server.build import ServerSettings

SIZE = 6


def draw(count: int, seed: int) -> tuple[Matrix, Matrix, Matrix]:
    generator = np.random.default_rng(seed)
    parts = [generator.normal(size=(count, SIZE)).astype(np.float32) for _ in range(3)]
    return parts[0], parts[1], parts[2]


def step_plainly(
    rule: PairStep, models: Matrix, momenta: Matrix, updates: Matrix, partner: dict[int, int]
) -> tuple[list[list[float]], list[list[float]]]:
    """The formula, one number after another, in Python's floats."""
    new_models, new_momenta = [], []
    for i, j in sorted(partner.items()):
        row = []
        for p in range(SIZE):
            w_i, w_j = float(models[i, p]), float(models[j, p])
            d = (float(updates[i, p]) + float(updates[j, p])) / 2
            row.append(
                rule.momentum * float(momenta[i, p])
                + rule.learning_rate * d
                + rule.pull * ((w_i + w_j) / 2 - w_i)
            )
        new_momenta.append(row)
        new_models.append([float(w) + m for w, m in zip(models[i], row, strict=True)])
    return new_models, new_momenta


@examples(max_examples=30, deadline=None)
@given(count=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_the_step_is_the_plain_loops(count: int, seed: int) -> None:
    models, momenta, updates = draw(count, seed)
    rule = PairStep(momentum=0.4, learning_rate=0.8, pull=0.6)
    groups = draw_pairs(count, seed)
    partner = {i: j for group in groups for i, j in zip(group, reversed(group), strict=True)}

    found = rule.apply(models, momenta, updates, groups)
    wanted = step_plainly(rule, models, momenta, updates, partner)

    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5)
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-5)


@examples(max_examples=30, deadline=None)
@given(count=st.integers(1, 50), seed=st.integers(0, 2**32 - 1))
def test_everybody_meets_one_other(count: int, seed: int) -> None:
    groups = draw_pairs(count, seed)
    assert sorted(member for group in groups for member in group) == list(range(count))
    assert [len(group) for group in groups] == [2] * (count // 2) + [1] * (count % 2)
    assert groups == draw_pairs(count, seed)


def test_partners_change() -> None:
    assert len({frozenset(map(frozenset, draw_pairs(8, seed))) for seed in range(20)}) > 15


def test_two_members_who_begin_alike_are_fedavg_with_momentum() -> None:
    rule = PairStep(momentum=0.5, learning_rate=0.7, pull=0.7)
    settings = ServerSettings(learning_rate_ppm=700_000, momentum_ppm=500_000)
    server = build_server("fedavg", settings)
    state = server.init(SIZE)
    model = quantise(np.linspace(-1, 1, SIZE).astype(np.float32))
    models = np.stack([dequantise(model)] * 2)
    momenta = np.zeros_like(models)
    for number in range(5):
        updates = 0.1 * draw(2, number)[0]
        models, momenta = rule.apply(models, momenta, updates, draw_pairs(2, number))
        state, model = server.apply(state, model, quantise(updates.mean(0)))
    np.testing.assert_allclose(models[0], models[1], atol=1e-6)
    np.testing.assert_allclose(models[0], dequantise(model), atol=1e-3)


def test_meetings_move_the_mean_by_the_mean_update_alone() -> None:
    models, _, updates = draw(8, 3)
    moved, _ = PairStep(0, 0.5, 0.7).apply(models, np.zeros_like(models), updates, draw_pairs(8, 1))
    np.testing.assert_allclose(moved.mean(0), models.mean(0) + 0.5 * updates.mean(0), atol=1e-6)


def test_models_come_together_where_nobody_learns() -> None:
    models, _, _ = draw(8, 5)
    momenta, still = np.zeros_like(models), np.zeros_like(models)
    spread = models.std(0).max()
    for number in range(40):
        models, momenta = PairStep().apply(models, momenta, still, draw_pairs(8, number))
    assert models.std(0).max() < spread / 100


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"learning_rate": 0.0}, "learning_rate 0.0"),
        ({"pull": 0.0}, "pull 0.0"),
        ({"pull": 3.0}, "pull 3.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PairStep(**values)


def test_meetings_that_leave_somebody_out_are_refused() -> None:
    models, momenta, updates = draw(4, 1)
    with pytest.raises(ValueError, match="each of 4 members"):
        PairStep().apply(models, momenta, updates, [(0, 1), (2,)])
    with pytest.raises(ValueError, match="shapes"):
        PairStep().apply(models, momenta[:2], updates, [(0, 1), (2, 3)])
    with pytest.raises(ValueError, match="count 0"):
        draw_pairs(0, 1)
