"""The laws that every valuation by utilities keeps, each run over every member of the family.

A sampled value may miss by chance: laws hold to five standard errors, and a tiny bit for rounding.
Seeds are fixed, so a test either always passes or always fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from kumiai.valuation import (
    METHODS,
    SHAPLEY_METHODS,
    BanzhafLimits,
    CohortRound,
    GtgLimits,
    PermutationLimits,
    StrataLimits,
    TmcLimits,
    Valuation,
    assess,
    value_comfedsv,
    value_fedsv,
)
from kumiai.valuation.banzhaf import plan_banzhaf
from kumiai.valuation.comfedsv import ComfedsvLimits
from kumiai.valuation.game import Plan, Utility, run_plans
from kumiai.valuation.gtg import plan_gtg

PLAYERS = 9
LIMITS = {
    "gtg": GtgLimits(108, truncation=0.0, convergence=0.0),
    "permutation": PermutationLimits(200),
    "tmc": TmcLimits(200, truncation=0.001, deviation=0.0),
    "strata": StrataLimits(3),
    "banzhaf": BanzhafLimits(400),
}


@dataclass(frozen=True)
class Member:
    """One method as the tests see it: (player count, utility, seed) -> valuation."""

    name: str
    value: Callable[[int, Utility, int], Valuation]
    kind: str  # "shapley", "banzhaf", "loo" or "standalone": which closed form it has
    is_sampled: bool = False
    slack: float = 0.0  # bias by truncation, as a share of v(N) - v({})


def run_plan(plan: Plan, utility: Utility) -> Valuation:
    return run_plans([plan], lambda masks: utility(masks)[:, None])[0]


def through_door(method: str) -> Member:
    kind = "shapley" if method in SHAPLEY_METHODS else method.removesuffix("_exact")
    return Member(
        method,
        lambda count, utility, seed: assess(method, count, utility, seed, LIMITS.get(method)),
        kind,
        is_sampled=method in LIMITS,
        slack=0.001 if method == "tmc" else 0.0,
    )


def one_full_round(count: int, utility: Utility) -> list[CohortRound]:
    return [CohortRound(tuple(range(count)), utility)]


FAMILY = [
    *[through_door(method) for method in METHODS],
    Member(  # also where the door would rather measure everything
        "gtg-plan", lambda n, u, s: run_plan(plan_gtg(n, s, LIMITS["gtg"]), u), "shapley", True
    ),
    Member("strata-once", lambda n, u, s: assess("strata", n, u, s), "shapley", True),
    Member(
        "banzhaf-plan",
        lambda n, u, s: run_plan(plan_banzhaf(n, s, LIMITS["banzhaf"]), u),
        "banzhaf",
        True,
    ),
    Member("fedsv", lambda n, u, s: value_fedsv(n, one_full_round(n, u), "exact", s), "shapley"),
    Member(
        "fedsv-permutation",
        lambda n, u, s: value_fedsv(
            n, one_full_round(n, u), "permutation", s, LIMITS["permutation"]
        ),
        "shapley",
        True,
    ),
    Member("comfedsv", lambda n, u, s: value_comfedsv(n, one_full_round(n, u), s), "shapley"),
    Member(
        "comfedsv-orders",
        lambda n, u, s: value_comfedsv(n, one_full_round(n, u), s, ComfedsvLimits(50)),
        "shapley",
        True,
    ),
]
every_member = pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)
every_shapley = pytest.mark.parametrize(
    "member", [one for one in FAMILY if one.kind == "shapley"], ids=lambda member: member.name
)


def members(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def game(count: int, worth: Callable[[list[int]], float]) -> Utility:
    table = np.array([worth(members(mask)) for mask in range(2**count)], dtype=np.float64)
    return lambda masks: table[list(masks)]


def helped(weights: Sequence[float]) -> Utility:
    """Diminishing gains, with something only the first two bring together."""
    return game(
        len(weights),
        lambda team: (
            float(np.log1p(sum(weights[i] for i in team))) + 0.3 * (0 in team and 1 in team)
        ),
    )


WEIGHTS = [0.9, 0.6, 0.0, 0.4, 0.4, 0.8, -0.1, 0.2, 0.5]


def assert_near(member: Member, found: np.ndarray, expected: object, errors: np.ndarray) -> None:
    """Within five standard errors, the truncation and rounding."""
    allowed = 5 * errors + member.slack + 1e-9
    assert (np.abs(found - np.asarray(expected)) <= allowed).all(), (found, expected, errors)


# --- laws ---


@every_member
def test_null_player_gets_nothing(member):
    found = member.value(PLAYERS, helped(WEIGHTS), 1)
    assert_near(member, found.values_N[2], 0.0, found.errors_N[2])
    assert found.values_N[6] < 0 < found.values_N[0]
    if member.name not in {"banzhaf", "banzhaf-plan", "strata", "strata-once"}:  # by its own gains
        assert found.values_N[2] == 0.0


@every_member
def test_symmetric_players_get_the_same(member):
    found = member.value(PLAYERS, helped(WEIGHTS), 2)
    errors = np.hypot(found.errors_N[3], found.errors_N[4])
    assert_near(member, found.values_N[3], found.values_N[4], errors)
    assert found.values_N[3] > 0


@every_member
@pytest.mark.parametrize("seed", [1, 2])
def test_permutation_of_players_permutes_values(member, seed):
    order = np.random.default_rng(seed).permutation(PLAYERS).tolist()
    utility = helped(WEIGHTS)

    def shuffled(masks: Sequence[int]) -> np.ndarray:
        return utility([sum(1 << order[i] for i in members(mask)) for mask in masks])

    one, other = member.value(PLAYERS, utility, seed), member.value(PLAYERS, shuffled, seed)
    errors = np.hypot(one.errors_N[order], other.errors_N)
    assert_near(member, other.values_N, one.values_N[order], errors)


@pytest.mark.parametrize(
    # not truncated: where an order of tmc ends depends on v(N), so its values need not add up
    "member",
    [one for one in FAMILY if one.slack == 0],
    ids=lambda member: member.name,
)
def test_values_add_up_over_games(member):
    """The same coalitions are drawn for every game: v + 2 w is worth v's value and twice w's."""
    one, two = helped(WEIGHTS), game(PLAYERS, lambda team: float(len(team) ** 2 % 7))
    first, second, both = (
        member.value(PLAYERS, utility, 3).values_N
        for utility in (one, two, lambda masks: one(masks) + 2 * two(masks))
    )
    np.testing.assert_allclose(both, first + 2 * second, atol=1e-9)


@every_member
def test_a_shift_of_the_utility_changes_nothing(member):
    """A loss has no zero."""
    utility = helped(WEIGHTS)
    found = member.value(PLAYERS, utility, 4).values_N
    moved = member.value(PLAYERS, lambda masks: utility(masks) - 40.0, 4).values_N
    np.testing.assert_allclose(moved, found, atol=1e-9)


@every_shapley
@pytest.mark.parametrize("count", [1, 2, 5, PLAYERS])
def test_everything_won_is_shared_out(member, count):
    utility = helped([*WEIGHTS[:count]]) if count > 1 else game(1, lambda team: 2.0 * len(team))
    nobody, everybody = utility([0, 2**count - 1])
    found = member.value(count, utility, 5)
    slack = member.slack * abs(everybody - nobody) + 1e-9
    assert abs(found.values_N.sum() - (everybody - nobody)) <= slack


@every_member
@pytest.mark.parametrize("count", [2, 6, PLAYERS])
def test_evaluation_count_is_what_was_asked(member, count):
    """No coalition is measured twice, and every one that is measured is counted."""
    utility = helped(WEIGHTS[:count])
    asked: list[int] = []

    def counted(masks: Sequence[int]) -> np.ndarray:
        asked.extend(masks)
        return utility(masks)

    found = member.value(count, counted, 6)
    assert found.evaluation_count == len(asked) == len(set(asked))
    assert 0 < len(asked) <= 2**count


@every_member
def test_same_seed_same_values(member):
    one, same, other = (member.value(PLAYERS, helped(WEIGHTS), seed) for seed in (7, 7, 8))
    assert one.values_N.tolist() == same.values_N.tolist()
    assert one.errors_N.tolist() == same.errors_N.tolist()
    is_drawn = member.is_sampled and one.evaluation_count < 2**PLAYERS
    assert (one.values_N.tolist() != other.values_N.tolist()) == is_drawn
    assert (one.errors_N > 0).any() == is_drawn


# --- closed forms ---


@every_member
def test_additive_game(member):
    """v(S) = 3 + the sum of weights: every method says the weights."""
    weights = np.linspace(-1.0, 2.0, PLAYERS)
    additive = game(PLAYERS, lambda team: 3.0 + sum(weights[i] for i in team))
    found = member.value(PLAYERS, additive, 1)
    slack = member.slack * weights.sum() / PLAYERS  # a truncated order hides less than this
    assert (np.abs(found.values_N - weights) <= 5 * found.errors_N + 2 * slack + 1e-9).all()


@every_member
def test_glove_game(member):
    """One left glove (player 0), two right ones: a pair is worth 1."""
    glove = game(3, lambda team: float(0 in team and len(team) > 1))
    expected = {
        "shapley": [2 / 3, 1 / 6, 1 / 6],
        "banzhaf": [3 / 4, 1 / 4, 1 / 4],
        "loo": [1.0, 0.0, 0.0],
        "standalone": [0.0, 0.0, 0.0],
    }[member.kind]
    found = member.value(3, glove, 2)
    assert_near(member, found.values_N, expected, found.errors_N)


@every_member
@pytest.mark.parametrize("size", [1, 2, 4])
def test_unanimity_game(member, size):
    """Worth 1 with all of the first `size` players: each gets 1/size, or by Banzhaf 2^(1-size)."""
    unanimity = game(PLAYERS, lambda team: float(set(range(size)) <= set(team)))
    own = {
        "shapley": 1 / size,
        "banzhaf": 2.0 ** (1 - size),
        "loo": 1.0,
        "standalone": float(size == 1),
    }[member.kind]
    found = member.value(PLAYERS, unanimity, 3)
    expected = [own] * size + [0.0] * (PLAYERS - size)
    assert_near(member, found.values_N, expected, found.errors_N)


@every_member
def test_sampling_is_near_the_exact_value(member):
    utility = helped(WEIGHTS)
    exact = {"shapley": "exact", "banzhaf": "banzhaf_exact"}.get(member.kind, member.kind)
    expected = assess(exact, PLAYERS, utility).values_N
    found = member.value(PLAYERS, utility, 9)
    assert_near(member, found.values_N, expected, found.errors_N)
    assert np.abs(found.values_N - expected).max() < 0.1


@pytest.mark.parametrize(
    "member", [one for one in FAMILY if one.is_sampled], ids=lambda member: member.name
)
def test_the_standard_error_is_honest(member):
    """Over 40 seeds the spread of the values is what errors_N says, give or take."""
    utility = helped(WEIGHTS)
    found = [member.value(PLAYERS, utility, seed) for seed in range(40)]
    spread = np.array([one.values_N for one in found]).std(axis=0)
    claimed = np.array([one.errors_N for one in found]).mean(axis=0)
    active = spread > 1e-9
    assert active.sum() >= 8
    assert (spread[active] <= 1.5 * claimed[active]).all()
    assert claimed[active].mean() <= 4 * spread[active].mean()


# --- edges ---


@every_member
def test_a_lone_player_gets_everything(member):
    found = member.value(1, game(1, lambda team: 1.0 + 0.25 * len(team)), 1)
    assert found.values_N.tolist() == [0.25]
    assert found.errors_N.tolist() == [0.0]
    assert found.evaluation_count == 2


@every_member
@pytest.mark.parametrize("count", [2, 5, PLAYERS])
def test_all_players_identical(member, count):
    found = member.value(count, game(count, lambda team: float(np.sqrt(len(team)))), 2)
    mean = found.values_N.mean()
    assert_near(member, found.values_N, mean, found.errors_N)
    assert mean > 0
    if member.kind == "shapley":
        assert mean == pytest.approx(count**0.5 / count, abs=member.slack + 1e-9)


@every_member
@pytest.mark.parametrize("level", [0.0, -3.5])
def test_when_nothing_matters_nobody_is_worth_anything(member, level):
    found = member.value(PLAYERS, lambda masks: np.full(len(masks), level), 3)
    assert found.values_N.tolist() == [0.0] * PLAYERS
    assert found.errors_N.tolist() == [0.0] * PLAYERS


@every_member
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_utility_that_is_not_finite_names_the_coalition(member, bad):
    def spoilt(masks: Sequence[int]) -> np.ndarray:
        return np.array([bad if mask.bit_count() >= 2 else 1.0 for mask in masks])

    if member.kind == "standalone":
        return  # asks for nobody and each alone, which are fine here
    with pytest.raises(ValueError, match=r"coalition \{\d(, \d)+\} is \[(nan|inf)\]"):
        member.value(4, spoilt, 1)


@every_member
def test_a_utility_of_the_wrong_shape_is_refused(member):
    with pytest.raises(ValueError, match="gave shape"):
        member.value(3, lambda masks: np.zeros(len(masks) + 1), 1)


def test_every_method_is_in_the_family():
    assert {member.name for member in FAMILY} >= set(METHODS)
