"""Evidence files: two signatures that contradict each other, and all that is needed to judge them.

A file holds what one replica of an ordering committee signed, twice at one place, and the committee
that it signed for. Whoever has it needs neither the run nor its members to see the fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumiai.base import canonical, events
from kumiai.base.events import Event
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, Schnorr
from kumiai.consensus.pbft.messages import Vote
from kumiai.consensus.pbft.proofs import Equivocation, is_equivocation
from kumiai.rounds.control import make_committee
from kumiai.rounds.state import RunState

FORMAT = "kumiai/evidence/1"
FILE_BYTES_MAX = 1_000_000
_FIELDS = {"format", "cluster", "epoch", "replicas", "first", "second"}


def make_evidence_file(state: RunState, event: Event) -> tuple[str, bytes]:
    """Return (whose fault it is, the file's bytes) for an event that the fold has accepted."""
    content = events.read_content(event)
    committee = make_committee(state, content["epoch"])
    found = _read(content)
    document = {
        "format": FORMAT,
        "cluster": committee.cluster,
        "epoch": committee.epoch,
        "replicas": list(committee.replicas),
        "first": content["first"],
        "second": content["second"],
    }
    return committee.replicas[found.first.sender], canonical.encode(document)


def read_evidence_file(path: Path) -> dict[str, Any]:
    """Return the parsed file; ValueError when it is no canonical evidence file."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ValueError(f"bigger than {FILE_BYTES_MAX} bytes")
    document = canonical.decode(path.read_bytes(), FILE_BYTES_MAX)
    if not isinstance(document, dict) or set(document) != _FIELDS or document["format"] != FORMAT:
        raise ValueError(f"an evidence file has exactly the fields {sorted(_FIELDS)}")
    return document


def judge(document: Mapping[str, Any]) -> str:
    """Return in words what a file proves; ValueError where it proves nothing."""
    cluster, epoch, replicas = document["cluster"], document["epoch"], document["replicas"]
    if not isinstance(epoch, int) or not isinstance(replicas, list):
        raise ValueError("epoch is a number and replicas is a list")
    if not all(canonical.is_hash(key) for key in (cluster, *replicas)):
        raise ValueError("cluster and replicas are 64 hex digits each")
    committee = Committee(cluster, epoch, tuple(replicas), frozenset())
    found = _read(document)
    if not is_equivocation(committee, Schnorr(), found):
        raise ValueError("the two signatures do not contradict each other, or are not both real")
    key, body = committee.replicas[found.first.sender], found.first.body
    where = f"view {body.view}, place {body.sequence}" if isinstance(body, Vote) else "one place"
    return f"{key[:12]} signed two different messages of type {body.type} at {where}"


def _read(content: Mapping[str, Any]) -> Equivocation:
    return Equivocation(*(wire.read_signed(content[name]) for name in ("first", "second")))
