"""A round's strangers' updates, measured: faults by their bytes, gains and values on a hold-out.

As in a run (`scoring`), with three differences. Updates of one shard and seed that agree are one
piece of work and no copies of each other (`redundancy`); a near-copy of another shard's update is
one, as everywhere. Gain is that of the whole update added alone, as the round would move if it were
the only one. And what leaves the numbers that weights can have, or whose loss is no number, has
diverged and takes no part.

Nothing that a provider says about its update is looked at: not its loss, not its sample count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kumiai.adapters.compute.coalitions import LOSS_RISE_MAX, CoalitionGame
from kumiai.adapters.compute.decoded import UPDATE, DecodedBlobs
from kumiai.adapters.compute.look_back import read_last_step
from kumiai.adapters.compute.market.opened import OpenedJob
from kumiai.adapters.compute.market.redundancy import Agreement, Work, compare_work, find_works
from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.adapters.compute.scoring import VALUE_MAX, value_members
from kumiai.base.amounts import PPM
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, dequantise
from kumiai.nodes import ports
from kumiai.nodes.market.work import Candidate, JudgedUpdate, Judgement, JudgeOrder
from kumiai.proofs import flags as flag
from kumiai.proofs.similarity import (
    Finding,
    SimilarityLimits,
    compute_gram,
    find_copies,
    find_core,
    find_flags,
)
from kumiai.tasks.codecs import mixes_coordinates
from kumiai.tasks.document import TaskDocument

FAULTS = {
    flag.MALFORMED: "malformed",
    flag.DUPLICATE: "duplicate",
    flag.REPLAY: "replayed",
    flag.ZERO: "empty",
    flag.NO_WORK: "uncorrelated",
}
DIVERGED, DIFFERS = "diverged", "differs"
JUDGE = "judge"


def judge_updates(
    job: OpenedJob, measure: HoldoutMeasure, decoded: DecodedBlobs, order: JudgeOrder
) -> Judgement:
    """Measure an order's updates; `measure` has one hold-out. See the module."""
    model_P = decoded.get("model", order.model)
    candidates = order.candidates
    updates = [decoded.find(UPDATE, candidate.update) for candidate in candidates]
    works = find_works([candidate.shard for candidate in candidates], updates)
    refs = [
        ports.UpdateRef(
            candidates[w.places[0]].provider, candidates[w.places[0]].update, w.places[0]
        )
        for w in works
    ]
    scoring = ports.ScoreJob(
        order.round, JUDGE, order.model, order.previous_model, tuple(refs), order.seed
    )
    findings = find_work_flags(job.task, decoded, scoring, works)
    gains, has_diverged = measure_gains(measure, model_P, [work.vector_P for work in works])
    out = Finding(flag.MALFORMED, None)  # in the game: not played
    played = [out if bad else found for found, bad in zip(findings, has_diverged, strict=True)]
    valued = value_members(
        job.task, measure, decoded, scoring, [work.vector_P for work in works], played
    )
    agreements = compare_work(works, gains)
    values, errors = (
        _convert_ppm(numbers) for numbers in (valued.values[0].values_N, valued.values[0].errors_N)
    )
    lines: dict[int, JudgedUpdate] = {}
    for at, work in enumerate(works):
        fault, original = _name_fault(findings[at], has_diverged[at])
        copied = candidates[works[original].places[0]].provider if original is not None else ""
        for place in work.places:
            lines[place] = _write_line(
                candidates[place], gains[at], values[at], errors[at], fault, copied,
                agreements[place],
            )  # fmt: skip
    missing = [
        JudgedUpdate(candidate.provider, 0, 0, 0, FAULTS[flag.MALFORMED])
        if update_P is None
        else lines[place]
        for place, (candidate, update_P) in enumerate(zip(candidates, updates, strict=True))
    ]
    (loss,), (accuracy,) = _convert_ppm(valued.losses_K), _convert_ppm(valued.accuracies_K)
    return Judgement(loss, accuracy, tuple(missing))


def measure_gains(
    measure: HoldoutMeasure, model_P: IntVector, updates: Sequence[IntVector]
) -> tuple[list[int], list[bool]]:
    """Return each update's gain alone, in ppm of a nat, and whether it has diverged.

    The smaller of two gains: of the loss itself, and of the bounded one (see `measure`). The
    bounded one alone would pay for random weights while the model still guesses: their wrong
    answers cost no more than the bound, and some are right. The plain one alone would pay for
    flattening a model that is too sure of itself. A loss counts at most LOSS_RISE_MAX above the
    model's own, as in the game; so does divergence.
    """
    if not updates:
        return [], []
    gains, diverged = [], []
    game = CoalitionGame(measure, model_P, updates, 1)
    masks = [0, *(1 << k for k in range(len(updates)))]
    utilities, losses = game.utility(masks)[:, 0], game.get_plain(masks)[1:, 0]
    base_P = torch.from_numpy(dequantise(model_P))
    for update_P, utility, plain in zip(updates, utilities[1:], losses, strict=True):
        moved_P = np.add(model_P, update_P, dtype=np.int64)
        is_outside = bool((np.abs(moved_P) > INTEGER_ABS_MAX).any())
        gain = float(utility - utilities[0])
        if is_outside or gain <= -LOSS_RISE_MAX:  # broken: is its loss a number at all?
            rows_MP = (base_P + torch.from_numpy(dequantise(update_P)))[None]
            loss = measure.measure(rows_MP).plain_MK[0, 0]
            is_outside = is_outside or not np.isfinite(loss)
        plain_gain = float(game.losses_K[0] - plain) if np.isfinite(plain) else -LOSS_RISE_MAX
        gain = -LOSS_RISE_MAX if is_outside else max(min(gain, plain_gain), -LOSS_RISE_MAX)
        gains += _convert_ppm(np.array([gain]))
        diverged.append(is_outside)
    return gains, diverged


def find_work_flags(
    task: TaskDocument, decoded: DecodedBlobs, scoring: ports.ScoreJob, works: Sequence[Work]
) -> list[Finding]:
    """Return what each piece of work shows by its bytes; of one shard none copies another."""
    if not works:
        return []
    rows_NP = np.stack([work.vector_P for work in works])
    can_see_work = not mixes_coordinates(task.training.codec)  # see `scoring._compare`
    limits = SimilarityLimits(
        duplicate_cosine_ppm=task.validation.duplicate_cosine_ppm,
        replay_cosine_ppm=task.validation.replay_cosine_ppm,
        work_z_milli=task.validation.work_z_milli if can_see_work else 0,
    )
    gram, _ = compute_gram(rows_NP)
    count, cosine = len(works), limits.duplicate_cosine_ppm
    core_N = find_core(gram, np.ones(count, bool), cosine)
    is_copy = find_copies(gram, count, cosine, core_N)
    shards_N = np.array([work.shard for work in works])
    is_copy &= shards_N[:, None] != shards_N[None, :]
    heights = [work.places[0] for work in works]
    previous_P = read_last_step(decoded, scoring)
    return find_flags(rows_NP, heights, previous_P, limits, is_copy)


def _name_fault(finding: Finding, has_diverged: bool) -> tuple[str, int | None]:
    """Return the fault's code and which piece of work is copied; the first flag names it."""
    for bit in flag.EACH:
        if finding.flags & bit:
            return FAULTS[bit], finding.duplicate_of if bit == flag.DUPLICATE else None
    return (DIVERGED if has_diverged else ""), None


def _write_line(
    candidate: Candidate,
    gain: int,
    value: int,
    error: int,
    fault: str,
    copied: str,
    agreement: Agreement,
) -> JudgedUpdate:
    if not fault and agreement.is_off:
        fault = DIFFERS
    return JudgedUpdate(candidate.provider, gain, value, error, fault, copied, agreement.state)


def _convert_ppm(values: np.ndarray) -> list[int]:
    """Millionths, half to even, bounded."""
    converted = np.clip(np.rint(values * PPM), -VALUE_MAX, VALUE_MAX).astype(np.int64)
    numbers: list[int] = converted.tolist()
    return numbers
