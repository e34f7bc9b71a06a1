"""One step of the provider's machine under way: a copy of the state that may be changed."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Any

from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.market.effects import Effect, Rejected
from kumiai.market.machine import Outcome, keep_evidence
from kumiai.market.nips.urls import is_public
from kumiai.market.provider.state import (
    Contract,
    ProviderPolicy,
    ProviderState,
    Work,
)
from kumiai.market.terms import JobTerms

_MAPPINGS = (
    "jobs",
    "job_events",
    "offers",
    "open_until_s",
    "contracts",
    "works",
    "disputes",
    "pending",
)


class Turn:
    """The state being changed (`s`), and what this step asks for. Lives for one step only."""

    def __init__(self, policy: ProviderPolicy, state: ProviderState, now_s: int) -> None:
        self.policy, self.now_s = policy, now_s
        copies: dict[str, Any] = {name: dict(getattr(state, name)) for name in _MAPPINGS}
        self.s = replace(state, **copies)
        self._effects: list[Effect] = []
        self._rejected: list[Rejected] = []

    def set(self, **fields: Any) -> None:
        """Change fields of the state."""
        self.s = replace(self.s, **fields)

    def ask(self, effect: Effect) -> None:
        """Ask for an effect, unless the very same is under way."""
        if effect.key not in self.s.pending:
            self.s.pending[effect.key] = effect  # type: ignore[index]  # our own copy
            self._effects.append(effect)

    def drop(self, key: str) -> None:
        """Wait no longer for an effect's result."""
        self.s.pending.pop(key, None)  # type: ignore[attr-defined]

    def keep(self, mapping: str, key: str, value: object) -> None:
        """Set one entry of one of the state's mappings."""
        getattr(self.s, mapping)[key] = value

    def forget(self, mapping: str, key: str) -> None:
        """Remove one entry of one of the state's mappings."""
        getattr(self.s, mapping).pop(key, None)

    def put_contract(self, contract: Contract) -> None:
        """Keep a contract's new standing."""
        self.keep("contracts", contract.id, contract)

    def put_work(self, work: Work) -> None:
        """Keep a work's new stage."""
        self.keep("works", work.key, work)

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
