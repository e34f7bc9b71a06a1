"""What must hold for every round, whatever the numbers: the laws of settlement."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kumiai.base.amounts import PPM
from kumiai.settlement.claims import FinalInput, RewardTerms, RoundInput, Trainer, Validator
from kumiai.settlement.ledger import (
    Delegate,
    Deposit,
    Fund,
    LedgerState,
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    Stake,
    escrow_account,
    locked_account,
    stake_account,
    step,
)
from kumiai.settlement.settle import (
    settle_final,
    settle_round,
    to_final_command,
    to_round_command,
)

_spec = importlib.util.spec_from_file_location(
    "settlement_strategies", Path(__file__).with_name("strategies.py")
)
strategies = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(strategies)
rounds, trainer_lists, SHARES_PPM = (
    strategies.rounds,
    strategies.trainer_lists,
    strategies.SHARES_PPM,
)

laws = settings(max_examples=80, deadline=None)
NO_SPLITTING = ("rank", "value")  # `ordinal` is offered although it breaks this law


def as_final(given_round):
    return FinalInput(given_round.budget, given_round.terms, given_round.trainers)


def paid_in(settled):
    return sum(line.own for line in settled.lines) + sum(
        line.amount for line in settled.delegator_lines
    )


def line_of(settled, member):
    return next(line for line in settled.lines if line.member == member)


# --- conservation ---


@given(rounds())
@laws
def test_a_round_conserves_every_unit(given_round):
    settled = settle_round(given_round)
    assert settled.trainer_pool + settled.validator_pool == given_round.budget
    assert paid_in(settled) + settled.locked + settled.refund == given_round.budget
    for line in settled.lines:
        assert line.own + line.delegators == line.immediate
        assert line.immediate + line.locked == line.gross
        assert line.gross == line.pool * line.weight // line.weight_total
        lent = [item.amount for item in settled.delegator_lines if item.node == line.member]
        assert sum(lent) == line.delegators
        if line.role == "validator":
            assert line.locked == 0


@given(rounds())
@laws
def test_the_end_conserves_every_unit(given_round):
    settled = settle_final(as_final(given_round))
    assert paid_in(settled) + settled.refund == given_round.budget
    assert all(line.locked == 0 for line in settled.lines)


@given(rounds())
@laws
def test_nothing_is_negative_and_no_burn_exceeds_the_stake(given_round):
    settled = settle_round(given_round)
    amounts = [settled.locked, settled.refund, settled.trainer_pool, settled.validator_pool]
    amounts += [item.amount for item in settled.delegator_lines]
    stakes = {seat.member: seat.stake for seat in given_round.trainers + given_round.validators}
    for line in settled.lines:
        amounts += [line.own, line.delegators, line.locked, line.gross_alone, line.slash]
        assert line.slash <= stakes[line.member]
        burnt = sum(burn.amount for burn in settled.burns if burn.member == line.member)
        assert line.slash == burnt
    assert min(amounts) >= 0


@given(rounds(min_trainers=1), rounds(min_trainers=1))
@settings(max_examples=60, deadline=None)
def test_a_whole_task_through_the_ledger_conserves_every_unit(first, second):
    """fund, stake, delegate, two rounds, the end, refund, release: nothing is left behind."""
    second = replace(
        second,
        terms=first.terms,
        trainers=first.trainers,
        validators=first.validators,
        slashes=(),
    )
    seats = first.trainers + first.validators
    budget = first.budget + second.budget
    commands = [Deposit("in/c", "t", "customer", budget), Fund("fund", "t", "customer", budget)]
    for seat in seats:
        commands += [
            Deposit(f"in/{seat.member}", "t", seat.member, seat.stake),
            Stake(f"stake/{seat.member}", "t", seat.member, seat.stake),
        ]
        for delegator, amount in seat.delegations:
            key = f"{seat.member}/{delegator}"
            commands += [
                Deposit(f"in/{key}", "t", delegator, amount),
                Delegate(f"lend/{key}", "t", delegator, seat.member, amount),
            ]
    settled = [settle_round(first), settle_round(second)]
    locked = settled[0].locked + settled[1].locked
    ended = settle_final(FinalInput(locked, first.terms, first.trainers))
    rest = settled[0].refund + settled[1].refund + ended.refund
    commands += [
        to_round_command(settled[0], "t", "round/1", 1),
        to_round_command(settled[1], "t", "round/2", 2),
        to_final_command(ended, "t", "final"),
        Refund("refund", "t", "customer", rest),
    ]
    for seat in seats:
        commands.append(ReleaseStake(f"out/{seat.member}", "t", seat.member))
        commands += [
            ReleaseDelegation(f"out/{seat.member}/{delegator}", "t", delegator, seat.member)
            for delegator, _ in seat.delegations
        ]
    state = LedgerState()
    for command in commands:
        state, _ = step(state, command)
        assert sum(state.balances.values()) == 0
    put_in = sum(command.amount for command in commands if isinstance(command, Deposit))
    free = sum(amount for name, amount in state.balances.items() if ":" not in name)
    burnt = sum(burn.amount for burn in settled[0].burns)
    assert free + burnt == put_in
    for account in [escrow_account("t"), locked_account("t"), stake_account("t", "t0")]:
        assert account not in state.balances


# --- who gets nothing ---


@given(rounds(min_trainers=1), st.sampled_from([None, 0, -1]))
@laws
def test_a_free_rider_gets_nothing_and_so_do_its_backers(given_round, value):
    rider = replace(given_round.trainers[0], value=value)
    trainers = (rider, *given_round.trainers[1:])
    for settled in (
        settle_round(replace(given_round, trainers=trainers)),
        settle_final(FinalInput(given_round.budget, given_round.terms, trainers)),
    ):
        line = line_of(settled, rider.member)
        assert (line.gross, line.own, line.locked, line.delegators) == (0, 0, 0, 0)
        assert not any(item.amount for item in settled.delegator_lines if item.node == rider.member)


@given(rounds(min_validators=1))
@laws
def test_a_silent_validator_gets_nothing(given_round):
    silent = replace(given_round.validators[0], score=0)
    validators = (silent, *given_round.validators[1:])
    settled = settle_round(replace(given_round, validators=validators))
    assert line_of(settled, silent.member).gross == 0


def test_nobody_valid_is_refunded():
    given_round = RoundInput(
        1000, RewardTerms(), (Trainer("t", 100, None),), (Validator("v", 100, 0),)
    )
    assert settle_round(given_round).refund == 1000
    assert settle_final(as_final(given_round)).refund == 1000


# --- monotone ---


@given(rounds(min_trainers=1), strategies.STAKES)
@laws
def test_more_stake_never_earns_a_trainer_less(given_round, more):
    first, *others = given_round.trainers
    richer = replace(first, stake=first.stake + more)
    before = settle_round(given_round)
    after = settle_round(replace(given_round, trainers=(richer, *others)))
    assert line_of(after, first.member).gross >= line_of(before, first.member).gross


@given(rounds(min_validators=1), strategies.STAKES)
@laws
def test_more_stake_never_earns_a_validator_less(given_round, more):
    first, *others = given_round.validators
    richer = replace(first, stake=first.stake + more)
    before = settle_round(given_round)
    after = settle_round(replace(given_round, validators=(richer, *others)))
    assert line_of(after, first.member).gross >= line_of(before, first.member).gross


@given(rounds(min_trainers=1), st.integers(1, 10**6))
@laws
def test_a_better_value_never_earns_a_trainer_less(given_round, gain):
    first, *others = given_round.trainers
    assume(first.value is not None)
    better = replace(first, value=first.value + gain)
    before = settle_round(given_round)
    after = settle_round(replace(given_round, trainers=(better, *others)))
    assert line_of(after, first.member).gross >= line_of(before, first.member).gross


@given(rounds(min_trainers=2))
@laws
def test_of_two_equal_stakes_the_better_value_earns_no_less(given_round):
    plain = tuple(
        replace(trainer, stake=77, delegations=(), tie_group="") for trainer in given_round.trainers
    )
    settled = settle_round(replace(given_round, trainers=plain))
    ordered = sorted(plain, key=lambda trainer: trainer.value or 0)
    earned = [line_of(settled, trainer.member).gross for trainer in ordered]
    assert earned == sorted(earned)


@given(rounds(min_validators=1), st.integers(1, 10**18))
@laws
def test_a_better_score_never_earns_a_validator_less(given_round, gain):
    first, *others = given_round.validators
    better = replace(first, score=first.score + gain)
    before = settle_round(given_round)
    after = settle_round(replace(given_round, validators=(better, *others)))
    assert line_of(after, first.member).gross >= line_of(before, first.member).gross


# --- Sybils ---


@st.composite
def split_trainers(draw):
    """A round, and the same with its first trainer's stake and delegations spread over several.

    The first piece is as good as the whole was; the others are as good or worse, alone or in its
    tie group (or caught, value None).
    """
    given_round = draw(rounds(min_trainers=1, rules=NO_SPLITTING))
    given_round = replace(given_round, slashes=())
    whole, *others = given_round.trainers
    count = draw(st.integers(2, 4))
    stakes = spread(draw, whole.stake, count)
    lent = [spread(draw, amount, count) for _, amount in whole.delegations]
    alone_or_tied = st.sampled_from(["", whole.tie_group])
    worse = st.none()
    if whole.value is not None:
        worse = worse | st.just(whole.value) | st.integers(0, 10).map(lambda x: whole.value - x)
    pieces = tuple(
        replace(
            whole,
            member=f"sybil{index}",
            stake=stakes[index],
            value=whole.value if index == 0 else draw(worse),
            tie_group=whole.tie_group if index == 0 else draw(alone_or_tied),
            delegations=tuple(
                (delegator, parts[index])
                for (delegator, _), parts in zip(whole.delegations, lent, strict=True)
            ),
        )
        for index in range(count)
    )
    return given_round, replace(given_round, trainers=(*pieces, *others))


def spread(draw, amount, count):
    cuts = sorted(draw(st.integers(0, amount)) for _ in range(count - 1))
    return [right - left for left, right in zip([0, *cuts], [*cuts, amount], strict=True)]


@given(split_trainers())
@settings(max_examples=250, deadline=None)
def test_splitting_a_trainer_never_pays_even_one_unit(pair):
    whole, split = pair
    name = whole.trainers[0].member
    for settle, prepare in ((settle_round, lambda x: x), (settle_final, as_final)):
        before, after = settle(prepare(whole)), settle(prepare(split))
        sybils = [line for line in after.lines if line.member.startswith("sybil")]
        one = line_of(before, name)
        assert sum(line.gross for line in sybils) <= one.gross
        assert sum(line.immediate for line in sybils) <= one.immediate
        if not whole.trainers[0].delegations:
            assert sum(line.own for line in sybils) <= one.own


@st.composite
def split_validators(draw):
    given_round = draw(rounds(min_validators=1))
    whole, *others = given_round.validators
    whole = replace(whole, delegations=())
    given_round = replace(given_round, validators=(whole, *others), slashes=())
    count = draw(st.integers(2, 4))
    pieces = tuple(
        replace(
            whole,
            member=f"sybil{index}",
            stake=stake,
            score=draw(st.just(whole.score) | st.integers(0, whole.score)),
        )
        for index, stake in enumerate(spread(draw, whole.stake, count))
    )
    return given_round, replace(given_round, validators=(*pieces, *others))


@given(split_validators())
@settings(max_examples=100, deadline=None)
def test_splitting_a_validator_never_pays_even_one_unit(pair):
    whole, split = pair
    before, after = settle_round(whole), settle_round(split)
    name = whole.validators[0].member
    sybils = [line for line in after.lines if line.member.startswith("sybil")]
    assert sum(line.own for line in sybils) <= line_of(before, name).own


def test_splitting_does_pay_under_the_ordinal_rule():
    """Why `ordinal` is not the default: this is the law above, broken."""
    terms = RewardTerms(rank_ratio_ppm=2_000_000, locked_ppm=0, gamma_ppm=0, rule="ordinal")
    one = RoundInput(900, terms, (Trainer("a", 100, 9), Trainer("b", 100, 5)), ())
    two = replace(one, trainers=(Trainer("a", 50, 9), Trainer("a2", 50, 8), Trainer("b", 100, 5)))
    assert line_of(settle_round(one), "a").own == 600
    assert sum(line_of(settle_round(two), name).own for name in ("a", "a2")) == 675


# --- order, delegation ---


@given(rounds(), st.randoms(use_true_random=False))
@laws
def test_permuting_members_changes_nothing_but_the_order(given_round, random):
    trainers, validators = list(given_round.trainers), list(given_round.validators)
    slashes = list(given_round.slashes)
    for items in (trainers, validators, slashes):
        random.shuffle(items)
    shuffled = replace(
        given_round,
        trainers=tuple(trainers),
        validators=tuple(validators),
        slashes=tuple(slashes),
    )
    before, after = settle_round(given_round), settle_round(shuffled)
    assert set(before.lines) == set(after.lines)
    assert sorted(before.delegator_lines, key=repr) == sorted(after.delegator_lines, key=repr)
    assert (before.locked, before.refund, before.burns) == (
        after.locked,
        after.refund,
        after.burns,
    )


@given(rounds(min_trainers=1, min_validators=1))
@laws
def test_accepting_delegation_never_lowers_a_nodes_own_reward(given_round):
    settled = settle_round(given_round)
    for name, kind in (("t0", "trainers"), ("v0", "validators")):
        first, *others = getattr(given_round, kind)
        alone = settle_round(
            replace(given_round, **{kind: (replace(first, delegations=()), *others)})
        )
        assert line_of(settled, name).own >= line_of(alone, name).own
        assert line_of(settled, name).gross_alone == line_of(alone, name).gross


@given(rounds(min_trainers=1))
@laws
def test_a_delegator_earns_in_proportion_to_what_it_lent(given_round):
    settled = settle_round(given_round)
    for trainer in given_round.trainers:
        lent = dict(trainer.delegations)
        earned = {
            item.delegator: item.amount
            for item in settled.delegator_lines
            if item.node == trainer.member
        }
        ordered = sorted(lent, key=lent.get)
        assert [earned[name] for name in ordered] == sorted(earned.values())


@given(rounds(min_trainers=1), SHARES_PPM)
@laws
def test_only_the_locked_part_depends_on_the_lock(given_round, locked_ppm):
    other = replace(given_round, terms=replace(given_round.terms, locked_ppm=locked_ppm))
    before, after = settle_round(given_round), settle_round(other)
    assert [line.gross for line in before.lines] == [line.gross for line in after.lines]
    assert before.refund == after.refund


def test_the_default_rule_is_the_stake_measured_rank():
    """The published defaults: 900 000 of 1 000 000 locked, a fourfold ratio, ranks by stake."""
    trainers = (Trainer("a", 50, 9), Trainer("a2", 50, 8), Trainer("b", 100, 5))
    settled = settle_round(RoundInput(1000, RewardTerms(gamma_ppm=0), trainers, ()))
    assert [line.gross for line in settled.lines] == [390, 276, 333]
    assert [line.locked for line in settled.lines] == [351, 249, 300]


# --- misuse ---


@pytest.mark.parametrize(
    "broken",
    [
        {"trainers": (Trainer("a", 1, 1), Trainer("a", 1, 1))},
        {"trainers": (Trainer("a", 1, 1),), "validators": (Validator("a", 1, 1),)},
        {"trainers": (Trainer("a", 1, 1, delegations=(("d", 1), ("d", 2))),)},
        {"trainers": (Trainer("a", -1, 1),)},
        {"trainers": (Trainer("a", 1, 1, delegations=(("d", -1),)),)},
        {"trainers": (Trainer("a", 1, 1, sigma_ppm=PPM + 1),)},
        {"validators": (Validator("a", 1, -1),)},
        {"budget": -1},
        {"terms": RewardTerms(alpha=0), "trainers": (Trainer("a", 1, 1),)},
        {"terms": RewardTerms(locked_ppm=PPM + 1), "trainers": (Trainer("a", 1, 1),)},
    ],
)
def test_misuse_raises(broken):
    plain = RoundInput(100, RewardTerms(), (), ())
    with pytest.raises(ValueError, match=r"\w"):
        settle_round(replace(plain, **broken))
