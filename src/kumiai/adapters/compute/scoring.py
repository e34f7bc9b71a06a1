"""A round's updates judged for several validators at once.

Flags come from the updates' bytes (`proofs.similarity`), the same for every validator. What is
flagged leaves the game, copies above all; the others are valued as players (`coalitions`) by the
task's method (`methods`). Every validator has two games, one a hold-out: A decides now, B is kept
for the final ranking. All games of a round share their coalitions, so each model is built and run
once for all validators; a validator's scores are those it would reach alone.

In `compete` mode whole models compete: a member's value is the gain of its update alone, undivided.

Players are sorted by key before they are valued, so the order of the job's updates changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kumiai.adapters.compute.coalitions import CoalitionGame
from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.look_back import find_flags_looking_back, read_last_step
from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.adapters.compute.methods import value_players
from kumiai.adapters.compute.nesting import Nesting
from kumiai.adapters.compute.secure_work import GroupSums
from kumiai.adapters.compute.task_rules import find_span
from kumiai.base.amounts import PPM
from kumiai.nodes import ports
from kumiai.proofs import flags as flag
from kumiai.proofs.similarity import Finding, SimilarityLimits, find_flags
from kumiai.tasks.codecs import mixes_coordinates
from kumiai.tasks.document import TaskDocument
from kumiai.valuation import Valuation, spread

FloatArray = NDArray[np.float64]
IntVector = NDArray[np.int32]

VALUE_MAX = 10**9  # ppm: a bound for what goes on the wire, far above any capped loss
SEED_HEX_DIGITS = 15  # of the beacon, into a 60-bit seed


@dataclass(frozen=True, slots=True)
class Holdout:
    """One validator's data: part A scores the rounds, part B the final ranking."""

    a: tuple[torch.Tensor, torch.Tensor]
    b: tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class RoundValues:
    """What the members are worth: columns 2v and 2v + 1 are validator v's parts A and B.

    values: one valuation a column, over all members in the job's order, 0 for who did not play;
    standalone_NK: gains alone; losses_K and accuracies_K: the starting model's.
    """

    values: list[Valuation]
    standalone_NK: FloatArray
    losses_K: FloatArray
    accuracies_K: FloatArray


def score_round(
    task: TaskDocument,
    measure: HoldoutMeasure,
    decoded: DecodedBlobs,
    jobs: Sequence[ports.ScoreJob],
    nesting: Nesting | None = None,
    sums: GroupSums | None = None,
) -> list[ports.ScoreResult]:
    """Return one result a job, in their order.

    `measure` holds part A and part B of each job's validator, in the order of the jobs. All jobs
    are of one round, with the same model, updates and seed: ValueError if they are not. nesting:
    needed where an update is of less than the full width. sums: what opens the groups of a secure
    run, whose sums are then the players.
    """
    first = jobs[0]
    if any(_name_work(job) != _name_work(first) for job in jobs):
        raise ValueError(f"jobs of round {first.round} do not judge the same updates")
    updates: list[IntVector | None]
    counts_P = None
    if first.groups:
        if sums is None:
            raise ValueError(f"round {first.round} has groups, and nothing to open them")
        updates = [sums.find(group) for group in first.groups]
        findings = [Finding(0 if sum_P is not None else flag.MALFORMED, None) for sum_P in updates]
    else:
        updates = [decoded.find("update", ref.blob) for ref in first.updates]
        if nesting is not None and any(ref.width_ppm < PPM for ref in first.updates):
            findings = find_nested_findings(task, decoded, first, updates, nesting)
            counts_P = _count_players(first, updates, findings, nesting)
        else:
            findings = find_findings(task, decoded, first, updates)
    round_values = value_members(task, measure, decoded, first, updates, findings, counts_P)
    return [
        _report(job, findings, round_values, column=2 * index) for index, job in enumerate(jobs)
    ]


def find_findings(
    task: TaskDocument,
    decoded: DecodedBlobs,
    job: ports.ScoreJob,
    updates: Sequence[IntVector | None],
) -> list[Finding]:
    """Flag every update; one that cannot be decoded is malformed and takes no part in the rest.

    Nor does one that is not of the round's fragment. Likeness is looked for in the fragment alone:
    zeros around it would make noise look like work.
    """
    span = find_span(task.training, decoded.size, job.round)
    usable = [
        None if update_P is None or not is_within(update_P, span) else update_P
        for update_P in updates
    ]
    return _compare(task, decoded, job, usable, span)


def find_nested_findings(
    task: TaskDocument,
    decoded: DecodedBlobs,
    job: ports.ScoreJob,
    updates: Sequence[IntVector | None],
    nesting: Nesting,
) -> list[Finding]:
    """As `find_findings` for members of different widths; who changed more is OUTSIDE.

    Two members are compared in the block that both hold, the narrower one's: of a wide update only
    that part can be copied by a narrow member, and zeros around it would make noise look like work.
    So every width in the round is looked at once, with all members that hold it. Copies count in
    the pair's own block alone; idle is who is so in all of its blocks; replays and empty updates
    are seen in its widest.
    """
    widths = [ref.width_ppm for ref in job.updates]
    usable = [
        None if update_P is None or not nesting.is_inside(update_P, width) else update_P
        for update_P, width in zip(updates, widths, strict=True)
    ]
    kept = {i: 0 for i, update_P in enumerate(usable) if update_P is not None}
    idle, originals = dict.fromkeys(kept, True), dict[int, int]()
    for block_ppm in sorted({widths[i] for i in kept}):
        part = [u if w >= block_ppm else None for u, w in zip(usable, widths, strict=True)]
        found = _compare(task, decoded, job, part, nesting.find_block(block_ppm))
        for i in kept:
            if part[i] is None:
                continue
            flags, original = found[i].flags, found[i].duplicate_of
            if original is not None and min(widths[i], widths[original]) == block_ppm:
                originals.setdefault(i, original)
            idle[i] = idle[i] and bool(flags & flag.NO_WORK)
            if widths[i] == block_ppm:
                kept[i] = flags & (flag.REPLAY | flag.ZERO)
    findings = []
    for i, update_P in enumerate(updates):
        if i not in kept:
            fault = flag.MALFORMED if update_P is None else flag.OUTSIDE
            findings.append(Finding(fault, None))
            continue
        copied = flag.DUPLICATE if i in originals else 0
        nothing = flag.NO_WORK if idle[i] and not copied | kept[i] else 0
        findings.append(Finding(kept[i] | copied | nothing, originals.get(i)))
    return findings


def _compare(
    task: TaskDocument,
    decoded: DecodedBlobs,
    job: ports.ScoreJob,
    updates: Sequence[IntVector | None],
    span: slice | NDArray[np.int64],
) -> list[Finding]:
    """Return what the updates show within `span`; MALFORMED for those that are None."""
    # what mixes coordinates makes honest updates look unrelated: no test of work there, where an
    # error would cost somebody's stake
    can_see_work = not mixes_coordinates(task.training.codec)
    limits = SimilarityLimits(
        duplicate_cosine_ppm=task.validation.duplicate_cosine_ppm,
        replay_cosine_ppm=task.validation.replay_cosine_ppm,
        work_z_milli=task.validation.work_z_milli if can_see_work else 0,
    )
    findings = [Finding(flag.MALFORMED, None)] * len(updates)
    usable = [(i, update_P) for i, update_P in enumerate(updates) if update_P is not None]
    if not usable:
        return findings
    previous_P = read_last_step(decoded, job)
    rows_NP = np.stack([update_P[span] for _, update_P in usable])
    refs = [job.updates[i] for i, _ in usable]
    step_P = None if previous_P is None else previous_P[span]
    if job.shown:
        found = find_flags_looking_back(decoded, job, refs, rows_NP, step_P, limits)
    else:
        found = find_flags(rows_NP, [ref.commit_height for ref in refs], step_P, limits)
    for (i, _), finding in zip(usable, found, strict=True):
        original = None if finding.duplicate_of is None else usable[finding.duplicate_of][0]
        findings[i] = Finding(finding.flags, original)
    return findings


def is_within(update_P: IntVector, span: slice) -> bool:
    """Tell whether an update is zero outside `span`."""
    return not (update_P[: span.start].any() or update_P[span.stop :].any())


def value_members(
    task: TaskDocument,
    measure: HoldoutMeasure,
    decoded: DecodedBlobs,
    job: ports.ScoreJob,
    updates: Sequence[IntVector | None],
    findings: Sequence[Finding],
    counts_P: NDArray[np.int64] | None = None,
) -> RoundValues:
    """Value the members without flags in every hold-out's game.

    counts_P: how many of them hold each number, where their widths differ.
    """
    played = [
        (ref.member, i, update_P)
        for i, (ref, update_P, finding) in enumerate(
            zip(job.updates, updates, findings, strict=True)
        )
        if update_P is not None and finding.flags == 0
    ]
    played.sort(key=lambda player: player[0])
    places = [i for _, i, _ in played]
    player_updates = [update_P for _, _, update_P in played]
    competes = task.mode == "compete"
    member_count = len(played)
    if job.groups:  # sums are played, and the step is the mean over their members
        member_count = sum(len(job.groups[i].members) for i in places)
    divisor = 1 if competes else max(1, member_count) if counts_P is None else counts_P
    game = CoalitionGame(measure, decoded.get("model", job.model), player_updates, divisor)
    count, game_count = len(job.updates), len(game.losses_K)
    standalone_NK = np.zeros((count, game_count))
    if not played:
        nothing = Valuation(np.zeros(count), np.zeros(count), 0)
        values = [nothing] * game_count
    else:
        seed = int(job.seed[:SEED_HEX_DIGITS], 16)
        values = [
            spread(value, places, count)
            for value in value_players(task, measure.layout, game, player_updates, seed)
        ]
        utilities = game.utility([0, *(1 << k for k in range(len(played)))])
        standalone_NK[places] = utilities[1:] - utilities[0]
    return RoundValues(values, standalone_NK, game.losses_K, game.measure_accuracy())


def _count_players(
    job: ports.ScoreJob,
    updates: Sequence[IntVector | None],
    findings: Sequence[Finding],
    nesting: Nesting,
) -> NDArray[np.int64]:
    """Return how many of the members without flags hold each number, at least 1."""
    refs = zip(job.updates, updates, findings, strict=True)
    widths = [
        ref.width_ppm for ref, update, found in refs if update is not None and not found.flags
    ]
    return np.maximum(nesting.count_covering(widths), 1)


def _report(
    job: ports.ScoreJob, findings: Sequence[Finding], found: RoundValues, column: int
) -> ports.ScoreResult:
    """Put one validator's columns into its result."""
    now, final = found.values[column], found.values[column + 1]
    numbers = zip(
        _convert_ppm(now.values_N),
        _convert_ppm(now.errors_N),
        _convert_ppm(found.standalone_NK[:, column]),
        _convert_ppm(final.values_N),
        strict=True,
    )
    lines = []
    for ref, finding, (value, error, standalone, last) in zip(
        job.updates, findings, numbers, strict=True
    ):
        original = finding.duplicate_of
        copied = "" if original is None else job.updates[original].member
        lines.append(
            ports.ScoreLine(ref.member, value, error, standalone, finding.flags, copied, last)
        )
    (loss_ppm,) = _convert_ppm(found.losses_K[[column]])
    (accuracy_ppm,) = _convert_ppm(found.accuracies_K[[column]])
    return ports.ScoreResult(
        job.validator, tuple(lines), loss_ppm, accuracy_ppm, now.evaluation_count
    )


def _name_work(job: ports.ScoreJob) -> tuple[object, ...]:
    return (job.round, job.model, job.previous_model, job.updates, job.seed, job.groups, job.shown)


def _convert_ppm(values: FloatArray) -> list[int]:
    """Millionths, half to even, bounded."""
    converted = np.clip(np.rint(values * PPM), -VALUE_MAX, VALUE_MAX).astype(np.int64)
    numbers: list[int] = converted.tolist()
    return numbers
