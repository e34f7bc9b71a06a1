"""Whatever one traitor signs, in whatever state: no crash, no disagreement, bounded memory."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.base.canonical import INTEGER_MAX
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee
from kumiai.consensus.pbft.effects import Broadcast, Execute, Persist, Received, Send, TimePassed
from kumiai.consensus.pbft.proofs import BEGINNING, is_decided
from kumiai.consensus.pbft.replica import Replica, Settings

SCHEME = CheapScheme(0)
SIGNERS = [SCHEME.make_signer(f"replica {i}") for i in range(4)]
CLIENT = SCHEME.make_signer("client")
COMMITTEE = Committee("fuzz", 1, tuple(s.pubkey for s in SIGNERS), frozenset({CLIENT.pubkey}))
REQUESTS = [m.sign_request(CLIENT, number, f"operation {number}") for number in range(1, 6)]
BATCHES = [
    m.NULL_BATCH,
    m.Batch((REQUESTS[0],), 1),
    m.Batch((REQUESTS[1],), 10**9),
    m.Batch(tuple(REQUESTS), 2_000),
    m.Batch((REQUESTS[0],) * 2),
]
TRAITOR = 0  # the first primary

digests = st.sampled_from([batch.digest for batch in BATCHES] + ["ab" * 32])
numbers = st.one_of(st.integers(0, 3), st.integers(0, 10), st.sampled_from([2**40, INTEGER_MAX]))
signatures = st.tuples(st.integers(0, 5), st.sampled_from(["", "00" * 32]))
proofs = st.builds(
    m.PreparedProof,
    numbers,
    numbers,
    digests,
    st.just(""),
    st.lists(signatures, max_size=3).map(tuple),
)
stables = st.builds(m.StableProof, numbers, digests, st.lists(signatures, max_size=3).map(tuple))
changes = st.builds(
    m.ViewChange,
    numbers,
    st.one_of(st.just(BEGINNING), stables),
    st.lists(proofs, max_size=2).map(tuple),
)
signed_changes = changes.map(lambda body: m.sign(COMMITTEE, SIGNERS[TRAITOR], TRAITOR, body))
bodies = st.one_of(
    st.builds(m.Prepare, numbers, numbers, digests),
    st.builds(m.Commit, numbers, numbers, digests),
    st.builds(m.PrePrepare, numbers, numbers, digests),
    st.builds(m.Checkpoint, numbers, digests),
    st.builds(m.Status, numbers, st.booleans(), numbers),
    st.builds(m.Fetch, numbers, digests),
    changes,
    st.builds(
        m.NewView,
        numbers,
        st.lists(signed_changes, max_size=4).map(tuple),
        st.lists(st.just(""), max_size=3).map(tuple),
    ),
)
signed = bodies.map(lambda body: m.sign(COMMITTEE, SIGNERS[TRAITOR], TRAITOR, body))
forged = st.builds(dataclasses.replace, signed, sender=st.integers(0, 9))
proposals = st.builds(
    lambda view, place, batch: m.Proposal(
        m.sign(
            COMMITTEE,
            SIGNERS[TRAITOR],
            TRAITOR,
            m.PrePrepare(view, place, batch.digest),
        ),
        batch,
    ),
    st.sampled_from([0, 4, 1]),
    numbers,
    st.sampled_from(BATCHES),
)
decided = st.builds(
    lambda view, place, batch, commits: m.Decided(
        batch, m.CommitProof(view, place, batch.digest, commits)
    ),
    numbers,
    st.integers(0, 10),
    st.sampled_from(BATCHES),
    st.lists(signatures, max_size=4).map(tuple),
)
hostile = st.one_of(
    signed,
    forged,
    proposals,
    decided,
    st.builds(m.Found, numbers, st.sampled_from(BATCHES)),
    st.sampled_from(REQUESTS),
    st.builds(m.Request, st.just(CLIENT.pubkey), numbers, st.text(max_size=3), st.just("")),
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 3), hostile),
        st.tuples(st.just("deliver"), st.integers(0, 99), st.booleans()),
        st.tuples(st.just("time"), st.integers(1, 3), st.integers(1, 3_000)),
    ),
    min_size=40,
    max_size=80,
)


class Loyal:
    """Three loyal replicas and what they send each other."""

    def __init__(self) -> None:
        settings = Settings(interval=2, timeout_ms=1_000, resend_ms=100)
        self.replicas = {i: Replica(COMMITTEE, i, SIGNERS[i], SCHEME, settings) for i in (1, 2, 3)}
        self.mail: list[tuple[int, m.Message]] = []
        self.decided: dict[int, str] = {}
        self.now_ms = 0

    def give(self, index, given) -> None:
        replica = self.replicas[index]
        for effect in replica.step(given, self.now_ms, self.now_ms):
            if isinstance(effect, Broadcast):
                assert wire.decode(wire.encode(effect.message)) == effect.message
                self.mail += [(i, effect.message) for i in self.replicas if i != index]
            elif isinstance(effect, Send) and effect.replica in self.replicas:
                self.mail.append((effect.replica, effect.message))
            elif isinstance(effect, Execute):
                proof = effect.decided.proof
                assert self.decided.setdefault(proof.sequence, proof.digest) == proof.digest
            elif isinstance(effect, Persist):
                assert effect.entries
        self.check_memory(replica)

    def check_memory(self, replica) -> None:
        highest = max(replica.safety.stable.sequence, replica.executed) + replica.settings.window
        assert all(0 < place <= highest for place in replica.slots)
        slots = replica.slots.values()
        assert all(len(slot.votes) <= 12 and len(slot.batches) <= 2 for slot in slots)
        kept = [signed for slot in slots for signed in slot.votes.values()]
        assert all(m.is_signed(COMMITTEE, SCHEME, signed) for signed in kept)
        decided = [slot.decided.proof for slot in slots if slot.decided is not None]
        assert all(is_decided(COMMITTEE, SCHEME, proof) for proof in decided)
        assert all(len(own) <= 2 for own in replica.checkpoints.said.values())
        assert len(replica.changes.said) <= 4


@settings(max_examples=100)
@given(actions)
def test_a_traitor_may_say_anything(given_actions):
    world = Loyal()
    for kind, first, second in given_actions:
        if kind == "say":
            world.give(first, Received(second))
        elif kind == "time":
            world.now_ms += second
            world.give(first, TimePassed())
        elif world.mail:
            index, message = world.mail[first % len(world.mail)]
            if not second:
                world.mail.remove((index, message))
            world.give(index, Received(message))
