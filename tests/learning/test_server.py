"""Server rules: equal to Python integers, close to PyTorch's SGD, and never wrap around."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kumiai.base.amounts import PPM
from kumiai.base.amounts import divide_half_even as divide
from kumiai.learning.fixed_point import INTEGER_ABS_MAX
from kumiai.learning.server import (
    Adaptive,
    FedAvg,
    OuterMomentum,
    ServerSettings,
    build_server,
    compute_state_bytes_max,
    decode_state,
    encode_state,
)

DELTAS = hnp.arrays(np.int32, (3, 4), elements=st.integers(-(2**26), 2**26))
RATES = st.integers(1, 2_000_000)


@given(DELTAS, RATES)
def test_fedavg_equals_the_naive_twin(deltas, rate):
    rule = FedAvg(rate)
    state, model = rule.init(4), np.zeros(4, dtype=np.int32)
    expected = [0] * 4
    for delta in deltas:
        state, model = rule.apply(state, model, delta)
        expected = [m + divide(int(d) * rate, PPM) for m, d in zip(expected, delta, strict=True)]
    assert state == ()
    assert model.tolist() == expected


def test_fedavg_at_rate_one_is_the_plain_sum():
    model = np.array([1, -2, 3], dtype=np.int32)
    assert FedAvg().apply((), model, model)[1].tolist() == [2, -4, 6]


@given(DELTAS, RATES, st.integers(0, 990_000), st.booleans())
def test_momentum_equals_the_naive_twin(deltas, rate, momentum, is_nesterov):
    rule = OuterMomentum(rate, momentum, is_nesterov)
    state, model = rule.init(4), np.zeros(4, dtype=np.int32)
    expected, velocity = [0] * 4, [0] * 4
    for delta in deltas:
        state, model = rule.apply(state, model, delta)
        for i, d in enumerate(map(int, delta)):
            velocity[i] = divide(velocity[i] * momentum, PPM) + d
            step = d + divide(velocity[i] * momentum, PPM) if is_nesterov else velocity[i]
            expected[i] += divide(step * rate, PPM)
    assert state[0].tolist() == velocity
    assert model.tolist() == expected


@pytest.mark.parametrize("algorithm", ["diloco", "fedavg"])
def test_momentum_follows_torch_sgd(algorithm):
    generator = np.random.default_rng(3)
    rule = build_server(algorithm, ServerSettings("auto", 700_000, 900_000))
    state, model = rule.init(50), np.zeros(50, dtype=np.int32)
    weight = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([weight], lr=0.7, momentum=0.9, nesterov=algorithm == "diloco")
    for _ in range(6):
        delta = generator.integers(-(2**18), 2**18, 50, dtype=np.int32)
        state, model = rule.apply(state, model, delta)
        weight.grad = -torch.from_numpy(delta.astype(np.float64))
        sgd.step()
    assert np.abs(model - weight.detach().numpy()).max() < 20  # roundings of half a unit each


def test_build_server_knows_the_task_algorithms():
    plain, outer = ServerSettings(), ServerSettings("auto", 700_000, 900_000)
    assert build_server("fedavg", plain) == build_server("fednova", plain) == FedAvg(PPM)
    assert build_server("diloco", outer) == OuterMomentum(700_000, 900_000, True)
    assert build_server("fedavg", outer) == OuterMomentum(700_000, 900_000, False)
    assert build_server("fedavg", replace(outer, optimizer="nesterov")).is_nesterov
    assert not build_server("diloco", replace(outer, optimizer="sgd")).is_nesterov
    assert build_server("diloco", replace(outer, optimizer="yogi")) == Adaptive("yogi", 700_000)
    for algorithm, settings in (("adam", plain), ("fedavg", ServerSettings("lion"))):
        with pytest.raises(ValueError, match="unknown"):
            build_server(algorithm, settings)


@pytest.mark.parametrize("rule", [FedAvg(), OuterMomentum(PPM, 0, is_nesterov=True)], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_that_leaves_the_range_is_named(rule, sign):
    model = np.full(4, sign * INTEGER_ABS_MAX, dtype=np.int32)
    delta = np.array([0, 0, sign, 0], dtype=np.int32)
    with pytest.raises(ValueError, match="weight 2 would become"):
        rule.apply(rule.init(4), model, delta)


@pytest.mark.parametrize(
    ("rate", "momentum"), [(0, 0), (PPM, PPM), (PPM, -1), (PPM, 999_999), (10**12, 0)]
)
def test_rates_that_could_overflow_are_refused(rate, momentum):
    with pytest.raises(ValueError, match="server learning rate"):
        OuterMomentum(rate, momentum, is_nesterov=True)


def test_greatest_allowed_momentum_never_wraps():
    rule = OuterMomentum(1, 999_000, is_nesterov=True)
    peak = np.full(1, INTEGER_ABS_MAX, dtype=np.int32)
    state = rule.init(1)
    for _ in range(9000):
        state, _ = rule.apply(state, np.zeros(1, dtype=np.int32), peak)
        assert state[0][0] > 0
    assert state[0][0] > 990 * INTEGER_ABS_MAX


def test_state_survives_its_bytes_and_is_checked():
    rule = OuterMomentum(700_000, 900_000, is_nesterov=True)
    state = (np.array([2**34, -5, 0], dtype=np.int64),)
    data = encode_state(rule, state)
    assert np.array_equal(decode_state(rule, data, 3), state)
    assert len(data) <= compute_state_bytes_max(rule, 3)
    model = np.zeros(3, dtype=np.int32)
    for wrong in ((), (np.zeros(2, dtype=np.int64),), state * 2):
        with pytest.raises(ValueError, match="needs a state"):
            rule.apply(wrong, model, model)
    with pytest.raises(ValueError, match="not made by this rule"):
        rule.apply((np.full(3, 2**60, dtype=np.int64),), model, model)
    with pytest.raises(ValueError, match="no state"):
        FedAvg().apply(state, model, model)
    with pytest.raises(ValueError, match="no state"):
        decode_state(FedAvg(), data, 3)
    with pytest.raises(ValueError, match="'I64'"):
        decode_state(rule, data, 4)
    with pytest.raises(ValueError, match="expected exactly"):
        decode_state(Adaptive("adam", PPM), data, 3)
