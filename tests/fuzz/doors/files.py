"""Files that a stranger hands over: a run's order, evidence, receipts; and single events."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz.doors import Door
from tests.fuzz.doors.pbft_wire import MESSAGES

from kumiai.adapters.store.order_file import read_order
from kumiai.apps import evidence, receipts
from kumiai.base import canonical, events
from kumiai.base.errors import StoreError
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, KeySigner
from kumiai.rounds.kinds import Kind, parse_content

KEYS = [derive_key(b"fuzz", f"replica {i}") for i in range(4)]
COMMITTEE = Committee("ab" * 32, 1, tuple(key.pubkey for key in KEYS), frozenset())
FOLDER = tempfile.TemporaryDirectory(prefix="kumiai-fuzz-")  # gone with this process


def write(data: bytes) -> Path:
    path = Path(FOLDER.name) / "given"
    path.write_bytes(data)
    return path


def knock_event(data: bytes) -> None:
    try:
        event = events.decode_event(data)
    except ValueError:
        return
    assert events.encode_event(event) == data
    flaw = events.check_event(event)
    assert flaw is None or isinstance(flaw, str)
    try:
        parse_content(event)
    except ValueError:
        return


def knock_order(data: bytes) -> None:
    try:
        found = list(read_order(write(data)))
    except StoreError:
        return
    assert b"".join(wire.encode(decided) + b"\n" for decided in found) == data


def knock_evidence(data: bytes) -> None:
    try:
        document = evidence.read_evidence_file(write(data))
        assert evidence.judge(document)
    except ValueError:
        return


def knock_receipt(data: bytes) -> None:
    try:
        document = receipts.read_receipt_file(write(data))
    except ValueError:
        return
    assert all(isinstance(problem, str) for problem in receipts.find_problems(document))


def make_evidence() -> bytes:
    signer = KeySigner(KEYS[0])
    votes = [m.sign(COMMITTEE, signer, 0, m.Prepare(1, 1, digest * 32)) for digest in ("ab", "cd")]
    document: dict[str, Any] = {
        "format": evidence.FORMAT,
        "cluster": COMMITTEE.cluster,
        "epoch": COMMITTEE.epoch,
        "replicas": list(COMMITTEE.replicas),
        "first": wire.write_signed(votes[0]),
        "second": wire.write_signed(votes[1]),
    }
    return canonical.encode(document)


def make_receipt() -> bytes:
    signed = events.decode_event(make_events()[0])
    numbers = ("pool", "weight", "weight_total", "gross", "to_backers", "locked", "amount")
    document = {
        "format": receipts.FORMAT,
        "certificate": {
            "task": "ab" * 32,
            "round": 1,
            "attempt": 0,
            "receipts_root": "cd" * 32,
            "receipts_count": 2,
        },
        "signatures": [canonical.decode(events.encode_event(signed), 10**6)],
        "receipt": {"task": "ab" * 32, "round": 1, "attempt": 0, **dict.fromkeys(numbers, "10")},
        "proof": {"index": 0, "size": 2, "path": ["ef" * 32]},
    }
    return canonical.encode(document)


def make_events() -> tuple[bytes, ...]:
    contents = (
        (Kind.COMMIT, {"task": "ab" * 32, "round": 1, "attempt": 0, "commitment": "cd" * 32}),
        (Kind.TICK, {"task": "ab" * 32, "round": 1, "attempt": 0}),
    )
    return tuple(
        events.encode_event(events.sign_event(KEYS[0], int(kind), 1, content, (("t", "x"),)))
        for kind, content in contents
    )


EVENT = Door("events", make_events(), knock_event)
ORDER = Door(
    "order",
    (b"", *(wire.encode(each) + b"\n" for each in MESSAGES[2:4]), wire.encode(MESSAGES[2]) * 2),
    knock_order,
)
EVIDENCE = Door("evidence", (make_evidence(),), knock_evidence)
RECEIPT = Door("receipts", (make_receipt(),), knock_receipt)
