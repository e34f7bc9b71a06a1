"""What must hold after every message, whoever lies and whatever breaks."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, Scheme
from kumiai.consensus.pbft.effects import Execute
from kumiai.consensus.pbft.proofs import Equivocation, find_exclusive_place, is_equivocation
from kumiai.consensus.pbft.replica import Replica
from kumiai.consensus.pbft.safety import Entry, Voted
from kumiai.consensus.pbft.views import list_proposals

Note = tuple[str, int, int, str]


class ViolationError(AssertionError):
    """A promise of the order was broken."""


@dataclass
class Checks:
    """loyal: the replicas that keep to the protocol. decided: place -> digest, of all of them.

    ahead_ms_max: how far the order's clock may be ahead of the right time; times_ms: place -> time.

    executed: replica -> (client, timestamp). submitted: every request that a client signed.
    """

    committee: Committee
    scheme: Scheme
    loyal: frozenset[int]
    ahead_ms_max: int
    decided: dict[int, str] = field(default_factory=dict)
    executed: dict[int, set[tuple[str, int]]] = field(default_factory=dict)
    submitted: set[str] = field(default_factory=set)
    said: dict[tuple[object, ...], m.Body] = field(default_factory=dict)
    accused: set[int] = field(default_factory=set)
    times_ms: dict[int, int] = field(default_factory=dict)

    def on_sent(self, sender: int, message: m.Message, synced: Container[Note]) -> None:
        """One vote a view and place, written down before it left."""
        signed = message.order if isinstance(message, m.Proposal) else message
        if sender not in self.loyal or not isinstance(signed, m.Signed) or signed.sender != sender:
            return
        if isinstance(signed.body, m.NewView):
            for body in list_proposals(signed.body)[1]:
                self._check_once(sender, body)
        elif self._check_once(sender, signed.body) and to_note(signed.body) not in synced:
            raise ViolationError(f"replica {sender} sent {signed.body} before it was on the disk")

    def _check_once(self, sender: int, body: m.Body) -> bool:
        place = find_exclusive_place(body)
        if place is None:
            return False
        key = (sender, *place)
        if self.said.setdefault(key, body) != body:
            raise ViolationError(f"replica {sender} signed {self.said[key]} and {body}")
        return True

    def on_executed(self, replica: int, effect: Execute, clock_ms: int) -> None:
        """Agreement, validity, at most once, in order, at a time that loyal clocks have seen."""
        proof, requests = effect.decided.proof, effect.requests
        place, digest = proof.sequence, proof.digest
        if self.decided.setdefault(place, digest) != digest:
            raise ViolationError(f"replica {replica} decided otherwise at {place}")
        if self.times_ms.setdefault(place, effect.time_ms) != effect.time_ms:
            raise ViolationError(f"replica {replica} executed {place} at another time")
        if effect.time_ms < self.times_ms.get(place - 1, 0):
            raise ViolationError(f"the order's clock went back at {place}")
        if effect.time_ms > clock_ms + self.ahead_ms_max:
            raise ViolationError(f"the order's clock is ahead of every loyal one at {place}")
        own = self.executed.setdefault(replica, set())
        for request in requests:
            if request.digest not in self.submitted:
                raise ViolationError(f"{request} was executed and never submitted")
            if (request.client, request.timestamp) in own:
                raise ViolationError(f"replica {replica} executed {request} twice")
            own.add((request.client, request.timestamp))

    def on_restart(self, replica: int, decided: list[m.Decided]) -> None:
        """What was executed and not written down is executed again: that is no second time."""
        self.executed[replica] = {
            (request.client, request.timestamp)
            for each in decided
            for request in each.batch.requests
        }

    def on_accused(self, found: Equivocation) -> None:
        """No loyal replica can be proven guilty, and every accusation must prove something."""
        if not is_equivocation(self.committee, self.scheme, found):
            raise ViolationError(f"an accusation that proves nothing: {found}")
        if found.first.sender in self.loyal:
            raise ViolationError(f"loyal replica {found.first.sender} is proven guilty: {found}")
        self.accused.add(found.first.sender)

    def on_step(self, replica: Replica) -> None:
        """Bounded memory, and a window that only moves up."""
        window = replica.settings.window
        if len(replica.slots) > 2 * window or len(replica.safety.votes) > 4 * window:
            raise ViolationError(f"replica {replica.own} holds {len(replica.slots)} places")


def to_note(body: m.Body | Entry) -> Note:
    """Return what a vote and its entry in the journal have in common."""
    if isinstance(body, m.Checkpoint):
        return (body.type, 0, body.sequence, body.head)
    if isinstance(body, Voted):
        return (body.phase, body.view, body.sequence, body.digest)
    assert isinstance(body, m.PrePrepare | m.Prepare | m.Commit)
    return (body.type, body.view, body.sequence, body.digest)
