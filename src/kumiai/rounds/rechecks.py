"""Validators of validators: at the end drawn score sheets are recomputed, and who lied loses pay.

    SCORE_REVEAL   of the last 'round': second hold-outs' values, probes and hold-outs are opened
    (draw)         each sheet with chance validation.recheck_ppm, and its rechecker among the other
                   live validators; all sheets of who did not open all that it was bound to
    RECHECK        recheckers recompute on the author's opened hold-out, and name what is false: one
                   sheet an author, which is enough, and bounds what everybody else must recompute
    RECHECK_JURY   only after an accusation: everybody else recomputes the accused sheets
    (settlement)   a quorum of FALSE convicts: the author's whole held pay is lost, and its backers'
                   part of it; without a quorum nobody is penalised

The draw of a validator's sheets comes from the salts that the *others* opened their final
commitments with. They were bound before anything was shown, so nobody can choose them, and one's
own has no part in one's own draw. What is left: a friend can withhold what it is bound to, and so
choose between two draws for the others; all of the friend's own sheets are then rechecked.

A quorum counts the committee, the accuser's accusation as a word for FALSE and the sheet itself as
its author's for HONEST. Who contradicts a quorum, either way, loses the held pay of one round for
each such sheet, as wrong auditors do; who was asked and is silent, of one round in all. All of that
returns to the customer; stake is not touched, because scores are not bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kumiai.base import canonical
from kumiai.base.amounts import PPM
from kumiai.base.log import Record
from kumiai.consensus.quorum import compute_quorum
from kumiai.proofs import policy
from kumiai.rounds.current import find_open
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.opened import Ballot, Rechecks, Sheet
from kumiai.rounds.state import NodeState, RoundPhase, RoundState, RunState
from kumiai.tasks.rechecks import is_rechecked

SEED_TYPE = "kumiai/recheck-seed/1"


def open_rechecks(state: RunState, current: RoundState) -> RoundState:
    """Draw which sheets are recomputed and by whom; none where no hold-out was opened."""
    assert state.task is not None
    if not is_rechecked(state.task) or not state.holdouts.owners:
        return current
    live, salts = _find_live(state, current), _collect_salts(state)
    drawn: dict[Sheet, str] = {}
    for author in sorted({key for part in state.finals.values() for key in part.commitments}):
        others = [key for key in sorted(live) if key != author]
        if not others or author not in state.holdouts.owners:
            continue
        seed = _compute_seed(state.task_id, author, salts)
        chance_ppm = state.task.validation.recheck_ppm if author in salts else PPM
        for index in sorted(k for k, part in state.finals.items() if author in part.commitments):
            if policy.is_drawn(seed, "sheet", str(index), chance_ppm):
                (drawn[index, author],) = policy.draw_auditors(seed, str(index), others, 1)
    return replace(current, rechecks=Rechecks(drawn))


def list_drawn(current: RoundState, rechecker: str) -> tuple[Sheet, ...]:
    """Return the sheets that this validator was drawn to recompute, in order."""
    return tuple(sorted(s for s, key in current.rechecks.drawn.items() if key == rechecker))


def list_accused(current: RoundState, juror: str) -> tuple[Sheet, ...]:
    """Return the accused sheets that this juror must speak about: neither its own nor its word."""
    rechecks = current.rechecks
    return tuple(s for s in rechecks.accused if juror not in (s[1], rechecks.drawn[s]))


def find_awaited(state: RunState, current: RoundState) -> frozenset[str]:
    """Return who has not said yet what the open phase of the rechecks asks of them."""
    live, rechecks = _find_live(state, current), current.rechecks
    if current.phase is RoundPhase.RECHECK:
        return (live & set(rechecks.drawn.values())) - rechecks.found.keys()
    return frozenset(k for k in live if list_accused(current, k)) - rechecks.ballots.keys()


def on_rechecked(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A rechecker names, of each author, one sheet that is not what its hold-out gives, if any."""
    current, problem = find_open(state, content, RoundPhase.RECHECK)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    key, rechecks = record.event.pubkey, current.rechecks
    asked = list_drawn(current, key)
    if not asked:
        return refuse(state, "not-drawn", "this key was drawn for no sheet")
    if key in rechecks.found:
        return refuse(state, "duplicate", "rechecked already")
    try:
        false = parse_sheets("false", content["false"], asked)
    except ValueError as error:
        return refuse(state, "bad-sheets", str(error))
    if len({author for _, author in false}) != len(false):
        return refuse(state, "bad-sheets", "one false sheet an author is enough: name no more")
    moved = replace(rechecks, found={**rechecks.found, key: false})
    return Outcome(replace(state, round=replace(current, rechecks=moved)))


def on_recheck_vote(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A juror says which of the accused sheets are false, and which are honest."""
    current, problem = find_open(state, content, RoundPhase.RECHECK_JURY)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    key, rechecks = record.event.pubkey, current.rechecks
    asked = list_accused(current, key)
    if key not in current.committee or not asked:
        return refuse(state, "not-juror", "nothing is asked of this key")
    if key in rechecks.ballots:
        return refuse(state, "duplicate", "voted already")
    try:
        false = parse_sheets("false", content["false"], asked)
        honest = parse_sheets("honest", content["honest"], asked)
    except ValueError as error:
        return refuse(state, "bad-sheets", str(error))
    if false & honest:
        return refuse(state, "bad-sheets", "a sheet is called false and honest")
    moved = replace(rechecks, ballots={**rechecks.ballots, key: Ballot(false, honest)})
    return Outcome(replace(state, round=replace(current, rechecks=moved)))


def parse_sheets(name: str, items: Sequence[Any], asked: Sequence[Sheet]) -> frozenset[Sheet]:
    """Return the sheets that [round, validator] pairs name; ValueError says what is wrong."""
    if len(items) > len(asked):
        raise ValueError(f"{name}: {len(items)} sheets, {len(asked)} were asked for")
    sheets: set[Sheet] = set()
    for place, item in enumerate(items):
        if not isinstance(item, list) or len(item) != 2:
            raise ValueError(f"{name}: number {place} is not [round, validator]")
        index, author = item
        if not isinstance(index, int) or isinstance(index, bool) or not isinstance(author, str):
            raise ValueError(f"{name}: number {place} is not [integer, key]")
        if (index, author) not in asked or (index, author) in sheets:
            raise ValueError(f"{name}: number {place} was not asked for, or is there twice")
        sheets.add((index, author))
    return frozenset(sheets)


def accuse(current: RoundState) -> RoundState:
    """Name the sheets about which the committee must speak, once the recheckers have."""
    accused = {sheet for false in current.rechecks.found.values() for sheet in false}
    return replace(current, rechecks=replace(current.rechecks, accused=tuple(sorted(accused))))


def conclude(current: RoundState, sheet: Sheet) -> bool | None:
    """Return whether a quorum found the accused sheet false (True), honest (False), or neither."""
    quorum, (false, honest) = compute_quorum(len(current.committee)), _collect_words(current, sheet)
    if len(false) >= quorum:
        return True
    return False if len(honest) >= quorum else None


def find_convicted(current: RoundState) -> frozenset[str]:
    """Return the validators of whom a quorum found a sheet false."""
    return frozenset(s[1] for s in current.rechecks.accused if conclude(current, s))


def compute_losses(state: RunState, current: RoundState) -> dict[str, int]:
    """Return what share of its held pay each validator loses by the rechecks, in ppm."""
    assert state.task is not None
    rounds: dict[str, int] = {}
    rechecks = current.rechecks
    asked = set(rechecks.drawn.values()) - rechecks.found.keys()
    if rechecks.accused:
        live = _find_live(state, current)
        asked |= {k for k in live - rechecks.ballots.keys() if list_accused(current, k)}
    for key in asked:
        rounds[key] = 1
    for sheet in rechecks.accused:
        verdict = conclude(current, sheet)
        if verdict is None:
            continue
        false, honest = _collect_words(current, sheet)
        for key in (honest - {sheet[1]}) if verdict else false:
            rounds[key] = rounds.get(key, 0) + 1
    losses = {k: min(PPM, PPM * n // state.task.training.rounds) for k, n in rounds.items()}
    return losses | dict.fromkeys(find_convicted(current), PPM)


def _collect_words(current: RoundState, sheet: Sheet) -> tuple[frozenset[str], frozenset[str]]:
    """Who calls the accused sheet false, and who honest."""
    rechecks = current.rechecks
    false = {rechecks.drawn[sheet]} | {k for k, b in rechecks.ballots.items() if sheet in b.false}
    honest = {sheet[1]} | {k for k, b in rechecks.ballots.items() if sheet in b.honest}
    return frozenset(false), frozenset(honest)


def _collect_salts(state: RunState) -> dict[str, list[str]]:
    """The salts of whoever opened everything it was bound to, by round."""
    salts: dict[str, list[str]] = {}
    silent: set[str] = set()
    for _, part in sorted(state.finals.items()):
        silent |= part.commitments.keys() - part.salts.keys()
        for key, salt in part.salts.items():
            salts.setdefault(key, []).append(salt)
    return {key: salts[key] for key in sorted(salts.keys() - silent)}


def _compute_seed(task_id: str, author: str, salts: Mapping[str, Sequence[str]]) -> str:
    others = [[key, *salts[key]] for key in sorted(salts) if key != author]
    return canonical.hash_document([SEED_TYPE, task_id, author, others])


def _find_live(state: RunState, current: RoundState) -> frozenset[str]:
    return frozenset(k for k in current.committee if state.members[k].state is NodeState.ACTIVE)
