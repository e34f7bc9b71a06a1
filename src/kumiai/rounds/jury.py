"""The jury: after an accusation the whole committee replays, bound first and shown then.

Nobody sees another's finding before its own is bound, so neither an accusation nor an acquittal
can be copied from somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kumiai.base import canonical
from kumiai.base.log import Record
from kumiai.rounds.audit_forms import parse_lines
from kumiai.rounds.audits import list_accused, with_audits
from kumiai.rounds.commitments import commit_jury
from kumiai.rounds.current import find_open
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.state import NodeState, RoundPhase, RoundState, RunState


def find_jurors(state: RunState, current: RoundState) -> frozenset[str]:
    """Return who is waited for in the jury: live, and with an accused that it has not replayed."""
    return frozenset(
        key
        for key in current.committee
        if state.members[key].state is NodeState.ACTIVE and list_accused(current, key)
    )


def find_awaited(state: RunState, current: RoundState) -> frozenset[str]:
    """Return who has not done yet what the open phase of the jury asks of them."""
    jurors, audits = find_jurors(state, current), current.audits
    if current.phase is RoundPhase.JURY:
        return jurors - audits.commits.keys()
    return (jurors & audits.commits.keys()) - audits.words.keys()


def on_jury_commit(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A juror binds itself to what its replay gave."""
    current, problem = find_open(state, content, RoundPhase.JURY)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    juror, commits = record.event.pubkey, current.audits.commits
    if juror not in current.committee or not list_accused(current, juror):
        return refuse(state, "not-juror", "nothing is asked of this key")
    if not canonical.is_hash(content["commitment"]):
        return refuse(state, "bad-hash", "commitment is not a sha256")
    if juror in commits:
        known, event_id = commits[juror]
        if known == content["commitment"]:
            return refuse(state, "duplicate", "committed already")
        detail = "two different jury commitments in one round"
        return refuse(state, "equivocation", detail, first=event_id, second=record.event.id)
    added = {**commits, juror: (content["commitment"], record.event.id)}
    return Outcome(with_audits(state, current, replace(current.audits, commits=added)))


def on_jury_reveal(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A juror shows what it found."""
    current, problem = find_open(state, content, RoundPhase.JURY_REVEAL)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    juror, audits = record.event.pubkey, current.audits
    if juror in audits.words:
        return refuse(state, "duplicate", "revealed already")
    if juror not in audits.commits:
        return refuse(state, "no-commitment", "nothing was committed to")
    sheet = [content["machine"], content["audits"]]
    place = (state.task_id, current.index, current.attempt)
    committed, event_id = audits.commits[juror]
    if commit_jury(*place, juror, sheet, content["salt"]) != committed:
        detail = "the verdicts do not open the commitment"
        return refuse(state, "commitment-mismatch", detail, commit_event=event_id)
    try:
        word = parse_lines(current, list_accused(current, juror), content)
    except ValueError as error:
        return refuse(state, "bad-audits", str(error))
    words = {**audits.words, juror: word}
    return Outcome(with_audits(state, current, replace(audits, words=words)))
