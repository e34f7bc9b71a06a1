"""The run machine: whole runs in a small world, and every event it must refuse."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Person
from kumiai.base import events
from kumiai.base.keys import derive_key
from kumiai.base.log import append_record
from kumiai.nodes.driver import EPOCH_S
from kumiai.proofs import flags as flag
from kumiai.rounds.commitments import commit_update
from kumiai.rounds.final import is_established
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import step
from kumiai.rounds.state import (
    ASSIGNMENT_TABLE,
    NODE_TABLE,
    RUN_TABLE,
    NodeState,
    RoundPhase,
    RunPhase,
    RunState,
    Tally,
    check_transition,
)
from kumiai.settlement.ledger import burnt_account, escrow_account, stake_account


def test_a_run_goes_from_draft_to_finished() -> None:
    driver, _ = make_driver(make_task(), make_people())
    state = driver.run()
    assert state.phase is RunPhase.FINISHED
    assert [c.round for c in state.certificates] == [1, 2, 3]
    assert all(len(c.signers) >= 3 for c in state.certificates)


def test_same_seed_same_log() -> None:
    heads = {make_driver(make_task(), make_people())[0].run().head for _ in range(2)}
    assert len(heads) == 1
    other = make_driver(make_task(), make_people(), NetworkModel(seed=1))[0].run().head
    assert other not in heads


def test_money_is_conserved_to_the_unit() -> None:
    task = make_task(rewards={"budget": 999_983})
    people = make_people(extra=[Person("d", "delegator", backs=(("t1", 37), ("v1", 11)))])
    driver, population = make_driver(task, people, raised={"t0": flag.NO_WORK})
    state = driver.run()
    accounts = driver.ledger.accounts()
    assert sum(accounts.values()) == 0  # double entry
    assert accounts.get(escrow_account(state.task_id), 0) == 0  # all paid or refunded
    earned = sum(tally.earned for tally in state.tallies.values())
    assert earned + accounts[state.customer] == 999_983
    assert (
        accounts[burnt_account(state.task_id)] == state.tallies[population.pubkey("t0")].slashed > 0
    )
    stakes = sum(v for k, v in accounts.items() if k.startswith(stake_account(state.task_id, "")))
    assert stakes == 0  # released


def test_flagged_work_earns_nothing_and_three_times_ejects() -> None:
    driver, population = make_driver(
        make_task(rounds=4), make_people(), raised={"t0": flag.NO_WORK, "t1": flag.DUPLICATE}
    )
    state = driver.run()
    idle = population.pubkey("t0")
    assert state.tallies[idle].earned == 0
    assert state.tallies[idle].rounds_invalid == 3
    assert state.members[idle].state is NodeState.EJECTED
    assert state.widths_ppm[idle] == 0


def test_harm_and_no_gain_are_told_apart() -> None:
    driver, population = make_driver(
        make_task(), make_people(5), quality={"t0": -60_000, "t1": -1_500}
    )
    state = driver.run()
    bad, idle = state.tallies[population.pubkey("t0")], state.tallies[population.pubkey("t1")]
    assert (bad.rounds_invalid, bad.earned) == (2, 0)
    assert (idle.rounds_valid, idle.earned) == (0, 0)
    assert state.certificates[0].body["receipts_count"] == 9
    assert (
        driver.ledger.accounts().get(burnt_account(state.task_id), 0) == 0
    )  # no evidence, no burn


def test_a_canary_is_paid_nothing_and_burns_nothing() -> None:
    people = make_people(extra=[Person("probe", "canary", "canary")])
    driver, population = make_driver(make_task(), people, raised={"probe": flag.NO_WORK})
    state = driver.run()
    probe = population.pubkey("probe")
    assert state.canaries == (probe,)
    assert state.tallies[probe].earned == state.tallies[probe].slashed == 0
    assert probe not in state.widths_ppm


def test_validators_who_miss_the_probe_lose_what_was_held_back() -> None:
    people = make_people(extra=[Person("probe", "canary", "canary")])
    fooled, _ = make_driver(make_task(), people)  # nobody notices the probe
    wise, _ = make_driver(make_task(), people, raised={"probe": flag.NO_WORK})
    earned = []
    for driver in (fooled, wise):
        state = driver.run()
        judges = [k for k, m in state.members.items() if m.role == "validator"]
        earned.append(sum(state.tallies[k].earned for k in judges))
    lost, kept = earned
    assert lost < kept / 5


def test_equivocation_is_evidence() -> None:
    driver, population = make_driver(make_task(), make_people())
    state = driver.run()
    log = list(driver.log.read())
    first = next(r.event for r in log if r.event.kind == Kind.COMMIT)
    key = next(k for k in population.keys.values() if k.pubkey == first.pubkey)
    content = {**events.read_content(first), "commitment": "ab" * 32}
    second = events.sign_event(key, Kind.COMMIT, first.created_at, content)
    proof = {"task": state.task_id, "first": _as_dict(first), "second": _as_dict(second)}
    accuser = derive_key(b"x", "anyone")
    # replay up to just after the first commitment, then accuse
    state = _fold_until(log, first.id)
    accusation = events.sign_event(accuser, Kind.EVIDENCE, first.created_at, proof)
    last = next(r for r in log if r.event.id == first.id)
    outcome = step(state, append_record(last, last.time_ms, accusation))
    assert outcome.reject is None
    assert outcome.state.members[first.pubkey].state is NodeState.EJECTED
    assert len(outcome.state.evidence[first.pubkey]) == 1
    # the same event twice, or two that agree, prove nothing
    harmless = {**proof, "second": _as_dict(first)}
    accusation = events.sign_event(accuser, Kind.EVIDENCE, first.created_at, harmless)
    refused = step(state, append_record(last, last.time_ms, accusation))
    assert refused.reject is not None and refused.reject.reason == "no-contradiction"
    assert refused.state is state


def test_second_commitment_is_refused_as_equivocation() -> None:
    log, population = _run_log()
    first = next(r for r in log if r.event.kind == Kind.COMMIT)
    state = _fold_until(log, first.event.id)
    key = next(k for k in population.keys.values() if k.pubkey == first.event.pubkey)
    content = {**events.read_content(first.event), "commitment": "ab" * 32}
    event = events.sign_event(key, Kind.COMMIT, first.event.created_at, content)
    outcome = step(state, append_record(first, first.time_ms, event))
    assert outcome.reject is not None and outcome.reject.reason == "equivocation"
    assert outcome.reject.evidence["first"] == first.event.id
    assert outcome.state is state


def test_a_reveal_that_does_not_open_its_commitment_is_refused() -> None:
    log, population = _run_log()
    reveal = next(r for r in log if r.event.kind == Kind.REVEAL)
    state = _fold_until(log, log[reveal.height - 2].event.id)
    key = next(k for k in population.keys.values() if k.pubkey == reveal.event.pubkey)
    for name, value in (("blob", "cd" * 32), ("salt", "x")):
        content = {**events.read_content(reveal.event), name: value}
        event = events.sign_event(key, Kind.REVEAL, reveal.event.created_at, content)
        outcome = step(state, append_record(log[reveal.height - 2], reveal.time_ms, event))
        assert outcome.reject is not None and outcome.reject.reason == "commitment-mismatch"
        assert outcome.state is state


def test_a_stolen_commitment_does_not_open_for_the_thief() -> None:
    mine = commit_update("t", 1, 1, "alice", "blob", "salt")
    assert mine != commit_update("t", 1, 1, "mallory", "blob", "salt")
    assert mine != commit_update("t", 2, 1, "alice", "blob", "salt")


def test_every_member_may_only_speak_for_itself_and_in_its_phase() -> None:
    """Re-sign every event of a run with a stranger's key: none is accepted."""
    log, _ = _run_log()
    stranger = derive_key(b"stranger", "key")
    state, last = RunState(), None
    for record in log:
        if record.event.kind not in (Kind.TASK,):
            forged = events.sign_event(
                stranger,
                record.event.kind,
                record.event.created_at,
                events.read_content(record.event),
                record.event.tags,
            )
            outcome = step(state, append_record(last, record.time_ms, forged))
            assert outcome.reject is not None, record.event.kind
            assert outcome.state is state
        state = step(state, record).state
        last = record


@settings(max_examples=60, deadline=None)
@given(
    place=st.integers(min_value=1, max_value=60),
    data=st.data(),
)
def test_step_is_total_on_mangled_contents(place: int, data: st.DataObject) -> None:
    """Whatever a member signs, the machine answers with a state or a Reject, never an exception."""
    log, population = _run_log()
    record = log[min(place, len(log) - 1)]
    state = _fold_until(log, log[record.height - 2].event.id)
    content = dict(events.read_content(record.event))
    name = data.draw(st.sampled_from(sorted(content)))
    junk = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=80),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    )
    content[name] = data.draw(junk)
    keys = {k.pubkey: k for k in population.keys.values()}
    keys |= {k.pubkey: k for k in (population.customer, population.escrow, population.orderer)}
    try:
        event = events.sign_event(
            keys[record.event.pubkey], record.event.kind, EPOCH_S, content, record.event.tags
        )
    except ValueError:
        return  # what cannot be signed cannot arrive
    outcome = step(state, append_record(log[record.height - 2], record.time_ms, event))
    if outcome.reject is not None:
        assert outcome.state is state
    else:
        assert outcome.state.height == record.height


def test_pause_resume_halt_need_k_guardians_and_settle() -> None:
    driver, population = make_driver(
        make_task(rounds=3, governance={"guardians_required": 2}), make_people()
    )
    driver.run()
    log = list(driver.log.read())
    cut = next(i for i, r in enumerate(log) if r.event.kind == Kind.COMMIT)
    state, last = _fold_until(log, log[cut].event.id), log[cut]
    task = {"task": state.task_id, "reason": "drill"}
    for count, guardian in enumerate(population.guardians[:2]):
        event = events.sign_event(guardian, Kind.STOP, EPOCH_S, {**task, "action": "pause"})
        last = append_record(last, last.time_ms, event)
        state = step(state, last).state
        assert (state.phase is RunPhase.PAUSED) == (count == 1)
    blocked = events.sign_event(
        population.keys["t1"], Kind.COMMIT, EPOCH_S, events.read_content(log[cut + 1].event)
    )
    outcome = step(state, append_record(last, last.time_ms, blocked))
    assert outcome.reject is not None and outcome.reject.reason in ("paused", "wrong-phase")
    for guardian in population.guardians[1:3]:
        event = events.sign_event(guardian, Kind.STOP, EPOCH_S, {**task, "action": "halt"})
        last = append_record(last, last.time_ms, event)
        outcome = step(state, last)
        state = outcome.state
    assert state.phase is RunPhase.HALTED
    assert any(type(getattr(e, "command", None)).__name__ == "SettleFinal" for e in outcome.effects)


@pytest.mark.parametrize("table", [RUN_TABLE, ASSIGNMENT_TABLE, NODE_TABLE])
def test_tables_are_closed_and_every_state_can_be_reached(table: object) -> None:
    assert isinstance(table, dict)
    reachable = {next(iter(table))}
    while True:
        more = reachable | {after for state in reachable for after in table[state]}
        if more == reachable:
            break
        reachable = more
    assert reachable == set(table)


def test_an_illegal_transition_is_our_own_error() -> None:
    with pytest.raises(ValueError, match="FINISHED cannot become TRAINING"):
        check_transition(RUN_TABLE, RunPhase.FINISHED, RunPhase.TRAINING)


def test_a_record_that_skips_a_height_is_our_own_error() -> None:
    log, _ = _run_log()
    with pytest.raises(ValueError, match="does not follow"):
        step(RunState(), log[1])


def test_phases_end_early_when_nobody_is_left_to_wait_for() -> None:
    driver, _ = make_driver(make_task(), make_people())
    state = driver.run()
    assert state.time_ms < 20_000  # one train deadline alone would be 20 s
    assert state.round is None and RoundPhase.TRAIN in state.durations_ms


_CACHE: dict[str, tuple[list, object]] = {}


def _run_log() -> tuple[list, object]:
    if "log" not in _CACHE:
        driver, population = make_driver(make_task(rounds=1), make_people(3))
        driver.run()
        _CACHE["log"] = (list(driver.log.read()), population)
    return _CACHE["log"]


def _fold_until(log: list, event_id: str) -> RunState:
    state = RunState()
    for record in log:
        state = step(state, record).state
        if record.event.id == event_id:
            return state
    raise AssertionError("no such event")


def _as_dict(event: events.Event) -> dict[str, object]:
    document = dataclasses.asdict(event)
    document["tags"] = [list(tag) for tag in event.tags]
    return document


def test_one_lucky_round_in_five_is_no_claim_to_the_locked_part() -> None:
    assert is_established(Tally(rounds_judged=4, rounds_valid=1))
    assert not is_established(Tally(rounds_judged=5, rounds_valid=1))
    assert not is_established(Tally())
    assert not is_established(None)
