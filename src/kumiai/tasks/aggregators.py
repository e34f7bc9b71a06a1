"""Which aggregator withstands how many hostile trainers, and what may be set for which.

    rows        what an aggregator sees: one a trainer, or ceil(N / s) buckets of s trainers
    f           training.byzantine_count; f hostile trainers spoil at most f buckets

    krum, multi_krum     rows >= 2 f + 3        P. Blanchard et al., "Machine Learning with
                                                Adversaries: Byzantine Tolerant Gradient Descent",
                                                2017
    median, trimmed_mean rows >= 2 f + 1        D. Yin et al., "Byzantine-Robust Distributed
                                                Learning: Towards Optimal Statistical Rates", 2018;
                                                trimmed_mean also cuts at least f at each end
    geometric_median     rows >= 2 f + 1        K. Pillutla et al., "Robust Aggregation for
    centered_clip                               Federated Learning", 2022; half is the most that any
                                                rule without a root can withstand
    trust_root           any f                  its root decides, not a majority of the trainers
    mean, norm_clip      f = 0                  norm_clip bounds what each one can do, no more

The rules themselves are `learning.aggregation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument
    from kumiai.tasks.sections import TrainingSection

KRUMS = ("krum", "multi_krum")
MAJORITIES = ("median", "trimmed_mean", "geometric_median", "centered_clip")
WITHSTAND_NONE = {"mean": "the mean", "norm_clip": "norm_clip bounds what each can do but"}
# (field, its default = not set, the aggregators that read it)
READERS = (
    ("aggregator_iterations", 0, ("geometric_median", "centered_clip")),
    ("clip_ppm", PPM, ("norm_clip", "centered_clip")),
    ("clip_norm_ppm", 0, ("norm_clip", "centered_clip")),
)


def count_rows(updates: int, bucket_size: int) -> int:
    """Return how many rows the aggregator sees of that many updates."""
    return -(-updates // bucket_size)


def choose_for_count(training: TrainingSection, updates: int) -> tuple[str, int]:
    """Return aggregator and bucket size for a round in which that many updates are left.

    Where verdicts left too few, buckets get smaller, down to none, until the rows withstand
    byzantine_count; where that is not enough for Krum, or trimmed_mean would cut off fewer than
    byzantine_count, the median takes their place.
    """
    size = training.bucket_size
    while size > 1 and not _withstands(training, count_rows(updates, size)):
        size -= 1
    is_enough = _withstands(training, count_rows(updates, size))
    is_replaced = training.aggregator in (*KRUMS, "trimmed_mean") and not is_enough
    return "median" if is_replaced else training.aggregator, size


def has_root(task: TaskDocument) -> bool:
    """Whether every validator trains an update of its own each round, for the root of trust."""
    return task.training.aggregator == "trust_root"


def list_aggregator_problems(task: TaskDocument) -> list[InputError]:
    """Return what is wrong with the aggregator for this number of trainers."""
    problems = _check_unread(task.training) + _check_clip(task.training)
    problems += _check_mode(task)
    return problems or _check_count(task)


def _withstands(training: TrainingSection, rows: int) -> bool:
    name, hostile = training.aggregator, training.byzantine_count
    if name in KRUMS:
        return hostile == 0 or rows >= 2 * hostile + 3
    if name == "trimmed_mean" and rows * training.trim_ppm // PPM < hostile:
        return False
    return name not in MAJORITIES or rows > 2 * hostile


def _check_unread(training: TrainingSection) -> list[InputError]:
    problems = []
    for name, default, readers in READERS:
        value = getattr(training, name)
        if value != default and training.aggregator not in readers:
            fix = (
                f"only {' and '.join(readers)} use it, training.aggregator is "
                f"{training.aggregator}: leave it out"
            )
            problems.append(InputError(f"training.{name}", value, fix))
    if training.bucket_size > 1 and training.aggregator == "mean":
        fix = "the mean of buckets' means is the mean: set 1, or choose another aggregator"
        problems.append(InputError("training.bucket_size", training.bucket_size, fix))
    return problems


def _check_clip(training: TrainingSection) -> list[InputError]:
    if training.clip_norm_ppm == 0 or training.clip_ppm == PPM:
        return []
    fix = f"give one bound, this or training.clip_norm_ppm = {training.clip_norm_ppm}, not both"
    return [InputError("training.clip_ppm", training.clip_ppm, fix)]


def _check_mode(task: TaskDocument) -> list[InputError]:
    if task.mode != "compete" or not has_root(task):
        return []
    fix = "in mode compete the best update is taken whole: leave the aggregator out"
    return [InputError("training.aggregator", task.training.aggregator, fix)]


def _check_count(task: TaskDocument) -> list[InputError]:
    training, trainers = task.training, task.data.trainers
    name, hostile, size = training.aggregator, training.byzantine_count, training.bucket_size
    rows, field = count_rows(trainers, size), "training.byzantine_count"
    seen = f"with data.trainers = {trainers}"
    if name in WITHSTAND_NONE and hostile > 0:
        fix = f"{WITHSTAND_NONE[name]} withstands none: set 0 or choose median or multi_krum"
        return [InputError(field, hostile, fix)]
    least = _count_least(name, hostile)
    if size > 1 and rows < max(least, 2):
        fix = f"{seen} leaves {rows} buckets, {name} needs {max(least, 2)}: {_fit_size(task)}"
        return [InputError("training.bucket_size", size, fix)]
    if rows < least and name in KRUMS and rows < 3:
        fix = f"{seen}: needs at least 3 trainers, or another aggregator"
        return [InputError("training.aggregator", name, fix)]
    if rows < least:
        most = (rows - 3) // 2 if name in KRUMS else (rows - 1) // 2
        reason = " (it needs n >= 2f + 3)" if name in KRUMS else ""
        return [InputError(field, hostile, f"{name} withstands at most {most} {seen}{reason}")]
    return _check_trim(training, rows, seen)


def _count_least(name: str, hostile: int) -> int:
    if name in KRUMS:
        return 2 * hostile + 3
    return 2 * hostile + 1 if name in MAJORITIES else 1


def _fit_size(task: TaskDocument) -> str:
    """Say which bucket size would do."""
    training, trainers = task.training, task.data.trainers
    least = max(2, _count_least(training.aggregator, training.byzantine_count))
    fitting = [s for s in range(training.bucket_size) if s and count_rows(trainers, s) >= least]
    return f"set at most {fitting[-1]}" if fitting else "set 1 and lower training.byzantine_count"


def _check_trim(training: TrainingSection, rows: int, seen: str) -> list[InputError]:
    cut, hostile = rows * training.trim_ppm // PPM, training.byzantine_count
    if training.aggregator != "trimmed_mean" or cut >= hostile:
        return []
    fix = (
        f"{seen} cuts only {cut} at each end, fewer than training.byzantine_count = "
        f"{hostile}: raise it to {-(-hostile * PPM // rows)} or more"
    )
    return [InputError("training.trim_ppm", training.trim_ppm, fix)]
