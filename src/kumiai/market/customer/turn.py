"""One step of the customer's machine under way: a copy of the state that may be changed."""

from __future__ import annotations

from collections.abc import Container

from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.market.customer.state import (
    CustomerPlan,
    CustomerState,
    Member,
    Phase,
    Work,
)
from kumiai.market.effects import Effect, Rejected
from kumiai.market.machine import Outcome, Scratch, keep_evidence
from kumiai.market.terms import JobTerms


class Turn(Scratch[CustomerState]):
    """The state being changed (`s`), and what this step asks for. Lives for one step only."""

    def __init__(self, plan: CustomerPlan, state: CustomerState, now_s: int) -> None:
        super().__init__(state)
        self.plan, self.now_s = plan, now_s
        self._effects: list[Effect] = []
        self._rejected: list[Rejected] = []

    def enter(self, phase: Phase) -> None:
        """Go to a phase."""
        self.set(phase=phase, phase_since_s=self.now_s)

    def ask(self, effect: Effect) -> None:
        """Ask for an effect, unless the very same is under way."""
        if effect.key not in self.s.pending:
            self.keep("pending", effect.key, effect)
            self._effects.append(effect)

    def drop(self, key: str) -> None:
        """Wait no longer for an effect's result."""
        self.forget("pending", key)

    def put_member(self, member: Member) -> None:
        """Keep a member's new standing."""
        self.keep("members", member.provider, member)

    def put_work(self, work: Work) -> None:
        """Keep a work's new stage."""
        self.keep("works", work.key, work)

    def refuse(self, reject: Reject, event: Event | None = None) -> None:
        """Keep what a peer did wrong, with the event that proves it."""
        item = Rejected(self.now_s, reject, event)
        self._rejected.append(item)
        self.set(rejected=keep_evidence(self.s.rejected, item, self._get_partners()))

    def _get_partners(self) -> Container[str]:
        return {*self.s.members, *self.terms.committee, *self.terms.jury}

    def derive(self, label: str) -> str:
        """Return 32 secret bytes as hex that only this customer can make again."""
        return sha256_hex(f"{self.plan.secret}/{label}".encode())

    @property
    def terms(self) -> JobTerms:
        """The job's terms, with references once it is posted."""
        return self.s.terms or self.plan.terms

    @property
    def job_id(self) -> str:
        """Id of the job's event, "" before it is posted."""
        return self.s.job.id if self.s.job is not None else ""

    def end(self) -> Outcome[CustomerState]:
        """The step's outcome."""
        return Outcome(self.s, tuple(self._effects), tuple(self._rejected))
