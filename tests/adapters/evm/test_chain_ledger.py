"""Simulated runs with the contract behind the ledger: both always have the same books."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.nodes.simulation import Finished, finish
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.evm.errors import RevertedError
from kumiai.adapters.evm.ledger import make_settle
from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Person, gather
from kumiai.apps.rundir import RunDir
from kumiai.apps.settling import ChainRun, open_chain_run
from kumiai.base import events
from kumiai.base.errors import InternalError
from kumiai.proofs import flags as flag
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import RunPhase
from kumiai.settlement.ledger import LedgerRejectError, SettleRound, Stake
from kumiai.tasks.document import TaskDocument

EVM = {"settlement": {"kind": "evm"}}
BACKERS = (
    Person("d0", "delegator", backs=(("t0", 500), ("v1", 300))),
    Person("d1", "delegator", backs=(("t0", 7),)),
)


@contextmanager
def open_run(tmp_path: Path, task: TaskDocument, people: Sequence[Person]) -> Iterator[ChainRun]:
    folder = tmp_path / "run"
    folder.mkdir()
    population = gather(task, people)
    run = open_chain_run(task, population, RunDir(folder), MemoryLedger(), None, lambda said: None)
    try:
        yield run
    finally:
        run.close()


def play(
    tmp_path: Path,
    task: TaskDocument,
    people: Sequence[Person],
    network: NetworkModel | None = None,
    **more: object,
) -> tuple[Finished, ChainRun]:
    with open_run(tmp_path, task, people) as run:
        driver, population = make_driver(
            task, people, network, place=run.place, ledger=run.ledger, **more
        )
        finished = finish(driver, population)
        run.finish(finished.state)
    return finished, run


@pytest.mark.parametrize("seed", range(4))
def test_hostile_worlds_leave_the_contract_even_with_the_ledger(tmp_path, seed):
    away = {"t1": ((2_000 + 900 * seed, 22_000),), "v2": ((9_000, 30_000 + 3_000 * seed),)}
    network = NetworkModel(seed=seed, crashes=away, drop_ppm=30_000 * (seed % 3))
    seated = {"validators": 5, "seats": 4 + seed % 2, "epoch_rounds": 2, "canaries": 0}
    task = make_task(rounds=3, validators=5, validation=seated, **EVM)
    people = make_people(4, 5, BACKERS)
    finished, run = play(tmp_path, task, people, network, behaviours={"t3": "free-rider"})
    assert finished.state.phase is RunPhase.FINISHED
    assert run.record["differing"] == [] and run.is_even


def test_evidence_costs_stake_on_the_chain_too(tmp_path):
    task = make_task(rounds=3, rewards={"slash": 0.25}, **EVM)
    finished, run = play(tmp_path, task, make_people(), raised={"t2": flag.DUPLICATE})
    assert run.is_even
    burnt = sum(s.amount for settled in run.ledger.settled for s in settled.slashes)
    tallies = finished.state.tallies
    assert burnt == sum(tally.slashed for tally in tallies.values())


def test_a_run_that_ends_early_says_what_is_left_to_do(tmp_path):
    """Three of four validators fall silent: no quorum is left, and nobody can sign an end."""
    task, people = make_task(rounds=6, **EVM), make_people()
    forever = 10**9
    away = {"v1": ((7_000, forever),), "v2": ((7_000, forever),), "v3": ((7_000, forever),)}
    finished, run = play(tmp_path, task, people, NetworkModel(crashes=away))
    assert finished.state.phase is not RunPhase.FINISHED
    assert not run.is_even
    assert "expire" in run.record["unsettled"]
    assert run.record["differing"]  # the stakes are still there


def test_a_task_that_never_began_is_cancelled(tmp_path):
    task, people = make_task(**EVM), make_people()
    forever = 10**9
    away = {person.name: ((0, forever),) for person in people if person.role == "validator"}
    finished, run = play(tmp_path, task, people, NetworkModel(crashes=away))
    assert finished.state.phase is RunPhase.FAILED
    assert [each.sort for each in run.ledger.sent].count("close") == 1
    assert run.record["differing"] == []


def test_what_the_rules_refuse_is_not_sent(tmp_path):
    task, people = make_task(**EVM), make_people()
    with open_run(tmp_path, task, people) as run:
        sent = len(run.ledger.sent)
        name = run.population.pubkey("t0")
        with pytest.raises(LedgerRejectError):
            run.ledger.apply(Stake("k", "task", name, 10**30))
        with pytest.raises(InternalError, match="no signatures"):
            run.ledger.apply(SettleRound("r", "task", 1, (), 0))
        assert len(run.ledger.sent) == sent


def test_one_signature_less_and_the_contract_refuses(tmp_path):
    task, people = make_task(rounds=2, **EVM), make_people()
    with open_run(tmp_path, task, people) as run:
        driver, population = make_driver(task, people, place=run.place, ledger=run.ledger)
        finish(driver, population)
        run.ledger.wait()
        settled = run.ledger.settled[-1]
        record = [r.event for r in driver.log.read() if r.event.kind == Kind.CERTIFY][-1]
        signature = events.read_content(record)["chain"]
        funds = {k.pubkey: n for n, k in population.keys.items()}
        address = run.ledger.cast.accounts[record.pubkey].address
        assert funds[record.pubkey].startswith("v")
        call = make_settle(settled, [(address, signature)])
        sender = run.ledger.sender
        with pytest.raises(RevertedError, match=r"NoQuorum|WrongStatus"):
            sender.ask(sender.node.call(run.place.arena, call))
