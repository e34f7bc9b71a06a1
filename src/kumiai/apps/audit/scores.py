"""Did the validators score honestly? Their scores, computed anew from the opened hold-outs.

Scores are most of what a run costs beside training, and no payment rests on this check: whom the
medians and canaries did not find out, it names. So all but small runs are checked as an auditor
checks books, by a sample: rounds are drawn by the machine's own randomness, anew at every call, and
nobody could know them when he scored. Where k of n rounds hold a lie and m are drawn, it stays
unseen with probability C(n - k, m) / C(n, m): for one lie and a quarter of the rounds 3 in 4, for
lies in half of 12 rounds 1 in 11 (3 drawn) or 1 in 924 (6 drawn). See docs/adr/0014.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.rechecked import read_holdout
from kumiai.adapters.compute.scoring import Holdout
from kumiai.apps.audit.compute import map_rounds, open_compute
from kumiai.apps.audit.replay import Replay
from kumiai.apps.audit.subject import ScoreRounds, Subject
from kumiai.nodes import ports
from kumiai.nodes.jobs import make_score_job
from kumiai.nodes.rechecking import read_result, read_sheet
from kumiai.proofs.sheets import SCORE_TOLERANCE_PPM, is_honest
from kumiai.rounds.state import RoundState

SAMPLE_UPDATES_MAX = 60  # "auto" checks every round while the run has no more updates to score
SAMPLE_ROUNDS_MIN = 3


def check_scores(subject: Subject) -> int:
    """Recompute the validators' scores in the rounds drawn; return how many sheets were."""
    state, report = subject.replay.state, subject.report
    if not state.holdout_blobs:
        report.note("scores", "the hold-out was not opened: scores cannot be recomputed")
        return 0
    judged = [current for current in subject.replay.rounds.values() if current.trainers]
    chosen = choose_rounds(judged, subject.score_rounds, random.SystemRandom())
    if len(chosen) < len(judged):
        shown = ", ".join(str(current.index) for current in chosen) or "none"
        report.note(
            "scores",
            f"recomputed in {len(chosen)} of {len(judged)} rounds, drawn at random ({shown}); "
            "--scores all recomputes every round",
        )

    def find(compute: EngineCompute, current: RoundState) -> tuple[int, list[str], int]:
        return current.index, *_find_liars(compute, subject.replay, current)

    holdouts = read_holdouts(subject)
    found = map_rounds(subject, chosen, holdouts, find)
    for index, liars, _ in found:
        for judge in liars:
            report.note(
                f"round {index}",
                f"{state.members[judge].name} did not score what its hold-out gives "
                "(the median leaves such scores out)",
            )
    return sum(count for _, _, count in found) + _check_curves(subject, holdouts)


def choose_rounds(
    judged: Sequence[RoundState], wanted: ScoreRounds, rng: random.Random
) -> list[RoundState]:
    """Return the rounds whose scores are recomputed, in order: all, so many, or what "auto" takes.

    "auto" draws rounds until SAMPLE_UPDATES_MAX updates are reached, SAMPLE_ROUNDS_MIN at least.
    """
    if wanted == "all":
        return list(judged)
    order = rng.sample(range(len(judged)), len(judged))
    if wanted == "auto":
        update_count, wanted = 0, 0
        for place in order:
            update_count += len(judged[place].revealed)
            if update_count > SAMPLE_UPDATES_MAX and wanted >= SAMPLE_ROUNDS_MIN:
                break
            wanted += 1
    return [judged[place] for place in sorted(order[:wanted])]


def _find_liars(
    compute: EngineCompute, replay: Replay, current: RoundState
) -> tuple[list[str], int]:
    """Return the validators whose scores are not what their hold-outs give, and how many judged."""
    model, _, previous = replay.models_before[current.index]
    judges = sorted(current.score_sheets)
    jobs = [make_score_job(current, judge, model, previous) for judge in judges]
    finals = replay.state.finals[current.index].values
    liars = [
        judge
        for judge, result in zip(judges, compute.score(jobs), strict=True)
        if not is_honest(
            read_result(result), read_sheet(current.score_sheets[judge], finals.get(judge))
        )
    ]
    return liars, len(judges)


def _check_curves(subject: Subject, holdouts: Mapping[str, Holdout]) -> int:
    """Measure the final model at every width again, on every validator's second hold-out."""
    state = subject.replay.state
    if not state.curves:
        return 0
    compute = open_compute(subject, holdouts)
    last = state.certificates[-1].round if state.certificates else 0
    for judge, claimed in sorted(state.curves.items()):
        found = compute.measure_curve(ports.CurveJob(last, judge, state.model)).accuracies_ppm
        if max(abs(a - b) for a, b in zip(found, claimed, strict=True)) > SCORE_TOLERANCE_PPM:
            subject.report.note(
                "accuracy by width",
                f"{state.members[judge].name} did not sign what its hold-out gives "
                "(the median leaves such curves out)",
            )
    return len(state.curves)


def read_holdouts(subject: Subject) -> Mapping[str, Holdout]:
    """Return each validator's two hold-outs, in the order in which they were handed out."""
    state = subject.replay.state
    order = list(state.holdouts.owners)
    if not order:  # a run without rechecks: in the order in which they were handed out
        validators = {key for key, member in state.members.items() if member.role == "validator"}
        plan = {str(p["pubkey"]): str(p["role"]) for p in subject.run_dir.read_plan()["people"]}
        order = [key for key, role in plan.items() if role == "validator" and key in validators]
    holdouts = {}
    for key, name in zip(order, state.holdout_blobs, strict=True):
        found = read_holdout(subject.blobs, name)
        if found is None:
            raise ValueError(f"blob {name[:12]}, an opened hold-out, is missing or malformed")
        holdouts[key] = found
    return holdouts
