"""Whatever one traitor signs, in whatever state: no crash, no disagreement, bounded memory."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.consensus.pbft.loyal import (
    BATCHES,
    CLIENT,
    COMMITTEE,
    REQUESTS,
    SIGNERS,
    TRAITOR,
    Loyal,
)

from kumiai.base.canonical import INTEGER_MAX
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.effects import Received, TimePassed
from kumiai.consensus.pbft.proofs import BEGINNING

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
