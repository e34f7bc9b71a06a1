"""What a new view must begin with."""

from __future__ import annotations

import dataclasses

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.proofs import BEGINNING
from kumiai.consensus.pbft.views import (
    NULL_DIGEST,
    compute_proposals,
    find_change_flaw,
    find_new_view_flaw,
    list_proposals,
)

from .conftest import SCHEME

A, B = "aa" * 32, "bb" * 32


def proof(view, place, digest) -> m.PreparedProof:
    return m.PreparedProof(view, place, digest, "", ())


def change(*prepared, stable=BEGINNING) -> m.ViewChange:
    return m.ViewChange(9, stable, prepared)


def test_the_highest_view_wins_and_gaps_are_filled():
    shown = [change(proof(0, 1, A), proof(0, 3, A)), change(proof(2, 1, B)), change()]
    assert compute_proposals(shown) == (BEGINNING, (B, NULL_DIGEST, A))


def test_nothing_prepared_nothing_proposed():
    assert compute_proposals([change(), change()]) == (BEGINNING, ())


def test_what_is_stable_somewhere_is_not_proposed_again():
    stable = m.StableProof(4, A, ())
    shown = [change(proof(0, 3, A), proof(0, 5, B)), change(stable=stable)]
    assert compute_proposals(shown) == (stable, (B,))


def prepare(bench, view, place, digest=A) -> m.PreparedProof:
    primary = bench.committee.get_primary(view)
    backups = [i for i in range(4) if i != primary][:2]
    return m.PreparedProof(
        view,
        place,
        digest,
        bench.sign(primary, m.PrePrepare(view, place, digest)).signature,
        tuple((i, bench.sign(i, m.Prepare(view, place, digest)).signature) for i in backups),
    )


def flaw(bench, body, sender=2) -> str:
    return find_change_flaw(bench.committee, SCHEME, 8, bench.sign(sender, body))


def test_a_view_change_must_prove_what_it_shows(bench):
    good = prepare(bench, 0, 1)
    assert flaw(bench, m.ViewChange(1, BEGINNING, (good,))) == ""
    cases = {
        "not in order": (prepare(bench, 0, 2), good),
        "in order": (good, good),
        "outside the 8": (prepare(bench, 0, 9),),
        "earlier view": (prepare(bench, 1, 1),),
        "proof does not hold": (dataclasses.replace(good, digest=B),),
        "does not hold": (dataclasses.replace(good, prepares=good.prepares[:1]),),
        "hold": (dataclasses.replace(good, prepares=(good.prepares[0],) * 2),),
        "a proof": (dataclasses.replace(good, proposal=good.prepares[0][1]),),
    }
    for words, shown in cases.items():
        assert words in flaw(bench, m.ViewChange(1, BEGINNING, shown))
    signed = bench.sign(1, m.ViewChange(1, BEGINNING, (good,)))
    assert "did not sign" in find_change_flaw(
        bench.committee, SCHEME, 8, dataclasses.replace(signed, sender=2)
    )


def test_a_primary_counts_once_among_those_who_prepared(bench):
    """Its proposal is its word: with its own prepare two replicas would pass for three."""
    good = prepare(bench, 0, 1)
    own = (0, bench.sign(0, m.Prepare(0, 1, A)).signature)
    assert flaw(
        bench,
        m.ViewChange(1, BEGINNING, (dataclasses.replace(good, prepares=(own, good.prepares[0])),)),
    )


def test_a_checkpoint_must_be_stable(bench):
    def stable(senders):
        body = m.Checkpoint(4, A)
        return m.StableProof(4, A, tuple((i, bench.sign(i, body).signature) for i in senders))

    assert flaw(bench, m.ViewChange(1, stable((0, 1, 3)), ())) == ""
    for senders in ((0, 1), (0, 1, 1), (3, 1, 0), (0, 1, 2, 3)):
        assert "not stable" in flaw(bench, m.ViewChange(1, stable(senders), ()))
    assert "not stable" in flaw(bench, m.ViewChange(1, m.StableProof(0, A, ()), ()))


def open_view(bench, changes, proposals=None, sender=1) -> str:
    shown = tuple(bench.sign(i, body) for i, body in changes.items())
    body = m.NewView(1, shown, ())
    if proposals is None:
        proposals = tuple(bench.sign(sender, each).signature for each in list_proposals(body)[1])
    signed = bench.sign(sender, dataclasses.replace(body, proposals=proposals))
    return find_new_view_flaw(bench.committee, SCHEME, 8, signed)


def test_a_new_view_is_what_follows_from_its_quorum(bench):
    full = m.ViewChange(1, BEGINNING, (prepare(bench, 0, 2),))
    empty = m.ViewChange(1, BEGINNING, ())
    changes = {0: empty, 2: full, 3: empty}
    assert open_view(bench, changes) == ""
    assert "does not lead" in open_view(bench, changes, sender=2)
    assert "each once" in open_view(bench, {0: empty, 2: full})
    assert "each once" in open_view(bench, {2: full, 0: empty, 3: empty})
    assert "no change to this view" in open_view(
        bench, {**changes, 3: m.ViewChange(2, BEGINNING, ())}
    )
    assert "signs 0 proposals where 2 follow" in open_view(bench, changes, proposals=())
    hidden = tuple(bench.sign(1, m.PrePrepare(1, place, NULL_DIGEST)).signature for place in (1, 2))
    assert "at 2 is not what follows" in open_view(bench, changes, proposals=hidden)
    forged = m.ViewChange(1, BEGINNING, (proof(0, 1, A),))
    assert "replica 3: a proof does not hold" in open_view(bench, {**changes, 3: forged})
