"""Laws that every server rule keeps, and a float twin for each within a stated tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kumiai.base.amounts import PPM
from kumiai.base.amounts import divide_half_even as divide
from kumiai.learning import server
from kumiai.learning.fixed_point import INTEGER_ABS_MAX
from kumiai.learning.server.adaptive import SQUARE_MAX, compute_root, multiply

UNIT = 2.0**-24
RULES: dict[str, server.ServerRule] = {
    "fedavg": server.FedAvg(700_000),
    "fedavgm": server.OuterMomentum(500_000, 900_000, is_nesterov=False),
    "diloco": server.OuterMomentum(700_000, 900_000, is_nesterov=True),
    "adagrad": server.Adaptive("adagrad", 30_000, 0),
    "yogi": server.Adaptive("yogi", 10_000),
    "adam": server.Adaptive("adam", 10_000),
    "controlled": server.Controlled(server.OuterMomentum(500_000, 900_000, is_nesterov=False)),
}
FAMILY = pytest.mark.parametrize("name", RULES)
DELTAS = hnp.arrays(np.int32, (4, 5), elements=st.integers(-(2**22), 2**22))


def run(rule: server.ServerRule, deltas_RP: np.ndarray) -> tuple[server.ServerState, np.ndarray]:
    size = deltas_RP.shape[1]
    state, model_P = rule.init(size), np.zeros(size, dtype=np.int32)
    for delta_P in deltas_RP:
        state, model_P = rule.apply(state, model_P, delta_P)
    return state, model_P


@FAMILY
def test_zero_deltas_leave_the_model_where_it_is(name: str) -> None:
    model_P = np.array([5, -7, 2**30], dtype=np.int32)
    rule, zero_P = RULES[name], np.zeros(3, dtype=np.int32)
    state = rule.init(3)
    for _ in range(3):
        state, moved_P = rule.apply(state, model_P, zero_P)
        assert moved_P.tolist() == model_P.tolist()
        assert moved_P.dtype == np.int32


@FAMILY
@given(DELTAS, st.permutations(range(5)))
@settings(max_examples=25, deadline=None)
def test_a_weight_moves_by_its_own_history_alone(
    name: str, deltas: np.ndarray, order: list[int]
) -> None:
    state, model = run(RULES[name], deltas)
    permuted_state, permuted = run(RULES[name], deltas[:, order])
    assert permuted.tolist() == model[order].tolist()
    for one, other in zip(permuted_state, state, strict=True):
        assert one.tolist() == other[order].tolist()


@FAMILY
@given(DELTAS)
@settings(max_examples=25, deadline=None)
def test_the_opposite_deltas_give_the_opposite_model(name: str, deltas: np.ndarray) -> None:
    assert run(RULES[name], -deltas)[1].tolist() == (-run(RULES[name], deltas)[1]).tolist()


@FAMILY
@given(DELTAS)
@settings(max_examples=25, deadline=None)
def test_a_run_that_is_resumed_from_the_states_bytes_is_the_same(
    name: str, deltas: np.ndarray
) -> None:
    rule = RULES[name]
    state, model = run(rule, deltas[:2])
    if state:
        data = server.encode_state(rule, state)
        assert len(data) <= server.compute_state_bytes_max(rule, 5)
        state = server.decode_state(rule, data, 5)
    before = [vector.copy() for vector in state]
    for delta in deltas[2:]:
        state_new, model = rule.apply(state, model, delta)
        for kept, vector in zip(before, state, strict=True):
            assert kept.tolist() == vector.tolist()  # the rule changes nothing in place
        state, before = state_new, [vector.copy() for vector in state_new]
    whole_state, whole = run(rule, deltas)
    assert model.tolist() == whole.tolist()
    for one, other in zip(state, whole_state, strict=True):
        assert one.tolist() == other.tolist()


@FAMILY
def test_blocks_do_not_show(name: str) -> None:
    size = 8_192 + 3  # a block and a bit
    deltas = np.random.default_rng(5).integers(-(2**18), 2**18, (3, size), dtype=np.int32)
    whole = run(RULES[name], deltas)[1]
    assert whole[-5:].tolist() == run(RULES[name], deltas[:, -5:])[1].tolist()
    assert np.abs(whole).min() >= 0
    assert np.count_nonzero(whole) > size // 2


@FAMILY
def test_the_greatest_deltas_are_refused_and_never_wrap(name: str) -> None:
    """For ever at the peak: the states keep their sign and their bounds, the model goes up."""
    rule = RULES[name]
    if isinstance(rule, server.Controlled):
        rule = rule.inner
    rule = replace(rule, learning_rate_ppm=1)  # type: ignore[type-var]
    peak = np.full(1, INTEGER_ABS_MAX, dtype=np.int32)
    state, floor = rule.init(1), np.full(1, -INTEGER_ABS_MAX, dtype=np.int32)
    for _ in range(60):
        state, model = rule.apply(state, floor, peak)
        assert model[0] > floor[0]
        assert all(vector[0] >= 0 for vector in state)
        assert all(vector[0] <= SQUARE_MAX for vector in state)


# --- float twins: the papers' formulas, one weight at a time ---


def twin_momentum(rate: float, mu: float, is_nesterov: bool) -> Callable[[list[float]], float]:
    def play(deltas: list[float]) -> float:
        m = x = 0.0
        for d in deltas:
            m = mu * m + d
            x += rate * (d + mu * m if is_nesterov else m)
        return x

    return play


def twin_adaptive(
    kind: str, rate: float, b1: float, b2: float, tau: float
) -> Callable[[list[float]], float]:
    def play(deltas: list[float]) -> float:
        m, v, x = 0.0, tau**2, 0.0
        for d in deltas:
            m = b1 * m + (1 - b1) * d
            if kind == "adagrad":
                v = v + d * d
            elif kind == "adam":
                v = b2 * v + (1 - b2) * d * d
            else:
                v = v - (1 - b2) * d * d * ((v > d * d) - (v < d * d))
            x += rate * m / (math.sqrt(v) + tau)
        return x

    return play


TWINS = {
    "fedavg": twin_momentum(0.7, 0.0, False),
    "fedavgm": twin_momentum(0.5, 0.9, False),
    "diloco": twin_momentum(0.7, 0.9, True),
    "controlled": twin_momentum(0.5, 0.9, False),
    "adagrad": twin_adaptive("adagrad", 0.03, 0.0, 0.99, 1e-3),
    "yogi": twin_adaptive("yogi", 0.01, 0.9, 0.99, 1e-3),
    "adam": twin_adaptive("adam", 0.01, 0.9, 0.99, 1e-3),
}


@FAMILY
def test_every_rule_follows_its_float_twin(name: str) -> None:
    """20 rounds of updates of every size from 2**-20 to 1/2.

    Tolerance: 40 units of 2**-24 (half a unit for each rounding), and for the adaptive rules a
    relative 1e-3 of the way: tau = 0.001 is 16,777.2 units, and a root is rounded down.
    """
    generator = np.random.default_rng(7)
    sizes = 2.0 ** generator.integers(-20, -1, 40)
    deltas = np.rint(generator.normal(0.2, 1.0, (20, 40)) * sizes / UNIT / 4).astype(np.int32)
    _, model = run(RULES[name], deltas)
    for p in range(40):
        expected = TWINS[name]([float(d) * UNIT for d in deltas[:, p]])
        slack = 40 * UNIT + (1e-3 * abs(expected) if "mean" in RULES[name].state_names else 0.0)
        assert abs(float(model[p]) * UNIT - expected) <= slack


# --- the adaptive rules' arithmetic ---


@given(hnp.arrays(np.int64, 6, elements=st.integers(0, SQUARE_MAX)))
@settings(max_examples=60, deadline=None)
def test_the_root_is_the_integer_root(squares: np.ndarray) -> None:
    assert compute_root(squares).tolist() == [math.isqrt(v) for v in squares.tolist()]


def test_the_root_at_its_edges() -> None:
    roots = [0, 1, 2, 3, 2**26, 94_906_266, 2**31 - 2, 2**31 - 1]
    squares = [r * r + k for r in roots for k in (-1, 0, 1) if r * r + k >= 0] + [SQUARE_MAX]
    found = compute_root(np.array(squares, dtype=np.int64)).tolist()
    assert found == [math.isqrt(v) for v in squares]


@given(
    hnp.arrays(np.int64, 6, elements=st.integers(-SQUARE_MAX, SQUARE_MAX)),
    st.integers(1, PPM),
)
@settings(max_examples=60, deadline=None)
def test_products_beyond_63_bits_are_exact(values: np.ndarray, rate: int) -> None:
    assert multiply(values, rate).tolist() == [divide(v * rate, PPM) for v in values.tolist()]


# --- one test per claim of "Adaptive Federated Optimization" ---


def test_the_first_step_of_every_adaptive_rule() -> None:
    """v starts at tau^2: a first delta far above tau moves by lr (1 - b1) d / sqrt(fresh v)."""
    delta = np.array([2**22], dtype=np.int32)  # a quarter
    for kind, fresh in (("adagrad", 1.0), ("yogi", 0.01), ("adam", 0.01)):
        rule = server.Adaptive(kind, 10_000, 900_000)  # type: ignore[arg-type]
        _, model = rule.apply(rule.init(1), np.zeros(1, dtype=np.int32), delta)
        expected = 0.01 * 0.1 / math.sqrt(fresh)
        assert float(model[0]) * UNIT == pytest.approx(expected, rel=0.05)


def test_steps_do_not_depend_on_the_scale_of_the_updates() -> None:
    """Far above tau an adaptive step is the same for updates eight times as large."""
    generator = np.random.default_rng(1)
    deltas = generator.integers(-(2**20), 2**21, (10, 8), dtype=np.int32)
    for kind in ("adagrad", "yogi", "adam"):
        rule = server.Adaptive(kind, 10_000, 900_000, 990_000, tau_ppm=1)  # type: ignore[arg-type]
        one, eight = run(rule, deltas)[1], run(rule, deltas * 8)[1]
        np.testing.assert_allclose(one, eight, rtol=2e-3, atol=50)
    plain = server.FedAvg(10_000)
    assert run(plain, deltas * 8)[1].tolist() != run(plain, deltas)[1].tolist()


def test_yogi_forgets_a_single_great_update_more_slowly_than_adam() -> None:
    """Yogi's v changes by (1 - b2) delta^2 only, whatever v: additive, where Adam's decays."""
    deltas = np.array([[2**24]] + [[2**14]] * 100, dtype=np.int32)
    adam, yogi = (run(server.Adaptive(kind, 10_000), deltas)[0][1][0] for kind in ("adam", "yogi"))
    assert yogi > 2 * adam


def test_adagrads_steps_shrink_for_ever() -> None:
    rule = server.Adaptive("adagrad", 100_000, 0)
    delta, state, model = np.array([2**20], dtype=np.int32), rule.init(1), np.zeros(1, np.int32)
    steps = []
    for _ in range(9):
        state, moved = rule.apply(state, model, delta)
        steps.append(int(moved[0] - model[0]))
        model = moved
    assert all(a > b > 0 for a, b in pairwise(steps))
    assert steps[8] == pytest.approx(steps[0] / 3, rel=0.02)  # 1 / sqrt(t)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate_ppm": 0},
        {"learning_rate_ppm": 10**9},
        {"beta_mean_ppm": PPM},
        {"beta_square_ppm": -1},
        {"tau_ppm": 0},
        {"tau_ppm": PPM + 1},
        {"kind": "lion"},
    ],
    ids=str,
)
def test_numbers_that_an_adaptive_rule_cannot_use_are_named(wrong: dict[str, object]) -> None:
    value = next(iter(wrong.values()))
    with pytest.raises(ValueError, match=str(value)):
        server.Adaptive(**{"kind": "adam", "learning_rate_ppm": 10_000, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["adagrad", "yogi", "adam"])
def test_states_that_no_rounds_lead_to_are_refused(kind: str) -> None:
    rule, zero = server.Adaptive(kind, 10_000), np.zeros(2, dtype=np.int32)  # type: ignore[arg-type]
    mean, square = rule.init(2)
    for state in ((mean + 2**41, square), (mean, square - 2**60), (mean, square + 2**62)):
        with pytest.raises(ValueError, match="not made by this rule"):
            rule.apply(state, zero, zero)


@FAMILY
@given(DELTAS, st.integers(0, 4), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_a_step_on_a_fragment_is_the_rule_on_the_fragment_alone(
    name: str, deltas: np.ndarray, begin: int, length: int
) -> None:
    """A rule that never knew of the other numbers gives the same; these rest, and so does their
    state."""
    rule, span = RULES[name], slice(begin, min(5, begin + length))
    state, model_P = run(rule, deltas[:1])
    first_state, first_P = state, model_P
    alone_state = tuple(vector_P[span] for vector_P in state)
    alone_P = model_P[span]
    for delta_P in deltas[1:]:
        state, model_P = server.apply_in_span(rule, state, model_P, delta_P, span)
        alone_state, alone_P = rule.apply(alone_state, alone_P, delta_P[span])
    rest = np.ones(5, dtype=bool)
    rest[span] = False
    assert model_P[span].tolist() == alone_P.tolist()
    assert model_P[rest].tolist() == first_P[rest].tolist()
    for now, alone, first in zip(state, alone_state, first_state, strict=True):
        assert now[span].tolist() == alone.tolist()
        assert now[rest].tolist() == first[rest].tolist()
