"""Against pyDVL, an independent library of the same values: `make oracle` runs this file.

Skipped where it is not installed, as in the environment of `make test` (it asks for numpy 1).

Checked with pyDVL 0.10.0. It is an oracle for development only (LGPL): nothing imports it but this
file. Its exact samplers are compared to rounding, its sampling ones to five standard errors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kumiai.valuation import BanzhafLimits, PermutationLimits, TmcLimits, assess
from kumiai.valuation.banzhaf import plan_banzhaf
from kumiai.valuation.game import run_plans

pytest.importorskip("pydvl")

from pydvl.valuation import BanzhafValuation, LOOValuation, ShapleyValuation
from pydvl.valuation.dataset import Dataset
from pydvl.valuation.methods.banzhaf import MSRBanzhafValuation
from pydvl.valuation.samplers import (
    DeterministicPermutationSampler,
    DeterministicUniformSampler,
    PermutationSampler,
)
from pydvl.valuation.samplers.truncation import RelativeTruncation
from pydvl.valuation.stopping import MinUpdates, NoStopping
from pydvl.valuation.utility.base import UtilityBase

pytestmark = pytest.mark.filterwarnings("ignore")


class Table(UtilityBase):
    """A game as the library wants it: a set of indices -> one number."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def __call__(self, sample) -> float:
        subset = [] if sample is None else sample.subset
        return float(self.table[sum(1 << int(i) for i in subset)])


def make_table(count: int, seed: int) -> np.ndarray:
    """Random helps with diminishing gains and noise; v({}) is 0, as the library assumes."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(-0.2, 1.0, count)
    bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    table = np.log1p(np.maximum(bits @ weights, -0.5)) + 0.05 * rng.standard_normal(2**count)
    return table - table[0]


def play(method: str, table: np.ndarray, **options) -> np.ndarray:
    count = len(table).bit_length() - 1

    def utility(masks: Sequence[int]) -> np.ndarray:
        return table[list(masks)]

    return assess(method, count, utility, **options)


def ask(kind, table: np.ndarray, *arguments, **options) -> np.ndarray:
    count = len(table).bit_length() - 1
    data = Dataset(np.arange(count)[:, None], np.zeros(count))
    found = kind(Table(table), *arguments, progress=False, **options).fit(data).result
    found.sort(key="index")
    return np.asarray(found.values)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("seed", [1, 2])
def test_shapley_over_all_coalitions(count, seed):
    table = make_table(count, seed)
    theirs = ask(ShapleyValuation, table, DeterministicUniformSampler(), NoStopping())
    np.testing.assert_allclose(play("exact", table).values_N, theirs, atol=1e-12)


def test_shapley_over_all_orders():
    table = make_table(5, 3)
    theirs = ask(ShapleyValuation, table, DeterministicPermutationSampler(), NoStopping())
    np.testing.assert_allclose(play("exact", table).values_N, theirs, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_banzhaf_over_all_coalitions(count):
    table = make_table(count, 4)
    theirs = ask(BanzhafValuation, table, DeterministicUniformSampler(), NoStopping())
    np.testing.assert_allclose(play("banzhaf_exact", table).values_N, theirs, atol=1e-12)


def test_leave_one_out():
    table = make_table(6, 5)
    np.testing.assert_allclose(play("loo", table).values_N, ask(LOOValuation, table), atol=1e-12)


def test_permutations():
    """Both sample; each by itself lies around the same value."""
    table = make_table(6, 6)
    ours = play("permutation", table, seed=1, limits=PermutationLimits(600))
    theirs = ask(ShapleyValuation, table, PermutationSampler(seed=1), MinUpdates(600))
    assert (np.abs(ours.values_N - theirs) <= 5 * 2**0.5 * ours.errors_N).all()


def test_truncated_permutations():
    """The bias of truncation is the same in both: at 20 % it is far above the sampling error."""
    table = make_table(6, 8)
    limits = TmcLimits(1_500, truncation=0.2, deviation=0.0)
    ours = play("tmc", table, seed=1, limits=limits)
    sampler = PermutationSampler(RelativeTruncation(rtol=0.2, burn_in_fraction=0.0), seed=1)
    theirs = ask(ShapleyValuation, table, sampler, MinUpdates(1_500))
    assert (np.abs(ours.values_N - theirs) <= 5 * 2**0.5 * ours.errors_N).all()
    bias = np.abs(ours.values_N - play("exact", table).values_N)
    assert (bias > 5 * 2**0.5 * ours.errors_N).any()


def test_maximum_sample_reuse():
    table = make_table(6, 7)
    plan = plan_banzhaf(6, 1, BanzhafLimits(2_000))
    (ours,) = run_plans([plan], lambda masks: table[list(masks)][:, None])
    theirs = ask(MSRBanzhafValuation, table, MinUpdates(2_000), seed=1)
    assert (np.abs(ours.values_N - theirs) <= 5 * 2**0.5 * ours.errors_N).all()
