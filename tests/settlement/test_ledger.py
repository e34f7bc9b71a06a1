"""The escrow's executable specification: every command, every refusal, random histories."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.base.errors import Reject
from kumiai.settlement.ledger import (
    OUTSIDE,
    Delegate,
    Deposit,
    Fund,
    LedgerState,
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    SettleFinal,
    SettleRound,
    Stake,
    Withdraw,
    burnt_account,
    decode_command,
    delegation_account,
    encode_command,
    escrow_account,
    locked_account,
    stake_account,
    step,
)

FUNDED = (
    Deposit("d/c", "t", "customer", 1000),
    Deposit("d/m", "t", "member", 100),
    Deposit("d/b", "t", "backer", 40),
    Fund("fund", "t", "customer", 900),
    Stake("stake", "t", "member", 80),
    Delegate("lend", "t", "backer", "member", 30),
)


def run(*commands, state=None):
    state = state or LedgerState()
    for command in commands:
        result = step(state, command)
        assert not isinstance(result, Reject), result
        state = result[0]
    return state


def refused(state, command):
    """The reason of a Reject; and that the state is still what it was."""
    before = (dict(state.balances), dict(state.marks))
    result = step(state, command)
    assert isinstance(result, Reject), "was accepted"
    assert (dict(state.balances), dict(state.marks)) == before
    return result


def test_the_money_of_a_whole_task():
    state = run(
        *FUNDED,
        SettleRound("r1", "t", 1, (("member", 50), ("backer", 7)), 400, (("member", 8),), ("e",)),
    )
    assert state.balances[escrow_account("t")] == 900 - 57 - 400
    assert state.balances[locked_account("t")] == 400
    assert state.balances[stake_account("t", "member")] == 72
    assert state.balances[delegation_account("t", "member", "backer")] == 30
    assert state.balances[burnt_account("t")] == 8
    state = run(
        SettleFinal("final", "t", (("member", 390),)),
        Refund("refund", "t", "customer", 900 - 57 - 390),
        ReleaseStake("rs", "t", "member"),
        ReleaseDelegation("rd", "t", "backer", "member"),
        Withdraw("w", "t", "member", 532),
        state=state,
    )
    left = {name: amount for name, amount in state.balances.items() if name != OUTSIDE}
    assert left == {
        "customer": 100 + 453,
        "backer": 47,
        burnt_account("t"): 8,
        "memo:paid:t": -447,
        "memo:paid:t:customer": 447,
    }
    assert sum(state.balances.values()) == 0


def test_postings_sum_to_zero_and_name_both_sides():
    _, postings = step(run(*FUNDED), Fund("fund2", "t", "customer", 5))
    assert sum(posting.amount for posting in postings) == 0
    assert [(p.account, p.amount) for p in postings] == [
        ("customer", -5),
        ("escrow:t", 5),
        ("memo:paid:t", -5),
        ("memo:paid:t:customer", 5),
    ]


# --- once ---


def test_the_same_command_twice_changes_nothing():
    state = run(*FUNDED)
    again, postings = step(state, FUNDED[0])
    assert again is state
    assert postings == ()


def test_the_same_key_with_other_content_is_refused():
    state = run(*FUNDED)
    assert refused(state, replace(FUNDED[0], amount=1001)).reason == "key-reused"
    assert refused(state, Withdraw("d/c", "t", "customer", 1000)).reason == "key-reused"


def test_keys_are_scoped_by_task():
    state = run(*FUNDED, Deposit("d/c", "other", "customer", 5))
    assert state.balances["customer"] == 105


def test_a_round_is_settled_once_whatever_the_key():
    state = run(*FUNDED, SettleRound("r1", "t", 1, (("member", 1),), 0))
    assert refused(state, SettleRound("r1b", "t", 1, (("member", 1),), 0)).reason == "already-done"


def test_a_task_ends_once():
    state = run(*FUNDED, SettleFinal("final", "t", ()))
    assert refused(state, SettleFinal("final2", "t", ())).reason == "already-done"


def test_a_piece_of_evidence_burns_once():
    first = SettleRound("r1", "t", 1, (), 0, (("member", 8),), ("e",))
    state = run(*FUNDED, first)
    again = replace(first, key="r2", round=2)
    assert refused(state, again).reason == "already-done"
    twice = replace(first, burnt=(("member", 8), ("member", 8)), evidence=("e", "e"))
    assert refused(run(*FUNDED), twice).reason == "already-done"
    final = SettleFinal("final", "t", (), (("member", 8),), ("e",))
    assert refused(state, final).reason == "already-done"


def test_a_burn_needs_evidence():
    burn = SettleRound("r1", "t", 1, (), 0, (("member", 8),))
    assert refused(run(*FUNDED), burn).reason == "burn-without-evidence"


# --- overdrawing ---


@pytest.mark.parametrize(
    ("command", "account"),
    [
        (Withdraw("x", "t", "customer", 101), "customer"),
        (Withdraw("x", "t", "stranger", 1), "stranger"),
        (Fund("x", "t", "customer", 101), "customer"),
        (Stake("x", "t", "member", 21), "member"),
        (Delegate("x", "t", "backer", "member", 11), "backer"),
        (SettleRound("x", "t", 1, (("member", 901),), 0), "escrow:t"),
        (SettleRound("x", "t", 1, (("member", 1),), 900), "escrow:t"),
        (SettleRound("x", "t", 1, (), 0, (("member", 81),), ("e",)), "stake:t:member"),
        (
            SettleRound("x", "t", 1, (), 0, (("member", 41), ("member", 40)), ("e", "f")),
            "stake:t:member",
        ),
        (SettleRound("x", "t", 1, (), 0, (("backer", 1),), ("e",)), "stake:t:backer"),
        (SettleFinal("x", "t", (("member", 1),)), "locked:t"),
    ],
)
def test_overdrawing_is_refused_with_the_numbers(command, account):
    reject = refused(run(*FUNDED), command)
    assert reject.reason == "overdrawn"
    assert reject.evidence["account"] == account
    assert int(reject.evidence["asked"]) > int(reject.evidence["balance"])


def test_nobody_is_refunded_more_than_it_put_in():
    state = run(*FUNDED, SettleFinal("final", "t", ()))
    assert refused(state, Refund("x", "t", "customer", 901)).reason == "overdrawn"
    assert refused(state, Refund("x", "t", "member", 1)).evidence["account"] == (
        "memo:paid:t:member"
    )
    run(Refund("x", "t", "customer", 900), state=state)


# --- phases ---


@pytest.mark.parametrize(
    "command",
    [
        Refund("x", "t", "customer", 1),
        ReleaseStake("x", "t", "member"),
        ReleaseDelegation("x", "t", "backer", "member"),
    ],
)
def test_money_is_bound_until_the_task_is_settled(command):
    assert refused(run(*FUNDED), command).reason == "task-open"
    run(SettleFinal("final", "t", ()), command, state=run(*FUNDED))


@pytest.mark.parametrize(
    "command",
    [
        Fund("x", "t", "customer", 1),
        Stake("x", "t", "member", 1),
        Delegate("x", "t", "backer", "member", 1),
        SettleRound("x", "t", 2, (), 0),
    ],
)
def test_a_settled_task_takes_nothing_more(command):
    run(command, state=run(*FUNDED))
    closed = run(SettleFinal("final", "t", ()), state=run(*FUNDED))
    assert refused(closed, command).reason == "task-closed"


# --- form ---


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (Deposit("x", "t", "escrow:t", 5), "bad-name"),
        (Deposit("x", "t", "", 5), "bad-name"),
        (Deposit("x", "t:u", "m", 5), "bad-name"),
        (Deposit("x", "t", "m n", 5), "bad-name"),
        (Deposit("x", "t", "é", 5), "bad-name"),
        (Deposit("x", "t", "m" * 129, 5), "bad-name"),
        (Deposit("x", "t", None, 5), "bad-name"),
        (SettleRound("x", "t", 1, (("escrow:t", 5),), 0), "bad-name"),
        (SettleRound("x", "t", 1, (), 0, (("member", 1),), ("e:f",)), "bad-name"),
        (Deposit("x", "t", "m", -5), "bad-amount"),
        (Deposit("x", "t", "m", True), "bad-amount"),
        (Deposit("x", "t", "m", 1.0), "bad-amount"),
        (Deposit("x", "t", "m", 2**256), "bad-amount"),
        (SettleRound("x", "t", 1, (("m", -5),), 0), "bad-amount"),
        (SettleRound("x", "t", 1, (), -5), "bad-amount"),
        (SettleRound("x", "t", -1, (), 0), "bad-amount"),
        (SettleRound("x", "t", 1, (), 0, (("member", -1),), ("e",)), "bad-amount"),
        (SettleRound("x", "t", 1, (("m", 0),) * 200_001, 0), "too-many-payments"),
        (Deposit("", "t", "m", 5), "bad-key"),
        (Deposit("k" * 257, "t", "m", 5), "bad-key"),
    ],
)
def test_malformed_commands_are_refused(command, reason):
    assert refused(run(*FUNDED), command).reason == reason


# --- bytes ---

NAMES = st.sampled_from(["a", "b", "c", "d"])
AMOUNTS = st.integers(0, 30) | st.integers(0, 10**24)
KEYS = st.sampled_from([f"k{index}" for index in range(12)])
TASKS = st.sampled_from(["t", "u"])
PAYMENTS = st.lists(st.tuples(NAMES, AMOUNTS), max_size=3).map(tuple)
BURNS = st.lists(st.tuples(NAMES, st.integers(0, 9)), max_size=1).map(tuple)
COMMANDS = (
    st.builds(Deposit, KEYS, TASKS, NAMES, AMOUNTS)
    | st.builds(Withdraw, KEYS, TASKS, NAMES, AMOUNTS)
    | st.builds(Fund, KEYS, TASKS, NAMES, AMOUNTS)
    | st.builds(Stake, KEYS, TASKS, NAMES, AMOUNTS)
    | st.builds(Delegate, KEYS, TASKS, NAMES, NAMES, AMOUNTS)
    | st.builds(Refund, KEYS, TASKS, NAMES, AMOUNTS)
    | st.builds(ReleaseStake, KEYS, TASKS, NAMES)
    | st.builds(ReleaseDelegation, KEYS, TASKS, NAMES, NAMES)
    | st.builds(SettleRound, KEYS, TASKS, st.integers(0, 3), PAYMENTS, AMOUNTS)
    | st.builds(
        SettleRound, KEYS, TASKS, st.integers(0, 3), PAYMENTS, AMOUNTS, BURNS, st.just(("e",))
    )
    | st.builds(SettleFinal, KEYS, TASKS, PAYMENTS)
)


@given(COMMANDS)
@settings(max_examples=100, deadline=None)
def test_a_command_survives_its_bytes(command):
    assert decode_command(encode_command(command)) == command


@given(st.lists(COMMANDS, max_size=25))
@settings(max_examples=150, deadline=None)
def test_random_histories_never_create_or_lose_a_unit(commands):
    state, outside, burnt = LedgerState(), 0, 0
    for command in [
        Deposit("in/a", "t", "a", 10**24),
        Fund("in/t", "t", "a", 10**23),
        Stake("st/a", "t", "a", 50),
        *commands,
    ]:
        result = step(state, command)
        if isinstance(result, Reject):
            continue
        fresh, postings = result
        assert sum(posting.amount for posting in postings) == 0
        if postings and isinstance(command, Deposit):
            outside += command.amount
        if postings and isinstance(command, Withdraw):
            outside -= command.amount
        assert sum(fresh.balances.values()) == 0
        assert fresh.balances.get(OUTSIDE, 0) == -outside
        for account, amount in fresh.balances.items():
            assert amount > 0 or account in (OUTSIDE, "memo:paid:t", "memo:paid:u")
        now_burnt = sum(v for k, v in fresh.balances.items() if k.startswith("burnt:"))
        assert now_burnt >= burnt
        state, burnt = fresh, now_burnt
        again, nothing = step(state, command)
        assert again is state
        assert nothing == ()


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"[]",
        b'{"type":"mint"}',
        b'{"type":["deposit"]}',
        b'{"account":"m","amount":"5","key":"k","type":"deposit"}',
        b'{"account":"m","amount":"5","extra":1,"key":"k","task":"t","type":"deposit"}',
        b'{"account":"m","amount":5,"key":"k","task":"t","type":"deposit"}',
        b'{"account":"m","amount":"05","key":"k","task":"t","type":"deposit"}',
        b'{"account":"m","amount":"+5","key":"k","task":"t","type":"deposit"}',
        b'{"account":"m","amount":"5_0","key":"k","task":"t","type":"deposit"}',
        b'{"account":"m","amount":"x","key":"k","task":"t","type":"deposit"}',
        b'{"account":7,"amount":"5","key":"k","task":"t","type":"deposit"}',
        b'{"burnt":[],"evidence":[],"key":"k","payments":{},"task":"t","type":"settle_final"}',
        b'{"burnt":[],"evidence":[],"key":"k","payments":[["a"]],"task":"t","type":"settle_final"}',
        b'{"type":"deposit","account":"m","amount":"5","key":"k","task":"t"}',
    ],
)
def test_other_bytes_are_no_command(data):
    with pytest.raises(ValueError, match=r"\w"):
        decode_command(data)


def test_amounts_beyond_json_integers_travel_as_text():
    command = Deposit("k", "t", "m", 2**256 - 1)
    assert str(2**256 - 1).encode() in encode_command(command)
    assert decode_command(encode_command(command)) == command
