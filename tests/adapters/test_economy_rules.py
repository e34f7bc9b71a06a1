"""The simulation's rules over arrays against the protocol's own integers, on random inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rounds.worlds import make_task

from kumiai.adapters.sim.economy import rules
from kumiai.base.amounts import PPM, multiply_ppm
from kumiai.proofs import flags as flag
from kumiai.rounds.agreement import judge
from kumiai.rounds.final import compute_canary_errors
from kumiai.rounds.opened import Ballot, FinalPart, Holdouts
from kumiai.rounds.rechecks import (
    accuse,
    find_convicted,
    list_accused,
    list_drawn,
    open_rechecks,
)
from kumiai.rounds.state import (
    AssignmentState,
    Member,
    NodeState,
    RoundPhase,
    RoundState,
    RunState,
    ScoreSheet,
)
from kumiai.settlement import pools
from kumiai.settlement.claims import RewardTerms, RoundInput, Trainer, Validator
from kumiai.settlement.delegation import split_delegated
from kumiai.settlement.settle import settle_round
from kumiai.settlement.slashing import Slash, compute_burns
from kumiai.settlement.validators import SCORE_SCALE, compute_validator_score

laws = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32)


def draw_sheets(seed, members=6, validators=5):
    rng = np.random.default_rng(seed)
    scale = rng.choice([3, 400, 20_000])  # ties, values near the noise floor, wide ones
    values_VN = rng.integers(-scale, scale + 1, (validators, members))
    flags_VN = rng.random((validators, members)) < rng.choice([0.1, 0.6])
    stakes_V = rng.integers(1, rng.choice([2, 1_000]) + 1, validators)
    balances_N = rng.integers(-30_000, 60_000, members)
    return values_VN, flags_VN, stakes_V, balances_N


def judge_by_rule(values_VN, flags_VN, stakes_V, balances_N, floor=2_000):
    names = [f"m{i}" for i in range(values_VN.shape[1])]
    sheets = [
        ScoreSheet(
            validator=f"v{v}",
            lines=tuple(
                (int(x), 0, 0, flag.NO_WORK if f else 0, -1)
                for x, f in zip(values_VN[v], flags_VN[v], strict=True)
            ),
            loss_ppm=0,
            accuracy_ppm=0,
            final_commitment="",
        )
        for v in range(len(values_VN))
    ]
    stakes = {f"v{v}": int(stake) for v, stake in enumerate(stakes_V)}
    balances = dict(zip(names, map(int, balances_N), strict=True))
    return judge(names, sheets, stakes, floor, balances)


@laws
@given(seeds, st.integers(4, 9))
def test_consensus_and_deviations_are_those_of_the_rule(seed, validators):
    values_VN, flags_VN, stakes_V, balances_N = draw_sheets(seed, validators=validators)
    consensus_BN, deviations_VBN = rules.combine_scores(values_VN[:, None], stakes_V[None])
    judged = judge_by_rule(values_VN, flags_VN, stakes_V, balances_N)
    assert consensus_BN[0].tolist() == [each.value for each in judged]
    assert deviations_VBN[:, 0].T.tolist() == [list(each.deviations) for each in judged]


@laws
@given(seeds)
def test_verdicts_are_those_of_the_rule(seed):
    values_VN, flags_VN, stakes_V, balances_N = draw_sheets(seed)
    floor = 2_000
    stakes_BV, before_BN = stakes_V[None], balances_N[None]
    value_BN, _ = rules.combine_scores(values_VN[:, None], stakes_BV)
    limit_B = rules.find_harm_limit(before_BN, np.ones(before_BN.shape, dtype=bool), floor)
    flagged, harmful, valid, _ = rules.find_verdicts(
        value_BN, before_BN, values_VN[:, None], flags_VN[:, None], stakes_BV, limit_B, floor
    )
    judged = judge_by_rule(values_VN, flags_VN, stakes_V, balances_N, floor)
    assert flagged[0].tolist() == [each.reason == "no-work" for each in judged]
    assert harmful[0].tolist() == [each.reason == "harmful" for each in judged]
    assert valid[0].tolist() == [each.verdict is AssignmentState.VALID for each in judged]


def settle_both(seed, terms):
    """One round by `settle_round` and by arrays: (rule's lines, own, backers' parts, gross)."""
    rng = np.random.default_rng(seed)
    trainers, validators = int(rng.integers(1, 9)), int(rng.integers(1, 6))
    own_T, own_V = rng.integers(1, 10**6, trainers), rng.integers(1, 10**6, validators)
    lent_T = rng.integers(0, 10**6, trainers) * (rng.random(trainers) < 0.6)
    lent_V = rng.integers(0, 10**6, validators) * (rng.random(validators) < 0.6)
    values_T = rng.integers(-3, 12, trainers)  # with ties and losses
    distances_V = rng.integers(0, PPM, validators)
    sigma, budget = int(rng.integers(0, PPM + 1)), int(rng.integers(1, 10**8))
    scores = [compute_validator_score(PPM, int(d), 0, PPM) for d in distances_V]
    settled = settle_round(
        RoundInput(
            budget,
            terms,
            tuple(
                Trainer(
                    f"t{i}",
                    int(own_T[i]),
                    int(values_T[i]) if values_T[i] > 0 else None,
                    sigma_ppm=sigma,
                    delegations=((f"dt{i}", int(lent_T[i])),) if lent_T[i] else (),
                )
                for i in range(trainers)
            ),
            tuple(
                Validator(
                    f"v{i}",
                    int(own_V[i]),
                    scores[i],
                    sigma,
                    ((f"dv{i}", int(lent_V[i])),) if lent_V[i] else (),
                )
                for i in range(validators)
            ),
        )
    )
    pool_B = rules.split_pools(
        budget, terms.gamma_ppm, np.array([own_T.sum()]), np.array([own_V.sum()])
    )
    weight = terms.delegation_weight_ppm
    terms_T = rules.share_by_rank(
        values_T[None],
        own_T[None] ** terms.alpha,
        (own_T + rules.cut_ppm(lent_T, weight))[None] ** terms.alpha,
        terms.rank_ratio_ppm,
    )
    terms_V = rules.share_by_score(
        np.array([scores]) / SCORE_SCALE,
        own_V[None] ** terms.alpha,
        (own_V + rules.cut_ppm(lent_V, weight))[None] ** terms.alpha,
    )
    trainer_lines = rules.pay_nodes(pool_B, terms_T, PPM - terms.locked_ppm, sigma)
    validator_lines = rules.pay_nodes(budget - pool_B, terms_V, PPM, sigma)
    return settled, trainer_lines, validator_lines, pool_B


@laws
@given(seeds, st.sampled_from([PPM, 4 * PPM, 100 * PPM]), st.sampled_from([1, 2]))
def test_pay_is_the_rules_pay_to_one_unit(seed, ratio, alpha):
    terms = RewardTerms(rank_ratio_ppm=ratio, alpha=alpha)
    settled, trainer_lines, validator_lines, pool_B = settle_both(seed, terms)
    assert abs(settled.trainer_pool - pool_B[0]) <= 1
    found = np.concatenate([trainer_lines, validator_lines], axis=-1)[:, 0].T
    for line, (immediate, backers, gross) in zip(settled.lines, found, strict=True):
        assert abs(line.gross - gross) <= 1
        assert abs(line.immediate - immediate) <= 1
        assert abs(line.delegators - backers) <= 2


@laws
@given(seeds)
def test_backers_share_as_the_rule_does(seed):
    rng = np.random.default_rng(seed)
    lent_D = rng.integers(1, 10**6, 5)
    nodes_D = rng.integers(0, 2, 5)
    part = rng.integers(0, 10**6, 2)
    lent_N = np.array([lent_D[nodes_D == n].sum() for n in range(2)])
    amounts, reached = rules.split_backers(part[None], lent_D[None], nodes_D[None], lent_N[None])
    for node in range(2):
        mine = nodes_D == node
        by_rule = split_delegated(int(part[node]), 0, 0, [int(x) for x in lent_D[mine]])
        assert amounts[0][mine].tolist() == list(by_rule.delegators)
        assert reached[0][node] == sum(by_rule.delegators)


@laws
@given(seeds)
def test_validators_score_as_the_rule_does(seed):
    rng = np.random.default_rng(seed)
    deviations_VBN = rng.integers(0, PPM + 1, (4, 1, 6)).astype(float)
    judged_BN = rng.random((1, 6)) < 0.8
    judged_BN[0, 0] = True
    found = rules.score_validators(deviations_VBN, judged_BN, 1_500_000)[0]
    for v in range(4):
        mine = deviations_VBN[v, 0][judged_BN[0]].astype(int)
        wanted = compute_validator_score(PPM, int(mine.sum()) // len(mine), 0, 1_500_000)
        assert found[v] == pytest.approx(wanted / SCORE_SCALE, rel=1e-12)


@laws
@given(seeds, st.integers(0, 4), st.integers(0, PPM))
def test_burns_and_cuts_are_the_rules(seed, evidence, slash_ppm):
    stake = seed % 10**9
    slashes = [Slash("m", str(i)) for i in range(evidence)]
    wanted = sum(burn.amount for burn in compute_burns({"m": stake}, slashes, slash_ppm))
    assert rules.compute_burns(np.array([stake]), np.array([evidence]), slash_ppm)[0] == wanted
    assert rules.cut_ppm(np.array([seed]), slash_ppm)[0] == multiply_ppm(seed, slash_ppm)


def test_pools_split_as_the_rule_does():
    for trainers, validators in ((1, 1), (7, 123_456), (10**9, 3)):
        wanted = pools.split_pools(999_983, 100_000, trainers, validators)[0]
        found = rules.split_pools(999_983, 100_000, np.array([trainers]), np.array([validators]))
        assert abs(found[0] - wanted) <= 1


@laws
@given(seeds)
def test_probes_are_counted_as_the_rule_does(seed):
    from kumiai.adapters.sim.economy.conduct import find_taken_in

    rng = np.random.default_rng(seed)
    values_VBX = rng.integers(-1_000, 2_000, (3, 1, 2))
    flags_VBX = rng.random((3, 1, 2)) < 0.5
    flagged = {
        f"v{v}": tuple(bool(f) or int(x) <= 500 for x, f in zip(values, flags, strict=True))
        for v, (values, flags) in enumerate(zip(values_VBX[:, 0], flags_VBX[:, 0], strict=True))
    }
    part = FinalPart(trainers=("p0", "p1"), groups={}, commitments={}, flagged=flagged)
    errors = compute_canary_errors(RunState(canaries=("p0", "p1"), finals={1: part}))
    taken = find_taken_in(values_VBX, flags_VBX)[0]
    assert [PPM * int(count) // 2 for count in taken] == [errors[f"v{v}"] for v in range(3)]


RECHECKED = make_task(
    validators=7, rounds=4, data={"open_holdout": True}, validation={"recheck_ppm": 300_000}
)


def play_rechecks(seed, false_V, rounds):
    """One end of a run by `rounds.rechecks`: who lies accuses nobody and calls all honest."""
    keys = [f"v{v}" for v in range(len(false_V))]
    liars = {key for key, is_false in zip(keys, false_V, strict=True) if is_false}
    part = FinalPart(
        trainers=("t",),
        commitments=dict.fromkeys(keys, "c"),
        flagged={},
        salts={key: f"{seed}/{key}" for key in keys},
    )
    members = {key: Member(key, "validator", key, "", 1, 0, NodeState.ACTIVE, "") for key in keys}
    state = RunState(
        task=RECHECKED,
        members=members,
        holdouts=Holdouts(owners=tuple(keys)),
        finals=dict.fromkeys(range(1, rounds + 1), part),
    )
    current = RoundState(rounds + 1, 1, RoundPhase.RECHECK, 0, 0, (), tuple(keys), {})
    drawn = open_rechecks(state, current)
    found = {
        key: frozenset(s for s in list_drawn(drawn, key) if s[1] in liars and key not in liars)
        for key in keys
    }
    accused = accuse(replace(drawn, rechecks=replace(drawn.rechecks, found=found)))
    ballots = {}
    for key in keys:
        asked = frozenset(list_accused(accused, key))
        false = frozenset() if key in liars else frozenset(s for s in asked if s[1] in liars)
        ballots[key] = Ballot(false, asked - false)
    voted = replace(accused, rechecks=replace(accused.rechecks, ballots=ballots))
    return [key in find_convicted(voted) for key in keys]


@pytest.mark.parametrize("liars", [1, 2, 3])
def test_rechecks_convict_as_often_as_the_rule_does(liars):
    """The share of 600 ends, within four standard errors; three of seven are too many: nobody."""
    false_V, rounds, ends = np.arange(7) < liars, 4, 600
    by_rule = np.array([play_rechecks(seed, false_V, rounds) for seed in range(ends)])
    assert not by_rule[:, liars:].any()
    draws_BV = np.random.default_rng(liars).random((100_000, 7))
    false_BV = np.broadcast_to(false_V, draws_BV.shape)
    found_BV = rules.find_convicted(false_BV, draws_BV, 0.3, rounds)
    assert not found_BV[:, liars:].any()
    share, wanted = by_rule[:, :liars].mean(), found_BV[:, :liars].mean()
    assert abs(share - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / (ends * liars)) + 1e-9
    assert (wanted > 0.5) == (liars < 3)
