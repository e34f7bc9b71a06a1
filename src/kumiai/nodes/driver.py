"""The only loop: what happens in the world goes in, `step` decides, effects go out in order.

    world: an event has its place -> check its signature, fold -> persist -> wake members
              -> member's role -> actions -> sign and send, start work, move money

Persist before send: records are on durable storage before anybody is woken by them, and the results
of work are in the vault before they are used. The world is deterministic in its seed, so a killed
run resumes by running again from its start: every record re-created is compared with the log's, and
work already in the vault is not done twice.

The same loop serves the seeded simulator and real adapters; it knows neither.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kumiai.base import events
from kumiai.base.errors import InternalError, Reject
from kumiai.base.events import Event
from kumiai.base.keys import SigningKey
from kumiai.base.log import Record, append_record
from kumiai.nodes import ports, work
from kumiai.nodes.order import EPOCH_S
from kumiai.nodes.role import (
    Action,
    BuildModel,
    Input,
    JobDone,
    Memory,
    ModelBuilt,
    Pay,
    Publish,
    Role,
    Woken,
    Work,
)
from kumiai.nodes.sealing import ChainLedgerPort
from kumiai.rounds.control import describe_proof, is_known
from kumiai.rounds.effects import (
    Certified,
    Effect,
    MoneyMoved,
    Outcome,
    PhaseEntered,
    RunEnded,
    Sealed,
)
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import next_deadline_ms, step
from kumiai.rounds.settle import refund_command
from kumiai.rounds.state import RoundPhase, RunPhase, RunState
from kumiai.settlement.ledger import escrow_account

REJECTS_KEPT_MAX = 10_000
BUFFER_MAX = 256  # records; how much a crash may cost, all of it re-created on resume

_TRAINERS_WORK = frozenset(
    {
        RoundPhase.DEAL,
        RoundPhase.TRAIN,
        RoundPhase.REVEAL,
        RoundPhase.UNMASK,
        RoundPhase.CHALLENGE,
    }
)
_SETTING_UP = frozenset({RunPhase.DRAFT, RunPhase.FUNDED, RunPhase.ENROLLING})


class Observer(Protocol):
    """Whoever watches a run: progress displays and measurements. Must not change anything."""

    def on_record(self, record: Record, run: RunState) -> None: ...

    def on_effect(self, effect: Effect, run: RunState) -> None: ...

    def on_reject(self, event: Event, reject: Reject) -> None: ...

    def on_seconds(self, what: str, seconds: float) -> None: ...


class _Silent:
    """Watches nothing."""

    def on_record(self, record: Record, run: RunState) -> None: ...

    def on_effect(self, effect: Effect, run: RunState) -> None: ...

    def on_reject(self, event: Event, reject: Reject) -> None: ...

    def on_seconds(self, what: str, seconds: float) -> None: ...


@dataclass(slots=True)
class Driver:
    """One process's share of a run: its roles, its adapters, and the fold they all look at.

    `setup_roles` are woken by every record until enrolment is over (customer, escrow); `trainers`
    are the roles that have nothing to do while validators score.
    """

    roles: Mapping[str, Role]
    trainers: frozenset[str]
    setup_roles: tuple[str, ...]
    orderer: SigningKey
    world: ports.WorldPort
    compute: ports.ComputePort
    log: ports.LogPort
    ledger: ports.LedgerPort
    vault: ports.VaultPort
    observer: Observer = field(default_factory=_Silent)
    run_state: RunState = field(default_factory=RunState)
    rejects: list[tuple[Event, Reject]] = field(default_factory=list)
    reject_count: int = 0
    _memories: dict[str, Memory] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _buffer: list[Record] = field(default_factory=list)
    _last: Record | None = None
    _proven: list[ports.Proven] = field(default_factory=list)
    _waiting: dict[int, tuple[str, Work | BuildModel]] = field(default_factory=dict)
    _results: dict[int, Input] = field(default_factory=dict)
    _ticket: int = 0
    _armed_ms: int = -1

    def run(self) -> RunState:
        """Run until the run has ended or nothing can happen any more; return the final state."""
        self._memories = {name: Memory() for name in self.roles}
        self.world.wake(self.setup_roles)
        while (happening := self.world.next()) is not None:
            match happening:
                case ports.Arrived(event, time_ms):
                    self._take(event, time_ms)
                case ports.Proven():
                    self._proven.append(happening)
                    self._accuse()
                case ports.WokenUp(node):
                    self._give(node, Woken())
                case ports.WorkDue(node, ticket):
                    self._finish(node, ticket)
                case ports.DeadlineReached():
                    self._tick()
            if self.run_state.phase in (RunPhase.FINISHED, RunPhase.HALTED, RunPhase.FAILED):
                break
        self._flush()
        return self.run_state

    def submit(self, event: Event) -> None:
        """Take an event at once, as if it had just arrived (for tests and local tools)."""
        self._take(event, self.world.now_ms)

    def _take(self, event: Event, time_ms: int) -> None:
        """Check an ordered event and fold it. What is refused changes nothing and is kept."""
        if event.id in self._seen:
            self._refuse(event, Reject("replayed", "this very event was ordered before"))
            return
        problem = events.check_event(event)
        if problem is not None:
            self._refuse(event, Reject("forged", problem, {"id": event.id}))
            return
        record = append_record(self._last, time_ms, event)
        outcome = step(self.run_state, record)
        if outcome.reject is not None:
            self._refuse(event, outcome.reject)
            return
        self._accept(record, outcome)

    def _accept(self, record: Record, outcome: Outcome) -> None:
        """A record has come into being: remember, persist, react."""
        self._seen.add(record.event.id)
        self._last = record
        epoch_count = len(self.run_state.epochs)
        self.run_state = outcome.state
        for epoch in outcome.state.epochs[epoch_count:]:
            self.world.reseat(epoch.index, epoch.seats)
        self._buffer.append(record)
        if len(self._buffer) >= BUFFER_MAX:
            self._flush()
        self.observer.on_record(record, self.run_state)
        if self.run_state.phase in _SETTING_UP:
            self.world.wake(self.setup_roles)
        for effect in outcome.effects:
            self._carry_out(effect)
        deadline_ms = next_deadline_ms(self.run_state)
        # a committee's clock may be late: then a TICK passed no deadline, and another one must come
        is_late = record.event.kind == Kind.TICK and record.time_ms < self._armed_ms
        if deadline_ms is not None and (deadline_ms != self._armed_ms or is_late):
            self._armed_ms = deadline_ms
            self.world.arm(deadline_ms)
        if self._proven:
            self._accuse()

    def _carry_out(self, effect: Effect) -> None:
        self._flush()
        match effect:
            case PhaseEntered():
                self.world.wake(self._audience(effect))
            case MoneyMoved(command):
                self.ledger.apply(command)
            case RunEnded():
                self._refund()
            case Sealed(settled, signatures):
                if isinstance(self.ledger, ChainLedgerPort):
                    self.ledger.seal(settled, signatures)
            case Certified():
                pass
        self.observer.on_effect(effect, self.run_state)

    def _audience(self, effect: PhaseEntered) -> Sequence[str]:
        if effect.round_phase is None or effect.round_phase is RoundPhase.REVEAL:
            return tuple(self.roles)
        if effect.round_phase in _TRAINERS_WORK:
            return tuple(name for name in self.roles if name in self.trainers)
        return tuple(name for name in self.roles if name not in self.trainers)

    def _give(self, node: str, event: Input) -> None:
        role = self.roles[node]
        memory, actions = role.step(self._memories[node], self.run_state, event)
        self._memories[node] = memory
        for action in actions:
            self._perform(node, role, action)

    def _perform(self, node: str, role: Role, action: Action) -> None:
        match action:
            case Publish(kind, content):
                self.world.send(node, self._sign(role.key, kind, content))
            case Pay(command):
                self.ledger.apply(command)
            case Work() | BuildModel():
                self._ticket += 1
                self._waiting[self._ticket] = (node, action)
                job = action.job if isinstance(action, Work) else None
                self.world.start(node, self._ticket, job)

    def _finish(self, node: str, ticket: int) -> None:
        """The first result that is due makes all waiting jobs of its sort run as one batch."""
        if ticket not in self._results:
            self._flush()
            self._work_off(ticket)
        self._give(node, self._results.pop(ticket))

    def _work_off(self, ticket: int) -> None:
        sort = work.sort_of(self._waiting[ticket][1])
        # by name, not by who came first: the engine keeps a group's samples for the same group
        waiting = sorted(self._waiting.items(), key=lambda item: item[1][0])
        batch = {ticket: asked for ticket, (_, asked) in waiting if work.sort_of(asked) == sort}
        started = time.perf_counter()
        results = work.run_batch(list(batch.values()), self.compute, self.vault)
        self.observer.on_seconds(sort[0], time.perf_counter() - started)
        for (each, asked), result in zip(batch.items(), results, strict=True):
            del self._waiting[each]
            if isinstance(asked, BuildModel):
                assert isinstance(result, str)
                self._results[each] = ModelBuilt(result)
            elif isinstance(result, str):
                raise InternalError(f"work of sort {sort[0]} gave a bare text")
            else:
                self._results[each] = JobDone(asked.job.round, asked.attempt, result)

    def _tick(self) -> None:
        deadline_ms = next_deadline_ms(self.run_state)
        if deadline_ms is None or self.world.now_ms < deadline_ms:
            return  # the phase ended early
        content = {"task": self.run_state.task_id}
        self.world.post(self._sign(self.orderer, Kind.TICK, content))

    def _accuse(self) -> None:
        """Publish proofs of equivocation once their members are known to the run."""
        waiting, self._proven = self._proven, []
        for proven in waiting:
            if not is_known(self.run_state, proven.epoch, proven.found.first.sender):
                self._proven.append(proven)
                continue
            content = describe_proof(self.run_state, proven.epoch, proven.found)
            self._perform(proven.node, self.roles[proven.node], Publish(Kind.ORDER_PROOF, content))

    def _sign(self, key: SigningKey, kind: Kind, content: Mapping[str, object]) -> Event:
        now_ms = self.world.now_ms
        tags = (("t", str(now_ms)),) if kind is Kind.TICK else ()
        return events.sign_event(key, kind, EPOCH_S + now_ms // 1000, content, tags)

    def _refuse(self, event: Event, reject: Reject) -> None:
        self.reject_count += 1
        if len(self.rejects) < REJECTS_KEPT_MAX:
            self.rejects.append((event, reject))
        self.observer.on_reject(event, reject)

    def _refund(self) -> None:
        """Give the customer what the closed task did not spend; a second call finds nothing."""
        rest = self.ledger.balance(escrow_account(self.run_state.task_id))
        if self.run_state.funded and rest > 0:
            self.ledger.apply(refund_command(self.run_state, rest))

    def _flush(self) -> None:
        if self._buffer:
            started = time.perf_counter()
            self.log.append(self._buffer)
            self._buffer.clear()
            self.observer.on_seconds("persist", time.perf_counter() - started)
