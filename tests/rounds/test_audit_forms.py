"""The forms of what audits put into events: whatever a peer sends is answered, never a crash."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.proofs.verdict import AuditLine, Verdict
from kumiai.rounds.audit_forms import PATH_LENGTH_MAX, parse_leaves, parse_lines
from kumiai.rounds.opened import Challenge

HASH = "7" * 64
CHALLENGE = Challenge("m", (0, 3), ("v",))
ROUND = SimpleNamespace(assignments={"m": SimpleNamespace(machine=HASH)})

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just(HASH),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


def parse(*line: object, machine: object = HASH) -> tuple[str, tuple[AuditLine, ...]]:
    content = {"machine": machine, "audits": [list(line)]}
    return parse_lines(ROUND, [CHALLENGE], content)  # type: ignore[arg-type]


@given(line=st.lists(anything, min_size=3, max_size=3), machine=anything)
def test_any_line_is_read_or_refused(line: list[object], machine: object) -> None:
    try:
        found, (read,) = parse(*line, machine=machine)
    except ValueError:
        return
    assert (found, [read.verdict, read.segment, read.digest]) == (machine, line)


@given(leaves=st.lists(anything | st.lists(anything, min_size=3, max_size=3), max_size=3))
def test_any_leaves_are_read_or_refused(leaves: list[object]) -> None:
    try:
        read = parse_leaves(leaves)
    except ValueError:
        return
    assert [[leaf.index, leaf.digest, list(leaf.path)] for leaf in read] == leaves


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([[], 0, ""], "verdict '[]' is none of ['VALID'"),
        ([{"VALID": 1}, 0, ""], "is none of"),
        (["VALID", True, ""], "segment True lies outside -2..3"),
        (["VALID", 4, ""], "segment 4 lies outside -2..3"),
        (["VALID", -3, ""], "segment -3 lies outside -2..3"),
        (["VALID", 0, "7"], "neither empty nor a sha256"),
        (["VALID", 0], "an audit is [verdict, segment, digest]"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line: list[object], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse(*line)


def test_a_line_from_another_class_accuses_nobody() -> None:
    with pytest.raises(ValueError, match="say INCONCLUSIVE"):
        parse("INVALID", 0, HASH, machine="8" * 64)
    assert parse("INCONCLUSIVE", 0, HASH, machine="8" * 64)[1][0].verdict is Verdict.INCONCLUSIVE


def test_a_path_has_no_more_hashes_than_a_trace_can_have() -> None:
    (leaf,) = parse_leaves([[0, HASH, [HASH] * PATH_LENGTH_MAX]])
    assert len(leaf.path) == PATH_LENGTH_MAX
    with pytest.raises(ValueError, match=f"up to {PATH_LENGTH_MAX} hashes"):
        parse_leaves([[0, HASH, [HASH] * (PATH_LENGTH_MAX + 1)]])
