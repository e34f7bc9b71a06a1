"""The shapes of what audits put into events: traces, shards, opened leaves, verdicts.

Each function says in one sentence what is wrong, naming the field, its value and what would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kumiai.base import canonical
from kumiai.proofs.trace import OpenedLeaf, count_segments
from kumiai.proofs.verdict import CLOSING, AuditLine, Verdict
from kumiai.rounds.opened import Challenge
from kumiai.rounds.state import RoundState, RunState
from kumiai.tasks.audit import is_audited
from kumiai.tasks.document import TaskDocument

PATH_LENGTH_MAX = 17  # hashes: a tree of trace.LEAVES_MAX leaves is no higher


def check_trace(task: TaskDocument, content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with how a reveal shows its trace, or None."""
    shown = "trace_root" in content, "machine" in content
    if shown != (is_audited(task),) * 2:
        return "trace_root and machine are shown with audit.mode = replay, and only so"
    if not is_audited(task):
        return None
    if not canonical.is_hash(content["trace_root"]) or not canonical.is_hash(content["machine"]):
        return "trace_root and machine are each a sha256"
    try:
        count_segments(content["iterations"], task.audit.checkpoint_every)
    except ValueError as error:
        return str(error)
    return None


def check_shards(state: RunState, content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the data that the customer hands out at the start, or None."""
    assert state.task is not None
    if ("shards" in content) != is_audited(state.task):
        return "shards are named with audit.mode = replay, and only so"
    shards = content.get("shards", {})
    trainers = {key for key, member in state.members.items() if member.role == "trainer"}
    if is_audited(state.task) and set(shards) != trainers:
        return "shards name every enrolled trainer and nobody else"
    if not all(canonical.is_hash(blob) for blob in shards.values()):
        return "a shard is named by the sha256 of its blob"
    return None


def parse_leaves(leaves: Sequence[Any]) -> tuple[OpenedLeaf, ...]:
    """Return opened leaves from [index, digest, path] each; ValueError for another form."""
    parsed = []
    for place, leaf in enumerate(leaves):
        if not isinstance(leaf, list) or len(leaf) != 3:
            raise ValueError(f"leaf number {place} is not [index, digest, path]")
        index, digest, path = leaf
        is_path = isinstance(path, list) and len(path) <= PATH_LENGTH_MAX
        if not _is_integer(index) or not canonical.is_hash(digest) or not is_path:
            shape = f"[integer, sha256, up to {PATH_LENGTH_MAX} hashes]"
            raise ValueError(f"leaf number {place} is not {shape}")
        if not all(canonical.is_hash(item) for item in path):
            raise ValueError(f"leaf number {place}: its path has something that is no sha256")
        parsed.append(OpenedLeaf(index, digest, tuple(path)))
    return tuple(parsed)


def parse_lines(
    current: RoundState, tasks: Sequence[Challenge], content: Mapping[str, Any]
) -> tuple[str, tuple[AuditLine, ...]]:
    """Return the machine and one line a task, from [verdict, segment, digest] each; ValueError."""
    machine, lines = content["machine"], content["audits"]
    if not canonical.is_hash(machine):
        raise ValueError("machine is not a sha256")
    if len(lines) != len(tasks):
        raise ValueError(f"{len(lines)} audits, {len(tasks)} are asked for")
    parsed = []
    for challenge, line in zip(tasks, lines, strict=True):
        if not isinstance(line, list) or len(line) != 3:
            raise ValueError("an audit is [verdict, segment, digest]")
        verdict, segment, digest = line
        # a list, not a set: what a peer sends may have no hash
        if verdict not in [each.value for each in Verdict]:
            raise ValueError(f"verdict {str(verdict)[:20]!r} is none of {[*map(str, Verdict)]}")
        most = max(challenge.segments)
        if not _is_integer(segment) or not CLOSING <= segment <= most:
            raise ValueError(f"segment {segment!r} lies outside {CLOSING}..{most}")
        if digest != "" and not canonical.is_hash(digest):
            raise ValueError("digest is neither empty nor a sha256")
        is_own = Verdict(verdict) is Verdict.INVALID
        if is_own and machine != current.assignments[challenge.member].machine:
            raise ValueError("INVALID needs a machine of the trainer's class: say INCONCLUSIVE")
        parsed.append(AuditLine(Verdict(verdict), segment, digest))
    return machine, tuple(parsed)


def list_sheet_parts(content: Mapping[str, Any]) -> list[object]:
    """Return what audits add to a score sheet that is committed to; one may be left out wrongly."""
    return [content.get("machine", ""), content["audits"]] if "audits" in content else []


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
