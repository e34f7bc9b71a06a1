"""Epochs in runs: who sits, what becomes of the order and of traitors, and what ends an epoch."""

from __future__ import annotations

import dataclasses

import pytest
from tests.rounds.test_ordered_runs import (
    accuse_in,
    fold,
    make_world,
    people_with,
    run_ordered,
    say,
)
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.world import NetworkModel
from kumiai.adapters.undecided import RETRY_MS
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import KeySigner
from kumiai.consensus.pbft.effects import Execute
from kumiai.consensus.quorum import compute_quorum
from kumiai.rounds.control import make_committee
from kumiai.rounds.epochs import list_committee, open_epoch
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import step
from kumiai.rounds.state import NodeState, RunPhase, RunState

TERMS = {"validators": 7, "seats": 4, "epoch_rounds": 2}


def run_alone(rounds=5, network=None, **terms):
    """A run with one orderer: its driver and its final state."""
    task = make_task(rounds=rounds, validation={**TERMS, **terms})
    driver, population = make_driver(
        task, make_people(validators=task.validation.validators), network
    )
    return driver, population, driver.run()


@pytest.mark.parametrize("ordering", ["single", "committee"])
def test_each_epoch_has_its_committee_and_only_it_works(ordering):
    _, _, state = run_alone(ordering=ordering)
    assert state.phase is RunPhase.FINISHED
    assert [epoch.first_round for epoch in state.epochs] == [1, 3, 5]
    assert len({frozenset(epoch.seats) for epoch in state.epochs}) > 1
    for certificate in state.certificates[:-1]:
        (epoch,) = [e for e in state.epochs if 0 <= certificate.round - e.first_round < 2]
        assert certificate.body["committee"] == sorted(epoch.seats)
        assert len(certificate.signers) >= compute_quorum(4)
        assert {key for key, _ in certificate.signers} <= set(epoch.seats)
    seated = {key for epoch in state.epochs for key in epoch.seats}
    assert state.certificates[-1].body["committee"] == sorted(seated)
    earned = {
        k for k, t in state.tallies.items() if (t.earned and k in state.replicas) or k in seated
    }
    assert earned == seated


def test_batches_alone_give_the_log_over_all_epochs():
    driver, _, decided, state = run_ordered(
        make_people(validators=7),
        validation={"ordering": "committee", **TERMS},
        training={"rounds": 5},
    )
    assert len(state.epochs) == 3
    folded, heads = fold(decided)
    assert heads == [record.head for record in driver.log.read()]
    assert folded == state
    assert [each.proof.sequence for each in decided].count(1) == 4  # founders and three epochs


HARD = {
    "lost messages": NetworkModel(drop_ppm=100_000),
    "crashes": NetworkModel(crashes={"v0": ((2_000, 9_000),), "v3": ((12_000, 22_000),)}),
    "one gone for ever": NetworkModel(crashes={"v5": ((3_000, 10**9),)}),
    "cut off": NetworkModel(partitions=((9_000, 20_000, frozenset({"v1", "t0"})),)),
    "slow links": NetworkModel(delay_ms=(50, 400)),
}


@pytest.mark.parametrize("trouble", HARD)
def test_committees_follow_each_other_whatever_the_network_does(trouble):
    driver, _, decided, state = run_ordered(
        make_people(validators=7),
        network=HARD[trouble],
        validation={"ordering": "committee", **TERMS, "epoch_rounds": 1},
        deadlines={"enrol_ms": 120_000, "train_ms_max": 60_000},
    )
    assert state.phase is RunPhase.FINISHED
    assert len(state.epochs) >= 2
    assert fold(decided)[0] == state
    assert not driver.world.cluster.checks.accused


def test_a_traitor_leaves_the_order_with_the_epoch():
    people = people_with("equivocator")
    terms = {"ordering": "committee", "epoch_rounds": 1}
    _, population, decided, state = run_ordered(people, validation=terms)
    traitor = population.pubkey("v0")
    assert state.members[traitor].state is NodeState.EJECTED
    assert traitor in make_committee(state, 0).replicas
    assert traitor not in make_committee(state, len(state.epochs)).replicas
    assert fold(decided)[0] == state


def test_a_proof_counts_against_the_committee_of_its_epoch():
    driver, population, _, state = run_ordered(
        make_people(validators=7),
        validation={"ordering": "committee", **TERMS},
        training={"rounds": 5},
    )
    folded = RunState()
    for record in driver.log.read():
        if len(folded.epochs) == 2 and folded.round is not None:
            break
        folded = step(folded, record).state
    names = {population.pubkey(f"v{i}"): f"v{i}" for i in range(7)}
    committee = make_committee(folded, 1)
    signer = KeySigner(population.keys[names[committee.replicas[2]]])
    first, second = (
        wire.write_signed(m.sign(committee, signer, 2, m.Prepare(0, 1, digest)))
        for digest in ("ab" * 32, "cd" * 32)
    )
    for epoch, is_proof in ((1, True), (0, False), (2, False), (3, False), (-1, False)):
        content = {"task": state.task_id, "epoch": epoch, "first": first, "second": second}
        outcome = accuse_in(folded, population.customer, content)
        assert (outcome.reject is None) is is_proof
    accused = accuse_in(
        folded,
        population.customer,
        {"task": state.task_id, "epoch": 1, "first": first, "second": second},
    )
    assert accused.state.members[signer.pubkey].state is NodeState.EJECTED


@pytest.fixture(scope="module")
def running():
    """A run in its first epoch's second round."""
    driver, population, _ = run_alone()
    state = RunState()
    for record in driver.log.read():
        state = step(state, record).state
        if len(state.certificates) == 1:
            return state, population
    raise AssertionError("the run never got that far")


def leave(state, count, into=NodeState.WITHDRAWN):
    gone = dict.fromkeys(state.epochs[-1].seats[:count])
    members = {
        key: dataclasses.replace(member, state=into) if key in gone else member
        for key, member in state.members.items()
    }
    return dataclasses.replace(state, members=members)


@pytest.mark.parametrize("into", [NodeState.WITHDRAWN, NodeState.EJECTED])
def test_an_epoch_without_a_quorum_ends_early(running, into):
    state, _ = running
    assert open_epoch(leave(state, 1, into), 2).epochs == state.epochs
    ended = open_epoch(leave(state, 2, into), 2)
    assert [epoch.first_round for epoch in ended.epochs] == [1, 2]
    assert not {*ended.epochs[-1].seats} & {*state.epochs[0].seats[:2]}
    assert len(ended.epochs[-1].seats) == 4
    assert open_epoch(ended, 3).epochs == ended.epochs  # its rounds count from there
    assert len(open_epoch(ended, 4).epochs) == 3


def test_silence_takes_no_seat(running):
    """Who can cut an honest member off must not be able to take it out of the committee."""
    state, _ = running
    silent = leave(state, 4, NodeState.DROPPED)
    assert open_epoch(silent, 2).epochs == state.epochs
    assert list_committee(silent) == tuple(sorted(state.epochs[0].seats))


def test_one_committee_for_the_whole_run_where_no_epochs_are_asked_for():
    _, _, state = run_alone(epoch_rounds=0)
    assert [epoch.first_round for epoch in state.epochs] == [1]


def test_the_first_committee_is_of_the_largest_stakes():
    people = [
        dataclasses.replace(person, stake=1_000 + 10 * int(person.name[1:]))
        for person in make_people(validators=7)
    ]
    task = make_task(validation=TERMS)
    driver, population = make_driver(task, people)
    state = driver.run()
    largest = tuple(population.pubkey(f"v{i}") for i in (6, 5, 4, 3))
    assert state.epochs[0].seats == largest


def test_who_withholds_its_element_of_the_beacon_is_not_paid():
    late = NetworkModel(extra_delay_ms={("v1", int(Kind.BEACON)): 30_000})
    driver, population = make_driver(make_task(rounds=3), make_people(), late)
    state = driver.run()
    assert state.phase is RunPhase.FINISHED
    assert state.tallies[population.pubkey("v1")].earned == 0
    assert state.tallies[population.pubkey("v2")].earned > 0
    assert state.members[population.pubkey("v1")].state is NodeState.ACTIVE


def seat(world, *names):
    """Let these validators order from the next batch on."""
    keys = [place.signer.pubkey for place in world._all.values() if place.node in names]
    world.reseat(world.cluster.committee.epoch + 1, keys)


def test_the_batch_that_seats_another_committee_is_the_last_of_the_old_one():
    """Its other events still count; what was decided after it does not, and is ordered again."""
    read: list[m.Decided] = []
    first = make_world(on_decided=read.append)
    for i in range(12):
        first.send(f"t{i}", say(str(i)))
    while first.next() is not None:
        pass
    assert len(read) > 2
    inside = [len(decided.batch.requests) for decided in read]
    big = next(i for i, count in enumerate(inside[:-1]) if count > 1)
    seen: list[m.Decided] = []
    world = make_world(on_decided=seen.append)
    for decided in read:
        world.on_executed(0, Execute(decided, (), ""))
    arrived = [world.next() for _ in range(sum(inside[:big]) + 1)]
    seat(world, "v1", "v2", "v3")
    arrived += [world.next() for _ in range(inside[big] - 1)]
    assert len({happening.event.id for happening in arrived}) == sum(inside[: big + 1])
    assert world.next() is None
    assert seen == read[: big + 1]
    assert {place.node for place in world._places} == {"v1", "v2", "v3"}


def test_what_is_not_done_goes_to_the_new_committee_at_once():
    world = make_world(("", "", "mute", "mute"))
    world.send("t0", say("waits"))
    seat(world, "v0", "v1")
    arrived = world.next()
    assert arrived.event == say("waits")
    assert arrived.time_ms < RETRY_MS
