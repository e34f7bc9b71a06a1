"""One replica of the order: an input at a time, effects out; no clock, no socket, no disk.

::

    REQUEST -> primary: PRE-PREPARE(batch) -> backups: PREPARE -> all: COMMIT -> Execute, in order

This module is the door: it believes nothing that it has not checked, and what it refuses changes
nothing. What follows from a message that holds is in `ordering`.

Inputs are messages, requests of the process's own client, and the passing of time. Effects are
carried out in order; what `Persist` holds must last before the next one. After a crash a replica is
made anew from its journal and its decided batches, and asks for what it missed.

Deviations from the paper: a request's client hears nothing from here (who wants the result reads
the order, in which each batch carries the quorum that decided it); a batch has a time, which its
primary proposes and backups compare with their clocks (section 4.6 there), and the order's clock is
the latest of them; lost messages are made good by
STATUS, to which whoever is ahead answers; decided batches are handed on with their proof instead of
a state with a digest. Memory: `slots` and the other rooms say their bounds.
"""

from __future__ import annotations

from kumiai.base.errors import Reject
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.changing import Changing
from kumiai.consensus.pbft.effects import Effect, Input, Received, Refuse, Send, Serve, Submitted
from kumiai.consensus.pbft.ordering import Settings
from kumiai.consensus.pbft.proofs import is_decided
from kumiai.consensus.pbft.slots import Slot
from kumiai.consensus.pbft.views import find_change_flaw, find_new_view_flaw, list_proposals

__all__ = ["Replica", "Settings"]

SERVED_MAX = 16  # decided batches sent for one STATUS


class Replica(Changing):
    """The machine. `step` is its only door; all else is for reading."""

    # ---- the door ----

    def step(self, given: Input, now_ms: int, clock_ms: int) -> tuple[Effect, ...]:
        """Take one input; return what must be done, in order.

        now_ms: a time that never goes back, for the timers. clock_ms: the time of day, of which the
        order makes its own.
        """
        self._effects = []
        if isinstance(given, Received):
            self._on_message(given.message, now_ms, clock_ms)
        elif isinstance(given, Submitted):
            self._on_request(given.request)
            self._broadcast(given.request)
        else:
            self._on_time(now_ms)
        self._propose(clock_ms)
        self._expect(now_ms)
        return tuple(self._effects)

    @property
    def next_deadline_ms(self) -> int:
        """When `TimePassed` is due."""
        deadline_ms = self.patience.deadline_ms
        return self._status_ms if deadline_ms is None else min(deadline_ms, self._status_ms)

    # ---- what comes in ----

    def _on_message(self, message: m.Message, now_ms: int, clock_ms: int) -> None:
        if isinstance(message, m.Request):
            self._on_request(message)
        elif isinstance(message, m.Proposal):
            self._on_proposal(message, clock_ms)
        elif isinstance(message, m.Decided):
            self._on_decided(message)
        elif isinstance(message, m.Found):
            self._on_found(message)
        elif message.sender != self.own:
            self._on_signed(message, now_ms)

    def _on_signed(self, signed: m.Signed, now_ms: int) -> None:
        body = signed.body
        if isinstance(body, m.Prepare | m.Commit):
            self._on_vote(signed)
        elif isinstance(body, m.Checkpoint):
            self._on_checkpoint(signed)
        elif isinstance(body, m.ViewChange):
            self._on_view_change(signed)
        elif isinstance(body, m.NewView):
            self._on_new_view(signed)
        elif isinstance(body, m.Status):
            self._on_status(signed, now_ms)
        elif isinstance(body, m.Fetch):
            self._on_fetch(signed, now_ms)
        else:
            self._refuse("bare-proposal", "a proposal came without its batch", signed)

    def _on_request(self, request: m.Request) -> None:
        flaw = self.pool.find_flaw(request)
        if not flaw and (request.client, request.timestamp) not in self.pool.waiting:
            flaw = m.find_request_flaw(self.committee, self._scheme, request)
            if not flaw:
                self.pool.add(request)
        if flaw and not self.pool.is_executed(request):
            detail = f"request {request.timestamp}: {flaw}"
            self._effects.append(Refuse(Reject("request", detail, {"client": request.client})))

    def _on_proposal(self, proposal: m.Proposal, clock_ms: int) -> None:
        signed = proposal.order
        body = signed.body
        if not isinstance(body, m.PrePrepare) or not self._is_open(body.view, body.sequence):
            return
        if signed.sender != self.committee.get_primary(body.view):
            self._refuse("not-primary", f"replica {signed.sender} does not lead", signed)
            return
        slot = self._get_slot(body.sequence)
        if slot.votes.get((body.type, signed.sender)) == signed and body.digest in slot.batches:
            return
        if not m.is_signed(self.committee, self._scheme, signed):
            self._refuse("forged", "its sender did not sign it", signed)
            return
        if proposal.batch.digest != body.digest:
            self._refuse("digest", "the batch is not the one that was signed", signed)
            return
        known = self.pool.waiting
        flaw = m.find_batch_flaw(self.committee, self._scheme, proposal.batch, known)
        if flaw:
            self._refuse("batch", flaw, signed)
            return
        if not self._is_timely(proposal.batch.time_ms, clock_ms):
            self._refuse("time", f"its time is {proposal.batch.time_ms}, here {clock_ms}", signed)
            return
        if self._keep(slot, signed):
            slot.keep_batch(body.digest, proposal.batch)
            for vote in slot.list_of(m.Prepare.type):
                self._show_other(slot, vote)
            self._accept(body.sequence)

    def _is_timely(self, time_ms: int, clock_ms: int) -> bool:
        """Tell whether a primary with a right clock may just have proposed this.

        It may be on its way for as long as one waits for a primary at most: that grows until the
        network keeps to it. What a new view takes over was judged by a quorum before.
        """
        drift_ms = self.settings.drift_ms
        late_ms = clock_ms - time_ms
        return -drift_ms <= late_ms <= drift_ms + self.patience.current_ms

    def _on_vote(self, signed: m.Signed) -> None:
        body = signed.body
        assert isinstance(body, m.Prepare | m.Commit)
        if not self.safety.is_in_window(body.sequence) or body.view < 0:
            return
        slot = self._get_slot(body.sequence)
        if slot.votes.get((body.type, signed.sender)) == signed:
            return
        if not m.is_signed(self.committee, self._scheme, signed):
            self._refuse("forged", "its sender did not sign it", signed)
        elif isinstance(body, m.Prepare) and signed.sender == self.committee.get_primary(body.view):
            self._refuse("primary-prepared", "the primary's proposal is its word", signed)
        elif self._keep(slot, signed):
            if isinstance(body, m.Prepare):
                self._show_other(slot, signed)
            self._advance(body.sequence)

    def _show_other(self, slot: Slot, prepare: m.Signed) -> None:
        """Show who accepted another proposal the one that came here: it then holds the proof."""
        body = prepare.body
        assert isinstance(body, m.Prepare)
        kept = slot.get_proposal(body.view, self.committee.get_primary(body.view))
        if kept is None or not isinstance(kept.body, m.PrePrepare) or prepare.sender == self.own:
            return
        batch = slot.batches.get(kept.body.digest)
        if kept.body.digest != body.digest and batch is not None:
            self._effects.append(Send(prepare.sender, m.Proposal(kept, batch)))

    def _on_checkpoint(self, signed: m.Signed) -> None:
        body = signed.body
        assert isinstance(body, m.Checkpoint)
        if body.sequence <= self.safety.stable.sequence or body.sequence % self.settings.interval:
            return
        if not m.is_signed(self.committee, self._scheme, signed):
            self._refuse("forged", "its sender did not sign it", signed)
            return
        self._add_checkpoint(signed)

    def _on_decided(self, decided: m.Decided) -> None:
        proof = decided.proof
        if not self.executed < proof.sequence <= self.executed + self.settings.window:
            return
        slot = self._get_slot(proof.sequence)
        if slot.decided is not None:
            return
        if not is_decided(self.committee, self._scheme, proof):
            self._refuse("undecided", f"no quorum decided place {proof.sequence}", None)
        elif decided.batch.digest != proof.digest:
            self._refuse("digest", "the batch is not the one that was decided", None)
        else:
            slot.decided = decided
            self._execute()

    def _on_found(self, found: m.Found) -> None:
        slot = self.slots.get(found.sequence)
        digest = found.batch.digest
        if slot is None or digest not in self._list_wanted(found.sequence):
            return
        known = self.pool.waiting
        if not m.find_batch_flaw(self.committee, self._scheme, found.batch, known):
            slot.keep_batch(digest, found.batch)
            self._accept(found.sequence)
            self._advance(found.sequence)

    def _on_view_change(self, signed: m.Signed) -> None:
        assert isinstance(signed.body, m.ViewChange)
        view, own = signed.body.view, self.safety
        if view < own.view or (view == own.view and not own.is_changing):
            return
        if self.changes.said.get(signed.sender) == signed:
            return
        flaw = find_change_flaw(self.committee, self._scheme, self.settings.window, signed)
        if flaw:
            self._refuse("view-change", flaw, signed)
            return
        self.changes.add(signed)
        followed = self.changes.find_followed(own.view, self.own, self.committee.faulty_max + 1)
        if followed is not None:
            self._leave(followed)
        self._open_view()

    def _on_new_view(self, signed: m.Signed) -> None:
        assert isinstance(signed.body, m.NewView)
        view, own = signed.body.view, self.safety
        if view < own.view or (view == own.view and not own.is_changing):
            return
        flaw = find_new_view_flaw(self.committee, self._scheme, self.settings.window, signed)
        if flaw:
            self._refuse("new-view", flaw, signed)
            return
        self._enter_view(view, *list_proposals(signed.body))
        self._persist(own.show_view(signed))
        self._begin(signed)

    def _on_status(self, signed: m.Signed, now_ms: int) -> None:
        body, sender = signed.body, signed.sender
        assert isinstance(body, m.Status)
        if now_ms < self._answered_ms.get(sender, 0) or not m.is_signed(
            self.committee, self._scheme, signed
        ):
            return
        self._answered_ms[sender] = now_ms + self.settings.resend_ms // 2
        if body.executed < self.executed:
            self._effects.append(Serve(sender, body.executed + 1, SERVED_MAX))
        self._help_view(body, sender)
        last = self.checkpoints.get_last(self.own)
        if last is not None:
            self._effects.append(Send(sender, last))
        if body.view == self.safety.view and not body.is_changing:
            self._repeat_votes(sender, body.executed)

    def _on_fetch(self, signed: m.Signed, now_ms: int) -> None:
        body = signed.body
        assert isinstance(body, m.Fetch)
        key = (signed.sender, body.sequence)
        batch = self._find_batch(body.sequence, body.digest)
        if batch is None or now_ms < self._found_ms.get(key, 0):
            return  # a batch is large: nobody gets it again and again
        if m.is_signed(self.committee, self._scheme, signed):
            self._found_ms[key] = now_ms + self.settings.resend_ms // 2
            self._effects.append(Send(signed.sender, m.Found(body.sequence, batch)))
