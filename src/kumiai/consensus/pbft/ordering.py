"""What a replica does once it believes something: vote, execute, and propose where it leads.

What `replica.Replica` does behind its door while a view lasts. Every signature passes `safety`
first, and what that wants written down is an effect before the message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kumiai.base.errors import Reject
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, Scheme, Signer, compute_digest
from kumiai.consensus.pbft.effects import (
    Accuse,
    Broadcast,
    Effect,
    Execute,
    Persist,
    Refuse,
)
from kumiai.consensus.pbft.gathering import Changes, Checkpoints, Patience
from kumiai.consensus.pbft.pool import Pool
from kumiai.consensus.pbft.proofs import FIRST_HEAD
from kumiai.consensus.pbft.safety import Entry, recall
from kumiai.consensus.pbft.slots import Slot


@dataclass(frozen=True)
class Settings:
    """interval: places between checkpoints; the window is two of them. pipeline_max: batches that
    are under way at once. Times in milliseconds. drift_ms: how far the clocks of two loyal
    replicas may be apart.
    """

    interval: int = 16
    batch_count_max: int = 100
    pipeline_max: int = 4
    timeout_ms: int = 2_000
    resend_ms: int = 500
    heartbeat_ms: int = 5_000
    drift_ms: int = 500

    @property
    def window(self) -> int:
        """How far above the stable checkpoint anything may be signed (the paper's L)."""
        return 2 * self.interval


class Ordering:
    """State and actions of one replica; see `replica.Replica`."""

    def __init__(
        self,
        committee: Committee,
        own: int,
        signer: Signer,
        scheme: Scheme,
        settings: Settings | None = None,
        journal: Iterable[Entry] = (),
        decided: Iterable[m.Decided] = (),
    ) -> None:
        """Begin, or go on after a crash with what `journal` and `decided` kept."""
        if committee.replicas[own] != signer.pubkey:
            raise ValueError(f"replica {own} of the committee has another key")
        self.committee, self.own = committee, own
        self.settings = settings or Settings()
        self._signer, self._scheme = signer, scheme
        self.safety = recall(own, committee.size, self.settings.window, journal)
        self.executed, self.head, self.time_ms = 0, FIRST_HEAD, 0
        self.pool = Pool()
        self.slots: dict[int, Slot] = {}
        self.checkpoints, self.changes = Checkpoints(), Changes()
        self.patience = Patience(self.settings.timeout_ms, committee.faulty_max + 1)
        self._answered_ms: dict[int, int] = {}
        self._found_ms: dict[tuple[int, int], int] = {}
        self._status_ms = 0
        self._effects: list[Effect] = []
        for each in decided:
            self._move_on(each)
        self._recall()

    @property
    def is_primary(self) -> bool:
        """Tell whether this replica leads its view."""
        return self.committee.get_primary(self.safety.view) == self.own

    # ---- effects ----

    def _persist(self, entries: tuple[Entry, ...]) -> None:
        if entries:
            self._effects.append(Persist(entries))

    def _broadcast(self, message: m.Message) -> None:
        if self.committee.size > 1:
            self._effects.append(Broadcast(message))

    def _sign(self, body: m.Body) -> m.Signed:
        return m.sign(self.committee, self._signer, self.own, body)

    def _sign_vote(self, body: m.Vote | m.Checkpoint) -> m.Signed:
        """Sign what `safety` was asked about, and nothing else."""
        if not self.safety.has_voted(body):
            raise ValueError(f"{body} is about to be signed without having been allowed")
        return self._sign(body)

    def _refuse(self, reason: str, detail: str, signed: m.Signed | None) -> None:
        evidence = {} if signed is None else {"sender": str(signed.sender)}
        self._effects.append(Refuse(Reject(reason, detail, evidence)))

    # ---- one place ----

    def _get_slot(self, place: int) -> Slot:
        return self.slots.setdefault(place, Slot())

    def _is_open(self, view: int, place: int) -> bool:
        """Tell whether proposals of this view are taken there now."""
        own = self.safety
        return view == own.view and not own.is_changing and own.is_in_window(place)

    def _keep(self, slot: Slot, signed: m.Signed) -> bool:
        """Keep a vote; accuse its sender where it contradicts another."""
        found = slot.add(signed)
        if found is not None:
            self._effects.append(Accuse(found))
        return found is None

    def _accept(self, place: int) -> None:
        """Vote for what this view's primary proposed here, if its batch is at hand."""
        slot, view = self._get_slot(place), self.safety.view
        proposal = slot.get_proposal(view, self.committee.get_primary(view))
        if proposal is None or not self._is_open(view, place):
            return
        assert isinstance(proposal.body, m.PrePrepare)
        digest = proposal.body.digest
        if digest not in slot.batches:
            self._broadcast(self._sign(m.Fetch(place, digest)))
            return
        if self.is_primary:
            return  # its proposal was its vote
        entries = self.safety.vote_prepare(view, place, digest)
        if entries is None:
            return
        self._persist(entries)
        vote = self._sign_vote(m.Prepare(view, place, digest))
        slot.add(vote)
        self.pool.place(slot.batches[digest].requests)
        self._broadcast(vote)
        self._advance(place)

    def _advance(self, place: int) -> None:
        """Commit to what is prepared, execute what is decided."""
        slot, view = self._get_slot(place), self.safety.view
        primary = self.committee.get_primary(view)
        has_committed = self.safety.votes.get((m.Commit.type, place), (-1, ""))[0] == view
        proof = None
        if not has_committed:
            proof = slot.find_prepared(view, primary, self.committee.quorum)
        if proof is not None and proof.digest in slot.batches and self._is_open(view, place):
            entries = self.safety.vote_commit(proof, slot.batches[proof.digest])
            if entries:
                self._persist(entries)
                vote = self._sign_vote(m.Commit(view, place, proof.digest))
                slot.add(vote)
                self._broadcast(vote)
        if slot.decided is None:
            decision = slot.find_decision(self.committee.quorum)
            if decision is not None and decision.digest in slot.batches:
                slot.decided = m.Decided(slot.batches[decision.digest], decision)
        self._execute()

    def _execute(self) -> None:
        """Execute what is decided, in order, and sign a checkpoint now and then."""
        while (slot := self.slots.get(self.executed + 1)) is not None and slot.decided is not None:
            requests = self._move_on(slot.decided)
            if not self.safety.is_in_window(self.executed):
                del self.slots[self.executed]
            self._effects.append(Execute(slot.decided, requests, self.time_ms))
            self.patience.succeed()
            if self.executed % self.settings.interval == 0:
                self._sign_checkpoint()

    def _move_on(self, decided: m.Decided) -> tuple[m.Request, ...]:
        """Count a decided batch as executed; return what of it had not been."""
        if decided.proof.sequence != self.executed + 1:
            raise ValueError(f"place {decided.proof.sequence} after {self.executed}")
        self.executed += 1
        self.head = compute_digest("head", self.head, decided.proof.digest)
        self.time_ms = max(self.time_ms, decided.batch.time_ms)
        return self.pool.execute(decided.batch.requests)

    def _sign_checkpoint(self) -> None:
        if self.executed <= self.safety.stable.sequence:
            return
        entries = self.safety.vote_checkpoint(self.executed, self.head)
        if entries is None:
            return
        self._persist(entries)
        signed = self._sign_vote(m.Checkpoint(self.executed, self.head))
        self._broadcast(signed)
        self._add_checkpoint(signed)

    def _add_checkpoint(self, signed: m.Signed) -> None:
        """Keep a checkpoint; where a quorum shares one, forget what lies below."""
        found = self.checkpoints.add(signed)
        if found is not None:
            self._effects.append(Accuse(found))
            return
        stable = self.checkpoints.find_stable(self.safety.stable.sequence, self.committee.quorum)
        if stable is not None:
            self._stabilise(stable)

    def _stabilise(self, stable: m.StableProof) -> None:
        """Move the window above a (checked) stable checkpoint if it is further than the last."""
        entries = self.safety.stabilise(stable)
        if not entries:
            return
        self._persist(entries)
        self._forget_below(stable.sequence)

    def _forget_below(self, stable: int) -> None:
        # what lies below is only of use to a replica that is behind, once it is decided
        kept = range(self.executed + 1, self.executed + self.settings.window + 1)
        self.slots = {
            place: slot
            for place, slot in self.slots.items()
            if place > stable or (slot.decided is not None and place in kept)
        }
        self._found_ms.clear()

    def _find_batch(self, place: int, digest: str) -> m.Batch | None:
        """Return the batch of a digest that was proposed or prepared at a place."""
        slot, kept = self.slots.get(place), self.safety.prepared.get(place)
        if kept is not None and kept[0].digest == digest:
            return kept[1]
        return slot.batches.get(digest) if slot is not None else None

    def _list_wanted(self, place: int) -> list[str]:
        """Return the digests whose batches are missing here."""
        slot = self._get_slot(place)
        view = self.safety.view
        proposal = slot.get_proposal(view, self.committee.get_primary(view))
        decision = None if slot.decided else slot.find_decision(self.committee.quorum)
        wanted = [decision.digest] if decision is not None else []
        if proposal is not None:
            assert isinstance(proposal.body, m.PrePrepare)
            wanted.append(proposal.body.digest)
        return [digest for digest in wanted if digest not in slot.batches]

    # ---- the primary ----

    def _propose(self, clock_ms: int) -> None:
        """Give waiting requests their places, as many batches at once as may be under way."""
        own = self.safety
        if not self.is_primary or own.is_changing:
            return
        while free := len(self.pool.free):
            under_way = [p for p in own.list_proposed() if p > self.executed]
            is_small = free < self.settings.batch_count_max and under_way
            place = max((self.executed, own.stable.sequence, *own.list_proposed())) + 1
            if len(under_way) >= self.settings.pipeline_max or is_small:
                return
            if not self._is_open(own.view, place):
                return
            requests = self.pool.take(self.settings.batch_count_max)
            self._propose_batch(place, m.Batch(requests, clock_ms))

    def _propose_batch(self, place: int, batch: m.Batch) -> None:
        view, digest = self.safety.view, batch.digest
        entries = self.safety.vote_pre_prepare(view, place, digest, batch)
        if entries is None:
            return
        self._persist(entries)
        signed = self._sign_vote(m.PrePrepare(view, place, digest))
        slot = self._get_slot(place)
        slot.add(signed)
        slot.keep_batch(digest, batch)
        self._broadcast(m.Proposal(signed, batch))
        self._advance(place)

    # ---- after a crash ----

    def _recall(self) -> None:
        """Take up again what was proposed and prepared; the votes themselves come from others."""
        for place, (proof, prepared) in self.safety.prepared.items():
            self._get_slot(place).keep_batch(proof.digest, prepared)
        for place in self.safety.list_proposed():
            batch = self.safety.proposed.get(place)
            digest = self.safety.get_voted("pre-prepare", place)
            if batch is not None and batch.digest == digest:
                self._get_slot(place).keep_batch(digest, batch)
                self.pool.place(batch.requests)
        kinds = {kind.type: kind for kind in (m.PrePrepare, m.Prepare, m.Commit)}
        for (phase, place), (view, digest) in self.safety.votes.items():
            if phase == m.Checkpoint.type:
                self.checkpoints.add(self._sign_vote(m.Checkpoint(place, digest)))
            else:
                self._get_slot(place).add(self._sign_vote(kinds[phase](view, place, digest)))
        if self.safety.is_changing:
            self.changes.add(self._sign_change())

    def _sign_change(self) -> m.Signed:
        own = self.safety
        return self._sign(m.ViewChange(own.view, own.stable, own.list_prepared()))
