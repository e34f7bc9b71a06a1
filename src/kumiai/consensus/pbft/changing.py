"""What a replica does when time passes: change its view, ask for what it lacks, help the others."""

from __future__ import annotations

from collections.abc import Iterable

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.effects import Send
from kumiai.consensus.pbft.ordering import Ordering
from kumiai.consensus.pbft.views import NULL_DIGEST, list_proposals

FORWARDED_MAX = 16  # waiting requests sent to the primary at a time


class Changing(Ordering):
    """See `replica.Replica`."""

    # ---- views ----

    def _leave(self, view: int) -> None:
        """Leave for a later view and say what was prepared so far."""
        self._persist(self.safety.leave_view(view))
        self.patience.give_up()
        signed = self._sign_change()
        self.changes.add(signed)
        self._broadcast(signed)
        self._open_view()

    def _open_view(self) -> None:
        """As its primary, begin the view that a quorum has changed to."""
        own = self.safety
        changes = self.changes.list_for(own.view)
        if not (own.is_changing and self.is_primary and len(changes) >= self.committee.quorum):
            return
        shown = tuple(changes[: self.committee.quorum])
        stable, proposals = list_proposals(m.NewView(own.view, shown, ()))
        self._enter_view(own.view, stable, proposals)
        for body in proposals:
            batch = self._find_batch(body.sequence, body.digest)
            if not own.is_in_window(body.sequence):
                continue  # below this replica's own checkpoint: only one digest can be shown there
            entries = own.vote_pre_prepare(body.view, body.sequence, body.digest, batch)
            if entries is None:
                return  # another NEW-VIEW was signed before a crash: this view stays closed
            self._persist(entries)
        signatures = tuple(self._sign(body).signature for body in proposals)
        signed = self._sign(m.NewView(own.view, shown, signatures))
        self._persist(own.show_view(signed))
        self._broadcast(signed)
        self._begin(signed)

    def _enter_view(
        self, view: int, stable: m.StableProof, proposals: Iterable[m.PrePrepare]
    ) -> None:
        """Begin a view as its NEW-VIEW says, and write all of that down at once."""
        pairs = [(body.sequence, body.digest) for body in proposals]
        self._persist(self.safety.begin_view(view, stable, pairs))
        self._forget_below(self.safety.stable.sequence)

    def _begin(self, signed: m.Signed) -> None:
        """Work on what a NEW-VIEW that holds proposes."""
        assert isinstance(signed.body, m.NewView)
        self.pool.begin_view()
        self.patience.oldest = None
        _, proposals = list_proposals(signed.body)
        for body, signature in zip(proposals, signed.body.proposals, strict=True):
            if not self.safety.is_in_window(body.sequence):
                continue
            slot = self._get_slot(body.sequence)
            kept = self._find_batch(body.sequence, body.digest)
            if body.digest == NULL_DIGEST:
                kept = m.NULL_BATCH
            if kept is not None:
                slot.keep_batch(body.digest, kept)
                self.pool.place(kept.requests)
            if self._keep(slot, m.Signed(body, signed.sender, signature)):
                self._accept(body.sequence)
                self._advance(body.sequence)

    # ---- time ----

    def _expect(self, now_ms: int) -> None:
        """Give the oldest work its deadline, and say soon what is missing where some is."""
        self._expect_work(now_ms)
        if self._is_busy():
            self._status_ms = min(self._status_ms, now_ms + self.settings.resend_ms)

    def _is_busy(self) -> bool:
        return self.safety.is_changing or self.patience.oldest is not None

    def _expect_work(self, now_ms: int) -> None:
        own = self.safety
        if own.is_changing:
            # some may be further already, and what they said of this view may have been lost
            is_ready = self.changes.count_from(own.view) >= self.committee.quorum
            self.patience.expect(("view", own.view) if is_ready else None, now_ms)
            return
        oldest: object = self.pool.get_oldest()
        if oldest is None:
            # only what the primary proposed: another's votes alone must not start the clock
            slots = ((p, slot) for p, slot in self.slots.items() if p > self.executed)
            primary = self.committee.get_primary(own.view)
            places = [p for p, slot in slots if slot.get_proposal(own.view, primary) is not None]
            oldest = ("place", min(places)) if places else None
        self.patience.expect(oldest, now_ms)

    def _on_time(self, now_ms: int) -> None:
        """Give up on a primary that let work lie; tell the others where this replica stands."""
        own = self.safety
        if self.patience.is_over(now_ms):
            self._leave(own.view + 1)
        if now_ms < self._status_ms:
            return
        is_busy = self._is_busy()
        is_behind = any(place > self.executed for place in self.slots)
        is_behind = is_behind or own.stable.sequence > self.executed
        pause_ms = self.settings.resend_ms if is_busy or is_behind else self.settings.heartbeat_ms
        self._status_ms = now_ms + pause_ms
        self._broadcast(self._sign(m.Status(own.view, own.is_changing, self.executed)))
        if is_busy:
            self._ask_again()

    def _ask_again(self) -> None:
        """Send once more what may have been lost: requests to the primary, wishes for batches."""
        primary = self.committee.get_primary(self.safety.view)
        if self.safety.is_changing:
            self._broadcast(self._sign_change())
        elif primary != self.own:
            for request in list(self.pool.waiting.values())[:FORWARDED_MAX]:
                self._effects.append(Send(primary, request))
        for place in sorted(self.slots):
            for digest in self._list_wanted(place):
                self._broadcast(self._sign(m.Fetch(place, digest)))

    # ---- those who are behind ----

    def _help_view(self, status: m.Status, sender: int) -> None:
        """Show a replica the view that it has not entered, or that this one wants to leave."""
        own = self.safety
        if own.is_changing:
            self._effects.append(Send(sender, self._sign_change()))
        elif own.shown is not None and (
            status.view < own.view or (status.view == own.view and status.is_changing)
        ):
            self._effects.append(Send(sender, own.shown))

    def _repeat_votes(self, sender: int, executed: int) -> None:
        """Send this replica's votes of the view again, for what the other has not executed."""
        for place in sorted(self.slots):
            if place <= executed:
                continue
            slot = self.slots[place]
            for vote in slot.list_votes(self.own, self.safety.view):
                body = vote.body
                if isinstance(body, m.PrePrepare):
                    batch = slot.batches.get(body.digest)
                    if batch is not None:
                        self._effects.append(Send(sender, m.Proposal(vote, batch)))
                else:
                    self._effects.append(Send(sender, vote))
