"""Whole simulated runs with faults, and what must hold after every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.rounds.worlds import make_driver

from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Person, Population
from kumiai.base import events
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.base.log import Record
from kumiai.consensus.quorum import compute_quorum
from kumiai.nodes.driver import Driver
from kumiai.rounds.certificate import check_certificate
from kumiai.rounds.effects import Certified, Effect, PhaseEntered
from kumiai.rounds.kinds import Kind
from kumiai.rounds.receipt import hash_receipt
from kumiai.rounds.run import step
from kumiai.rounds.state import NodeState, RunPhase, RunState
from kumiai.settlement.ledger import burnt_account, escrow_account, stake_account
from kumiai.tasks.document import TaskDocument


@dataclass
class Watcher:
    """Keeps what went by: certified rounds, phases, refusals."""

    certified: list[Certified] = field(default_factory=list)
    phases: list[PhaseEntered] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    refused: list[Event] = field(default_factory=list)

    def on_record(self, record: Record, run: RunState) -> None: ...

    def on_effect(self, effect: Effect, run: RunState) -> None:
        if isinstance(effect, Certified):
            self.certified.append(effect)
        if isinstance(effect, PhaseEntered):
            self.phases.append(effect)

    def on_reject(self, event: Event, reject: Reject) -> None:
        self.rejects.append(reject)
        self.refused.append(event)

    def on_seconds(self, what: str, seconds: float) -> None: ...


@dataclass
class Finished:
    """A run that has ended, with everything to look at."""

    driver: Driver
    people: Population
    watcher: Watcher
    state: RunState

    def key(self, name: str) -> str:
        return self.people.pubkey(name)

    def reasons(self, name: str) -> list[str]:
        """The reason codes of this member's receipts, in order."""
        return [
            str(receipt["reason"])
            for certified in self.watcher.certified
            for receipt in certified.receipts
            if receipt["member"] == self.key(name)
        ]

    def earned(self, name: str) -> int:
        tally = self.state.tallies.get(self.key(name))
        return tally.earned if tally else 0


def simulate(
    task: TaskDocument,
    people: Sequence[Person],
    network: NetworkModel | None = None,
    quality: Mapping[str, int] | None = None,
    raised: Mapping[str, int] | None = None,
    behaviours: Mapping[str, str] | None = None,
) -> Finished:
    """Run to the end and check everything that holds for every run."""
    driver, population = make_driver(task, people, network, quality, raised, behaviours=behaviours)
    return finish(driver, population)


def finish(driver: Driver, population: Population) -> Finished:
    watcher = Watcher()
    driver.observer = watcher
    finished = Finished(driver, population, watcher, driver.run())
    check_invariants(finished)
    return finished


def check_invariants(finished: Finished) -> None:
    """Ended, money conserved, quorum under every certificate, no lost receipt, log folds anew."""
    state = finished.state
    assert state.phase in (RunPhase.FINISHED, RunPhase.FAILED, RunPhase.HALTED), state.phase
    _check_money(finished)
    log = list(finished.driver.log.read())
    _check_certificates(finished, {record.event.id: record.event for record in log})
    _check_receipts(finished)
    check_nobody_contradicts_itself(finished)
    again = RunState()
    for record in log:
        outcome = step(again, record)
        assert outcome.reject is None
        again = outcome.state
    assert again == state


def check_nobody_contradicts_itself(finished: Finished) -> None:
    """However often rounds are replayed, nobody honest signs what looks like equivocation."""
    ordered = [record.event for record in finished.driver.log.read()]
    said: dict[tuple[str, int, int, int], str] = {}
    for event in (*ordered, *finished.watcher.refused):
        if events.check_event(event) is not None:
            continue  # forged by a test
        content = events.read_content(event)
        is_ours = content.get("task") == finished.state.task_id
        if is_ours and event.kind in (Kind.COMMIT, Kind.SCORE_COMMIT, Kind.CERTIFY):
            slot = (event.pubkey, event.kind, content["round"], content["attempt"])
            assert said.setdefault(slot, event.content) == event.content, slot


def _check_money(finished: Finished) -> None:
    state, accounts = finished.state, finished.driver.ledger.accounts()  # type: ignore[attr-defined]
    assert sum(accounts.values()) == 0  # double entry
    if not state.funded:
        return
    assert accounts.get(escrow_account(state.task_id), 0) == 0  # all paid or refunded
    bound = [k for k in accounts if k.startswith(stake_account(state.task_id, "")) and accounts[k]]
    assert bound == []
    burnt = accounts.get(burnt_account(state.task_id), 0)
    people = {*state.members, *state.stakes, state.customer}
    held = sum(accounts.get(key, 0) for key in people)
    given = state.funded + sum(state.stakes.values()) + sum(d.amount for d in state.delegations)
    assert held + burnt == given
    if state.phase is RunPhase.FINISHED:
        earned = sum(tally.earned for tally in state.tallies.values())
        assert earned + accounts.get(state.customer, 0) == state.funded
        assert all(tally.earned >= 0 for tally in state.tallies.values())


def _check_certificates(finished: Finished, by_id: Mapping[str, Event]) -> None:
    previous = ""
    for certificate in finished.state.certificates:
        signers = [key for key, _ in certificate.signers]
        committee = certificate.body["committee"]
        assert isinstance(committee, list)
        assert len(set(signers)) == len(signers) >= compute_quorum(len(committee))
        signatures = [by_id[event_id] for _, event_id in certificate.signers]
        assert check_certificate(certificate.body, signatures) is None
        assert certificate.body["previous"] == previous
        previous = certificate.body_hash
    rounds = [certificate.round for certificate in finished.state.certificates]
    assert rounds == list(range(1, len(rounds) + 1))


def _check_receipts(finished: Finished) -> None:
    """Every active member has one receipt a round, and each names the member's one before."""
    heads: dict[str, str] = {}
    for certified in finished.watcher.certified:
        members = [str(receipt["member"]) for receipt in certified.receipts]
        assert len(set(members)) == len(members)
        for receipt in certified.receipts:
            member = str(receipt["member"])
            assert receipt["previous"] == heads.get(member, "")
            heads[member] = hash_receipt(receipt)
    assert heads == dict(finished.state.receipt_heads)


def who_is(finished: Finished, state: NodeState) -> set[str]:
    return {m.name for m in finished.state.members.values() if m.state is state}
