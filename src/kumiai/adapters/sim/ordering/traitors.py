"""Replicas that lie. Each runs the honest machine and betrays what it sends.

::

    mute     says nothing
    twin     two machines with one key, each for one half of the others: both look honest
    liar     other words to each receiver: other batches, digests, views; old and forged messages
    forker   as primary proposes one batch to most and another to one
    hider    hides what it prepared when views change, opens views with what it likes, keeps commits
             from some
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, Signer
from kumiai.consensus.pbft.proofs import BEGINNING
from kumiai.consensus.pbft.views import NULL_DIGEST, list_proposals

HEARD_MAX = 64
LIE = 0.3  # of a liar's messages
REPLAY = 0.1


class Traitor:
    """Changes what one replica sends to each receiver."""

    def __init__(self, kind: str, committee: Committee, own: int, signer: Signer, seed: int):
        self.kind, self._committee, self._own, self._signer = kind, committee, own, signer
        self._rng = random.Random(f"traitor/{seed}/{own}")
        self._heard: deque[m.Message] = deque(maxlen=HEARD_MAX)
        self.side = frozenset(r for r in range(committee.size) if self._rng.random() < 0.5)

    def hear(self, message: m.Message) -> None:
        """Remember what may be said again later."""
        self._heard.append(message)

    def betray(self, message: m.Message, receiver: int) -> list[m.Message]:
        """Return what this receiver is sent in the message's place."""
        if self.kind == "mute":
            return []
        if self.kind == "liar":
            return self._lie(message)
        if self.kind == "hider":
            return self._hide(message, receiver)
        if self.kind == "forker" and receiver == (self._own - 1) % self._committee.size:
            return [self._fork(message)]
        return [message]

    def _lie(self, message: m.Message) -> list[m.Message]:
        rng = self._rng
        sent = [message]
        if self._heard and rng.random() < REPLAY:
            sent.append(rng.choice(self._heard))
        if rng.random() > LIE:
            return sent
        if isinstance(message, m.Proposal):
            sent[0] = self._propose_other(message)
        elif isinstance(message, m.Signed):
            sent[0] = self._say_other(message)
        return sent

    def _propose_other(self, proposal: m.Proposal) -> m.Proposal:
        body = proposal.order.body
        assert isinstance(body, m.PrePrepare)
        requests, time_ms = proposal.batch.requests, proposal.batch.time_ms
        batch = self._rng.choice(
            (
                m.Batch(requests[::-1], time_ms),
                m.Batch(requests[1:], time_ms),
                m.Batch(requests, time_ms + self._rng.choice((-100, 100, 3_600_000))),
                m.NULL_BATCH,
            )
        )
        return m.Proposal(self._sign(replace(body, digest=batch.digest)), batch)

    def _fork(self, message: m.Message) -> m.Message:
        if not isinstance(message, m.Proposal):
            return message
        batch = m.Batch((), message.batch.time_ms)
        body = replace(message.order.body, digest=batch.digest)  # type: ignore[type-var]
        return m.Proposal(self._sign(body), batch)

    def _say_other(self, signed: m.Signed) -> m.Signed:
        body, rng = signed.body, self._rng
        if isinstance(body, m.PrePrepare | m.Prepare | m.Commit):
            known = [
                heard.body.digest
                for heard in self._heard
                if isinstance(heard, m.Signed) and isinstance(heard.body, m.Prepare | m.Commit)
            ]
            change: dict[str, int | str] = rng.choice(
                (
                    {"digest": rng.choice([NULL_DIGEST, *known])},
                    {"view": max(0, body.view + rng.choice((-1, 1, 10**9)))},
                    {"sequence": max(0, body.sequence + rng.choice((-1, 1, 7, 10**9)))},
                )
            )
            kind = rng.choice((m.Prepare, m.Commit, m.PrePrepare))
            fields = {"view": body.view, "sequence": body.sequence, "digest": body.digest}
            return self._sign(kind(**{**fields, **change}))  # type: ignore[arg-type]
        if isinstance(body, m.Checkpoint):
            return self._sign(replace(body, head=NULL_DIGEST))
        if isinstance(body, m.Status):
            return self._sign(replace(body, executed=rng.randrange(10**6), view=10**6))
        # somebody else's name under it
        return m.Signed(body, rng.randrange(self._committee.size), signed.signature)

    def _hide(self, message: m.Message, receiver: int) -> list[m.Message]:
        if not isinstance(message, m.Signed):
            return [message]
        body = message.body
        if isinstance(body, m.ViewChange):
            return [self._sign(replace(body, stable=BEGINNING, prepared=()))]
        if isinstance(body, m.NewView) and self._rng.random() < 0.5:
            return [self._open_as_it_likes(body)]
        if isinstance(body, m.Commit) and receiver in self.side:
            return []
        return [message]

    def _open_as_it_likes(self, body: m.NewView) -> m.Signed:
        """A NEW-VIEW whose proposals do not follow from what it shows."""
        _, proposals = list_proposals(body)
        emptied = tuple(
            self._sign(replace(proposal, digest=NULL_DIGEST)).signature for proposal in proposals
        )
        return self._sign(replace(body, proposals=emptied))

    def _sign(self, body: m.Body) -> m.Signed:
        return m.sign(self._committee, self._signer, self._own, body)
