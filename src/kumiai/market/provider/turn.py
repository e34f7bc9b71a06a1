"""One step of the provider's machine under way: a copy of the state that may be changed."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.market.effects import Effect, Rejected
from kumiai.market.machine import Outcome, Scratch, keep_evidence
from kumiai.market.nips.urls import is_public
from kumiai.market.provider.state import (
    OVER,
    Contract,
    ProviderPolicy,
    ProviderState,
    Stage,
    Work,
    list_names,
    name_result,
)
from kumiai.market.terms import JobTerms


class Turn(Scratch[ProviderState]):
    """The state being changed (`s`), and what this step asks for. Lives for one step only."""

    def __init__(self, policy: ProviderPolicy, state: ProviderState, now_s: int) -> None:
        super().__init__(state)
        self.policy, self.now_s = policy, now_s
        self._effects: list[Effect] = []
        self._rejected: list[Rejected] = []

    def ask(self, effect: Effect) -> None:
        """Ask for an effect, unless the very same is under way."""
        if effect.key not in self.s.pending:
            self.keep("pending", effect.key, effect)
            self._effects.append(effect)

    def drop(self, key: str) -> None:
        """Wait no longer for an effect's result."""
        self.forget("pending", key)

    def put_contract(self, contract: Contract) -> None:
        """Keep a contract's new standing."""
        self.keep("contracts", contract.id, contract)

    def put_work(self, work: Work) -> None:
        """Keep a work's new stage, and find it by what names it."""
        before = self.s.works.get(work.key)
        if before is None:
            self._add_work(work)
        self.keep("works", work.key, work)
        if work.result and (before is None or before.result != work.result):
            self.keep("names", name_result(work.result), work.key)
        if work.stage in OVER:
            self.forget("open_works", work.key)
        elif work.key not in self.s.open_works:
            self.keep("open_works", work.key, work.request.contract)
        if work.stage is Stage.FAILED and (before is None or before.stage is not Stage.FAILED):
            contract = self.get_contract(work)
            self.put_contract(replace(contract, failed_count=contract.failed_count + 1))

    def _add_work(self, work: Work) -> None:
        contract = self.get_contract(work)
        self.put_contract(replace(contract, asked_count=contract.asked_count + 1))
        for name in list_names(work.request):
            if name not in self.s.names:
                self.keep("names", name, work.key)

    def forget_work(self, work: Work) -> None:
        """Keep nothing of a work."""
        for name in (*list_names(work.request), name_result(work.result)):
            if self.s.names.get(name) == work.key:
                self.forget("names", name)
        for mapping in ("works", "open_works"):
            self.forget(mapping, work.key)

    def list_open(self, contract: str = "") -> list[Work]:
        """Return the works that are not over, oldest first; of one contract, if it is named."""
        open_works = self.s.open_works.items()
        return [self.s.works[key] for key, of in open_works if contract in ("", of)]

    def refuse(self, reason: str, detail: str, event: Event) -> None:
        """Keep what a peer did wrong, with the event that proves it."""
        evidence = {"event": event.id, "author": event.pubkey}
        self.refuse_with(Reject(reason, detail, evidence), event)

    def refuse_with(self, reject: Reject, event: Event | None) -> None:
        """As `refuse`, for a reject that was made already."""
        item = Rejected(self.now_s, reject, event)
        self._rejected.append(item)
        self.set(rejected=keep_evidence(self.s.rejected, item, self._get_partners()))

    def _get_partners(self) -> Container[str]:
        return {contract.customer for contract in self.s.contracts.values()}

    def derive(self, label: str) -> str:
        """Return 32 secret bytes as hex that only this provider can make again."""
        return sha256_hex(f"{self.policy.secret}/{label}".encode())

    def get_contract(self, work: Work) -> Contract:
        """Return the contract that a work belongs to."""
        return self.s.contracts[work.request.contract]

    def get_terms(self, work: Work) -> JobTerms:
        """Return the terms of the job that a work belongs to."""
        terms = self.get_contract(work).job_terms
        if terms is None:
            raise ValueError(f"contract {work.request.contract} has no terms yet")
        return terms

    def get_relays(self, job: str) -> tuple[str, ...]:
        """Return where the job asks for answers, as far as a stranger may send us there."""
        found = self.s.jobs.get(job)
        return tuple(filter(is_public, found.relays)) if found is not None else ()

    def end(self) -> Outcome[ProviderState]:
        """The step's outcome."""
        return Outcome(self.s, tuple(self._effects), tuple(self._rejected))
