"""What a validator does in rechecks: remember certified rounds, recompute drawn sheets, say so.

Who missed a round has no word about its sheets: it names them neither false nor honest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from kumiai.nodes.jobs import make_score_job
from kumiai.nodes.ports import RecheckJob, RecheckResult, RecheckTarget, ScoreResult
from kumiai.nodes.role import JudgedRound, Memory
from kumiai.proofs.sheets import SheetNumbers
from kumiai.rounds.commitments import commit_holdout
from kumiai.rounds.kinds import Kind
from kumiai.rounds.opened import Sheet
from kumiai.rounds.rechecks import list_accused, list_drawn
from kumiai.rounds.state import RoundPhase, RoundState, RunState, ScoreSheet
from kumiai.tasks.rechecks import is_rechecked


@runtime_checkable
class RecheckPort(Protocol):
    """What a compute port offers beside where sheets are rechecked. Jobs come in batches."""

    def recheck(self, jobs: Sequence[RecheckJob]) -> list[RecheckResult]: ...


def is_bound(run: RunState, validator: str, blob: str, salt: str) -> bool:
    """Tell whether START binds the customer to the very hold-out that this validator was handed.

    True also where nothing is bound, and for who was handed none by blob.
    """
    bound = run.holdouts.commitments.get(validator)
    return not bound or not blob or commit_holdout(run.task_id, validator, blob, salt) == bound


def note_judged(memory: Memory, run: RunState) -> Memory:
    """Keep what recomputing the last certified round's sheets needs, in a rechecked run."""
    judged = run.judged
    if judged is None or run.task is None or not is_rechecked(run.task):
        return memory
    current = judged.round
    if current.index in memory.judged or not current.score_sheets:
        return memory
    job = make_score_job(current, "", judged.model, judged.model_previous)
    sheets = {key: read_sheet(sheet) for key, sheet in current.score_sheets.items()}
    return replace(memory, judged={**memory.judged, current.index: JudgedRound(job, sheets)})


def make_recheck_job(
    memory: Memory, run: RunState, current: RoundState, validator: str
) -> RecheckJob | None:
    """Return the recomputations that the open phase asks of this validator, None for none."""
    is_jury = current.phase is RoundPhase.RECHECK_JURY
    asked = (list_accused if is_jury else list_drawn)(current, validator)
    if not asked:
        return None
    blobs = dict(zip(run.holdouts.owners, run.holdout_blobs, strict=True))
    targets = (_make_target(memory, run, blobs, sheet) for sheet in asked)
    known = tuple(target for target in targets if target is not None)
    return RecheckJob(current.index, validator, known, is_jury)


def write_word(
    current: RoundState, result: RecheckResult
) -> Sequence[tuple[Kind, Mapping[str, object]]]:
    """Return the event's kind and what it says; nothing where the phase is over."""
    false = [(index, author) for index, author, is_false in result.lines if is_false]
    if current.phase is RoundPhase.RECHECK and not result.is_jury:
        first = {author: index for index, author in reversed(false)}
        return ((Kind.RECHECKED, {"false": [[first[key], key] for key in sorted(first)]}),)
    if current.phase is RoundPhase.RECHECK_JURY and result.is_jury:
        honest = [[index, author] for index, author, is_false in result.lines if not is_false]
        said = {"false": [list(sheet) for sheet in false], "honest": honest}
        return ((Kind.RECHECK_VOTE, said),)
    return ()


def read_sheet(sheet: ScoreSheet, finals: Sequence[int] | None = None) -> SheetNumbers:
    """Return what a revealed sheet says, with the second hold-out's values if they were opened."""
    opened = None if finals is None else tuple(finals)
    return SheetNumbers(sheet.lines, sheet.loss_ppm, sheet.accuracy_ppm, opened)


def read_result(found: ScoreResult) -> SheetNumbers:
    """Return what a recomputation gives, as a sheet would say it."""
    order = {line.member: index for index, line in enumerate(found.lines)}
    lines = tuple(
        (line.value, line.error, line.standalone, line.flags, order.get(line.duplicate_of, -1))
        for line in found.lines
    )
    finals = tuple(line.final for line in found.lines)
    return SheetNumbers(lines, found.loss_ppm, found.accuracy_ppm, finals)


def _make_target(
    memory: Memory, run: RunState, blobs: Mapping[str, str], sheet: Sheet
) -> RecheckTarget | None:
    index, author = sheet
    seen = memory.judged.get(index)
    if seen is None or author not in seen.sheets:
        return None
    claimed = replace(seen.sheets[author], finals=run.finals[index].values.get(author))
    return RecheckTarget(replace(seen.job, validator=author), blobs[author], claimed)
