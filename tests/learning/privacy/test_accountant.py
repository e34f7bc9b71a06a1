"""The accountant against closed forms, a naive second version, and Opacus 1.6.0."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.learning.privacy.accountant import (
    EPSILON_MILLI_MAX,
    compute_epsilon,
    compute_epsilon_milli,
    compute_rdp,
)

# (q, z, steps, delta) -> epsilon of Opacus 1.6.0's RDP accountant over orders 1.1, 1.2 ... 10.9 and
# 11 ... 256, written down so that the test runs without it
OPACUS = {
    (0.01, 1.1, 10_000, 1e-5): 5.63199236854841,
    (0.1, 0.6, 300, 1e-5): 40.45136109668558,
    (0.25, 1.0, 64, 1e-5): 15.878386854996755,
    (0.5, 2.0, 40, 1e-4): 8.036669169279346,
    (1.0, 3.0, 20, 1e-5): 7.53230607327611,
    (0.1, 4.0, 300, 1e-6): 2.1708876841116536,
    (0.3, 0.4, 50, 1e-5): 92.47644542122143,
    (0.8, 0.5, 5, 1e-5): 27.946444777497828,
    (0.0234375, 0.65, 2_500, 1e-5): 23.362872217234884,
}


@pytest.mark.parametrize("case", OPACUS)
def test_epsilon_is_that_of_opacus(case):
    q, z, steps, delta = case
    check_against(compute_epsilon(steps, q, z, delta), OPACUS[case])


def check_against(epsilon, expected):
    """Never less strict by more than rounding; tighter by what finer orders can give."""
    assert 0.999 * expected < epsilon < (1 + 1e-6) * expected


def test_epsilon_is_that_of_opacus_as_installed():
    rdp = pytest.importorskip("opacus.accountants.analysis.rdp")
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(11, 257))
    for q in (0.02, 0.2, 0.7):
        for z in (0.5, 1.0, 3.0):
            spent = rdp.compute_rdp(q=q, noise_multiplier=z, steps=50, orders=orders)
            expected, _ = rdp.get_privacy_spent(orders=orders, rdp=spent, delta=1e-5)
            check_against(compute_epsilon(50, q, z, 1e-5), expected)


def test_abadi_2016_worked_example():
    # q = 0.01, sigma = 4, delta = 1e-5 and 10,000 steps gave an epsilon of about 1.26 by their
    # moments accountant; the newer conversion may only be tighter
    epsilon = compute_epsilon(10_000, 0.01, 4.0, 1e-5)
    assert 1.0 < epsilon <= 1.26


@given(z=st.floats(0.3, 20), order=st.floats(1.1, 200))
@settings(max_examples=30, deadline=None)
def test_without_sampling_it_is_the_gaussian_mechanism(z, order):
    assert compute_rdp(1.0, z, order) == pytest.approx(order / (2 * z * z))


@pytest.mark.parametrize("order", [1.3, 2.0, 2.5, 3.0, 4.7, 8.0])
@pytest.mark.parametrize(("q", "z"), [(0.1, 1.0), (0.5, 2.0), (0.3, 0.7), (0.9, 1.5)])
def test_rdp_is_the_integral_it_stands_for(q, z, order):
    """The dumb twin: E under N(0, z^2) of the densities' ratio to the power `order`."""
    x = np.linspace(-30 * z, 30 * z + 2 * order, 400_001)
    log_base = -(x**2) / (2 * z * z) - math.log(z * math.sqrt(2 * math.pi))
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * z * z))
    moment = np.trapezoid(np.exp(log_base + order * log_ratio), x)
    expected = math.log(moment) / (order - 1)
    assert compute_rdp(q, z, order) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@given(
    steps=st.integers(1, 500),
    q=st.floats(0.01, 1.0),
    z=st.floats(0.6, 10),
    delta=st.floats(1e-9, 1e-2),
)
@settings(max_examples=15, deadline=None)
def test_more_steps_more_data_a_batch_or_less_noise_never_protect_better(steps, q, z, delta):
    epsilon = compute_epsilon(steps, q, z, delta)
    assert 0 <= epsilon <= compute_epsilon(steps + 1, q, z, delta) + 1e-9
    assert epsilon <= compute_epsilon(steps, min(1.0, 1.5 * q), z, delta) + 1e-9
    assert epsilon <= compute_epsilon(steps, q, z / 1.5, delta) + 1e-9
    assert epsilon <= compute_epsilon(steps, q, z, delta / 2) + 1e-9


def test_milli_epsilon_is_rounded_up_and_bounded():
    exact = compute_epsilon(100, 0.2, 1.0, 1e-5)
    milli = compute_epsilon_milli(100, 20, 100, 1.0, 1e-5)
    assert 0 <= milli - 1000 * exact < 1
    assert compute_epsilon_milli(10**12, 1, 1, 0.001, 1e-5) == EPSILON_MILLI_MAX
    assert compute_epsilon_milli(0, 20, 100, 1.0, 1e-5) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((-1, 0.1, 1.0, 1e-5), "-1 steps"),
        ((1, 1.1, 1.0, 1e-5), "sampling rate 1.1"),
        ((1, 0.1, 0.0, 1e-5), "noise multiplier 0.0"),
        ((1, 0.1, float("nan"), 1e-5), "noise multiplier nan"),
        ((1, 0.1, 1.0, 0.0), "delta 0.0"),
        ((1, 0.1, 1.0, 1.0), "delta 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(arguments, named):
    with pytest.raises(ValueError, match=named):
        compute_epsilon(*arguments)
