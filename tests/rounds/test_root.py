"""The committee's root in the log: bound with the scores, shown with them, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.base import canonical, events
from kumiai.base.log import Record
from kumiai.rounds.kinds import Kind, parse_content
from kumiai.rounds.run import step
from kumiai.rounds.scoring import on_score_reveal
from kumiai.rounds.state import RunPhase, RunState

Shown = tuple[RunState, Record, dict[str, Any]]


def play(aggregator: str) -> Iterator[Shown]:
    """Yield the state before each score reveal of a finished run, the record and its content."""
    driver, _ = make_driver(make_task(training={"aggregator": aggregator}), make_people())
    assert driver.run().phase is RunPhase.FINISHED
    state = RunState()
    for record in driver.log.read():
        if record.event.kind == Kind.SCORE_REVEAL:
            yield state, record, parse_content(record.event)[1]
        state = step(state, record).state


def test_every_validator_shows_its_root_and_the_aggregation_is_given_them() -> None:
    shown = list(play("trust_root"))
    assert len(shown) == 8
    for state, record, content in shown:
        assert canonical.is_hash(content["root"])
        after = on_score_reveal(state, record, content).state
        assert after.round is not None
        assert content["root"] in after.round.roots
    last = after.round.roots
    assert len(last) == 4
    sheets = after.round.score_sheets
    assert last == tuple(sheets[key].root for key in sorted(sheets))


@pytest.mark.parametrize(
    ("root", "reason"),
    [(None, "bad-root"), ("zz", "bad-hash"), ("00" * 32, "commitment-mismatch"),
     ("", "commitment-mismatch")],
)  # fmt: skip
def test_a_root_that_was_not_bound_is_refused(root: str | None, reason: str) -> None:
    state, record, content = next(play("trust_root"))
    changed = {**content, "root": root}
    if root is None:
        del changed["root"]
    outcome = on_score_reveal(state, record, changed)
    assert outcome.reject is not None
    assert outcome.reject.reason == reason
    assert outcome.state is state


def test_a_root_nobody_asked_for_is_refused() -> None:
    state, record, content = next(play("mean"))
    assert "root" not in content
    outcome = on_score_reveal(state, record, {**content, "root": "00" * 32})
    assert outcome.reject is not None
    assert outcome.reject.reason == "bad-root"


@pytest.mark.parametrize("root", [7, None, True, ["00"]])
def test_a_root_of_another_type_is_refused_at_the_door(root: object) -> None:
    _, record, content = next(play("trust_root"))
    changed = record.event.__class__(
        **{
            **{name: getattr(record.event, name) for name in record.event.__slots__},
            "content": canonical.encode({**content, "root": root}).decode(),
        }
    )
    assert events.read_content(changed)["root"] == root
    with pytest.raises(ValueError, match="SCORE_REVEAL: field root is not str"):
        parse_content(changed)
