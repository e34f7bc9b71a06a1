"""What trainers and validators put into events about audits: opened leaves and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.doors import Door

from kumiai.base import canonical, events
from kumiai.base.keys import derive_key
from kumiai.proofs.verdict import Verdict
from kumiai.rounds.audit_forms import parse_leaves, parse_lines
from kumiai.rounds.kinds import Kind, parse_content
from kumiai.rounds.opened import Challenge
from kumiai.rounds.state import Assignment, AssignmentState, RoundPhase, RoundState

SIZE_MAX = 100_000
KEY = derive_key(b"fuzz", "validator")
MACHINE = "ef" * 32
TASKS = (Challenge("ab" * 32, (0, 3), ()), Challenge("cd" * 32, (1,), ()))
ROUND = RoundState(
    index=1,
    attempt=0,
    phase=RoundPhase.SCORE_REVEAL,
    phase_started_ms=0,
    deadline_ms=0,
    trainers=(),
    committee=(),
    assignments={
        task.member: Assignment(task.member, AssignmentState.REVEALED, machine=MACHINE)
        for task in TASKS
    },
)


def read_object(data: bytes) -> dict[str, Any] | None:
    """Content that has passed `parse_content` is an object whose fields have their types."""
    try:
        document = canonical.decode(data, SIZE_MAX)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def refuses(read: Callable[[], object]) -> bool:
    try:
        read()
    except ValueError:
        return True
    return False


def knock_leaves(data: bytes) -> None:
    content = read_object(data)
    if content is None or not isinstance(content.get("leaves"), list):
        return
    refuses(lambda: parse_leaves(content["leaves"]))


def knock_lines(data: bytes) -> None:
    content = read_object(data)
    if content is None or not isinstance(content.get("machine"), str):
        return
    if not isinstance(content.get("audits"), list):
        return
    refuses(lambda: parse_lines(ROUND, TASKS, content))


def knock_content(data: bytes) -> None:
    """The first byte chooses the event's kind; the rest is its content."""
    kinds = list(Kind)
    content = read_object(data[1:])
    if content is None:
        return
    try:
        event = events.sign_event(KEY, int(kinds[data[0] % len(kinds)]), 1, content)
    except ValueError:
        return
    refuses(lambda: parse_content(event))


LEAVES = Door(
    "leaves",
    (canonical.encode({"leaves": [[0, "ab" * 32, ["cd" * 32]], [3, "ab" * 32, []]]}),),
    knock_leaves,
)
LINES = Door(
    "verdicts",
    (
        canonical.encode(
            {
                "machine": MACHINE,
                "audits": [[str(Verdict.VALID), 0, ""], [str(Verdict.INCONCLUSIVE), 1, "ab" * 32]],
            }
        ),
    ),
    knock_lines,
)
CONTENT = Door(
    "contents",
    tuple(
        bytes([number])
        + canonical.encode(
            {"task": "ab" * 32, "round": 1, "attempt": 0, "commitment": "x", "machine": ""}
        )
        for number in range(len(Kind))
    ),
    knock_content,
)
