"""Were validators convicted rightly? The accused sheets, computed anew from the opened hold-outs.

That money follows from the votes, the log's own fold shows. Here the votes themselves are tried: a
sheet that a quorum called false must be false here too, else it is an error; a false sheet that a
quorum called honest is noted. Sheets that were drawn and not accused are a matter of `scores`,
which recomputes all of a small run and a sample of a large one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from kumiai.adapters.compute.engine import EngineCompute
from kumiai.apps.audit.compute import open_compute
from kumiai.apps.audit.scores import read_holdouts
from kumiai.apps.audit.subject import Subject
from kumiai.nodes.jobs import make_score_job
from kumiai.nodes.rechecking import read_result, read_sheet
from kumiai.proofs.sheets import is_honest
from kumiai.rounds.opened import Sheet
from kumiai.rounds.rechecks import conclude

SHEETS_MAX = 200  # that are recomputed; of more a random sample


def check_rechecks(subject: Subject) -> int:
    """Recompute the sheets about which the committee reached a verdict; return how many."""
    replay = subject.replay
    verdicts: dict[Sheet, bool] = {}
    for current in replay.rounds.values():
        for sheet in current.rechecks.accused:
            verdict = conclude(current, sheet)
            if verdict is not None:
                verdicts[sheet] = verdict
    chosen = sorted(verdicts)
    if len(chosen) > SHEETS_MAX:
        subject.report.note(
            "rechecks",
            f"{SHEETS_MAX} of {len(chosen)} accused sheets, drawn at random, were recomputed",
        )
        chosen = sorted(random.SystemRandom().sample(chosen, SHEETS_MAX))
    if chosen:
        compute = open_compute(subject, read_holdouts(subject))
        for index in sorted({sheet[0] for sheet in chosen}):
            authors = [author for number, author in chosen if number == index]
            _check_round(subject, compute, index, authors, verdicts)
    return len(chosen)


def _check_round(
    subject: Subject,
    compute: EngineCompute,
    index: int,
    authors: Sequence[str],
    verdicts: Mapping[Sheet, bool],
) -> None:
    replay, where = subject.replay, f"round {index}"
    current, (model, _, previous) = replay.rounds[index], replay.models_before[index]
    jobs = [make_score_job(current, author, model, previous) for author in authors]
    finals = replay.state.finals[index].values
    for author, result in zip(authors, compute.score(jobs), strict=True):
        claimed = read_sheet(current.score_sheets[author], finals.get(author))
        is_true = is_honest(read_result(result), claimed)
        name = replay.state.members[author].name
        if is_true and verdicts[index, author]:
            subject.report.error(
                where, f"{name} was convicted of false scores; its hold-out gives what it said"
            )
        elif not is_true and not verdicts[index, author]:
            subject.report.note(
                where, f"{name}'s scores are not what its hold-out gives; a quorum approved them"
            )
