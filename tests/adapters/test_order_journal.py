"""A replica's journal: what was written is there after a crash, and no more than is needed."""

from __future__ import annotations

import sqlite3

import pytest

from kumiai.adapters.committee.journal import Journal, decode_entry, encode_entry
from kumiai.base.errors import StoreError
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.consensus.pbft.safety import (
    BatchPrepared,
    Safety,
    Stabilised,
    ViewEntered,
    ViewShown,
    Voted,
    recall,
)

A = "ab" * 32
REQUEST = m.Request("cd" * 32, 3, "do it", "ef" * 64)
PROOF = m.PreparedProof(1, 5, A, "0a", ((0, "0b"), (2, "0c")))
ENTRIES = [
    ViewEntered(3, True),
    ViewEntered(3, False, ((5, A), (6, A))),
    Voted("prepare", 1, 5, A),
    Voted("pre-prepare", 1, 5, A, m.Batch((REQUEST,), 7)),
    Voted("pre-prepare", 1, 6, A, m.NULL_BATCH),
    BatchPrepared(PROOF, m.Batch((REQUEST,), 7)),
    ViewShown(m.Signed(m.NewView(3, (), ("0a",)), 3, "0d")),
    Stabilised(m.StableProof(4, A, ((0, "0a"), (1, "0b"), (2, "0c")))),
]


def decided(place: int) -> m.Decided:
    return m.Decided(m.Batch((REQUEST,), 7), m.CommitProof(1, place, A, ((0, "0a"),)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_entries_come_back(entry):
    kind, _, body = encode_entry(entry)
    assert decode_entry(kind, body) == entry


def test_what_is_open_is_written_down_when_it_is_closed(path):
    journal = Journal(path, "us")
    journal.append(decided(1))
    journal.close()
    assert list(Journal(path, "us").read_decided()) == [decided(1)]


def test_a_checkpoint_makes_it_small_and_loses_nothing_that_counts(path):
    journal, safety = Journal(path, "us"), Safety(1, 4, 8)
    for view in range(1, 60):
        journal.persist(safety.leave_view(2 * view))
        journal.persist(safety.begin_view(2 * view, safety.stable, [(view + 2, A), (view + 3, A)]))
        for place in range(view, view + 4):
            journal.persist(safety.vote_prepare(2 * view, place, A) or ())
        journal.persist(safety.stabilise(m.StableProof(view, A, ())))
        assert recall(1, 4, 8, journal.read_entries()) == safety
    assert len(list(journal.read_entries())) < 20


@pytest.mark.parametrize(
    ("kind", "body"),
    [("view", b"[1]"), ("voted", b"{}"), ("stable", b"[1,2,3]"), ("other", b"[]"), ("view", b"x")],
)
def test_a_damaged_entry_is_an_error_and_not_a_guess(path, kind, body):
    journal = Journal(path, "us")
    journal.close()
    with sqlite3.connect(path) as file:
        file.execute("INSERT INTO entries VALUES (NULL, ?, 0, ?)", (kind, body))
    with pytest.raises(StoreError, match=r"journal\.sqlite.* entry"):
        list(Journal(path, "us").read_entries())


def test_every_failure_of_the_file_names_it(path):
    journal = Journal(path, "us")
    journal.append(decided(1))
    journal.keep_evidence(Equivocation(*(m.Signed(m.Prepare(0, 1, d), 2, "ff") for d in (A, A))))
    journal.close()
    with sqlite3.connect(path) as file:
        file.execute("UPDATE decided SET body = '[]'")
        file.execute("UPDATE evidence SET body = '[]'")
    journal = Journal(path, "us")
    for call in (
        lambda: list(journal.read_decided()),
        lambda: list(journal.read_evidence()),
    ):
        with pytest.raises(StoreError, match=r"journal\.sqlite"):
            call()
    with sqlite3.connect(path) as file:
        for table in ("entries", "decided", "evidence"):
            file.execute(f"DROP TABLE {table}")
    for call in (
        lambda: journal.persist((ViewEntered(1, True),)),
        lambda: journal.append(decided(2)),
        lambda: journal.keep_evidence(
            Equivocation(*(m.Signed(m.Prepare(0, 1, d), 2, "ff") for d in (A, A)))
        ),
        lambda: list(journal.read_entries()),
    ):
        with pytest.raises(StoreError, match=r"journal\.sqlite.*no such table"):
            call()


def test_evidence_is_kept_and_bounded(path):
    journal = Journal(path, "us")
    for place in range(20):
        votes = [m.Signed(m.Prepare(0, place, digest), 2, "ff") for digest in (A, "cd" * 32)]
        journal.keep_evidence(Equivocation(*votes))
    journal.sync()
    kept = list(Journal(path, "us").read_evidence())
    assert [found.first.body.sequence for found in kept] == list(range(8))


def test_a_journal_of_others_is_refused(path):
    Journal(path, "us").close()
    with pytest.raises(StoreError, match="belongs to committee us"):
        Journal(path, "them")
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="version 9"):
        Journal(path, "us")
    path.write_bytes(b"no database at all, but some text" * 50)
    with pytest.raises(StoreError, match="journal"):
        Journal(path, "us")
