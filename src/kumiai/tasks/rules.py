"""What must hold between fields: each rule names the field to change and the value that would do.

Aggregator bounds: P. Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent" (2017), Krum needs n >= 2f + 3; D. Yin et al., "Byzantine-Robust Distributed
Learning: Towards Optimal Statistical Rates" (2018), median and trimmed mean need f < n / 2, the
latter a cut of at least f at each end.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.tasks.codecs import DENSE_FIXED, parse_description

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument

LOSSY_STAGES = frozenset({"sign", "int2", "topk", "powersgd"})  # biased: need error feedback
FAULT_TOLERANT_MIN = 4  # n = 3f + 1 with f = 1


def list_contradictions(task: TaskDocument) -> list[InputError]:
    """Return what the fields, each fine by itself, get wrong together."""
    return [
        *_check_widths(task),
        *_check_slim(task),
        *_check_data(task),
        *_check_aggregator(task),
        *_check_budget(task),
        *_check_deadlines(task),
    ]


def _check_slim(task: TaskDocument) -> list[InputError]:
    """Distillation needs a full width that teaches and narrow ones that learn."""
    if task.training.slim_distill and not task.training.slim:
        fix = "false, or set training.slim = true: without slim no narrow width is trained"
        return [InputError("training.slim_distill", True, fix)]
    return []


def list_warnings(task: TaskDocument) -> list[str]:
    """Return what is allowed but should be known before the run: one sentence each."""
    warnings = []
    validators = task.validation.validators
    if validators == 1:
        warnings.append(
            "validation.validators = 1: the only validator decides alone; its word "
            "cannot be checked against another's"
        )
    elif validators < FAULT_TOLERANT_MIN:
        warnings.append(
            f"validation.validators = {validators}: tolerates no faulty validator; "
            f"{FAULT_TOLERANT_MIN} tolerate one"
        )
    warnings += _warn_of_codec(task)
    if task.rewards.alpha > 1:
        warnings.append(
            f"rewards.alpha = {task.rewards.alpha}: a big stake earns more than its share"
        )
    if task.validation.canaries == 0:
        warnings.append("validation.canaries = 0: a validator that does not work goes unnoticed")
    if not task.data.open_holdout:
        warnings.append(
            "data.open_holdout = false: the scores themselves cannot be recomputed by others"
        )
    if not task.governance.responsible:
        warnings.append('governance.responsible = "": nobody is on record as answering for the run')
    return warnings


def _warn_of_codec(task: TaskDocument) -> list[str]:
    codec, aggregator = task.training.codec, task.training.aggregator
    names = [] if codec == DENSE_FIXED else [name for name, _ in parse_description(codec)]
    warnings = []
    lossy = [name for name in names if name in LOSSY_STAGES]
    if lossy and "ef" not in names:
        warnings.append(
            f'training.codec = "{codec}": what {" and ".join(lossy)} leaves out is lost for good; '
            "ef in front sends it later"
        )
    if "topk" in names and aggregator in ("median", "trimmed_mean"):
        warnings.append(
            f"training.aggregator = {aggregator}: with topk most updates are zero at most weights, "
            "and so is their middle; the model hardly moves"
        )
    return warnings


def _check_widths(task: TaskDocument) -> list[InputError]:
    widths = task.model.widths_ppm
    field = "model.widths_ppm"
    if any(not 1 <= width <= PPM for width in widths):
        return [InputError(field, list(widths), f"each width must lie between 1 and {PPM} ppm")]
    if any(low >= high for low, high in pairwise(widths)):
        return [InputError(field, list(widths), "must ascend, each width once")]
    if widths[-1] != PPM:
        return [InputError(field, list(widths), f"must end in {PPM}, the full network")]
    return []


def _check_data(task: TaskDocument) -> list[InputError]:
    kept_ppm = task.data.holdout_ppm + task.data.test_ppm
    if kept_ppm < PPM:
        return []
    test_ppm = task.data.test_ppm
    fix = f"with data.test_ppm = {test_ppm} nothing is left to train on: lower one of the two"
    return [InputError("data.holdout_ppm", task.data.holdout_ppm, fix)]


def _check_aggregator(task: TaskDocument) -> list[InputError]:
    training, trainers = task.training, task.data.trainers
    hostile, field = training.byzantine_count, "training.byzantine_count"
    with_trainers = f"with data.trainers = {trainers}"
    if training.aggregator == "mean" and hostile > 0:
        fix = "the mean withstands none: set 0 or choose median, trimmed_mean or multi_krum"
        return [InputError(field, hostile, fix)]
    if training.aggregator == "multi_krum" and trainers < 2 * hostile + 3:
        if trainers < 3:
            fix = f"{with_trainers}: needs at least 3 trainers, or another aggregator"
            return [InputError("training.aggregator", training.aggregator, fix)]
        most = (trainers - 3) // 2
        fix = f"multi_krum withstands at most {most} {with_trainers} (it needs n >= 2f + 3)"
        return [InputError(field, hostile, fix)]
    if training.aggregator in ("median", "trimmed_mean") and 0 < trainers <= 2 * hostile:
        most = (trainers - 1) // 2
        fix = f"{training.aggregator} withstands at most {most} {with_trainers}"
        return [InputError(field, hostile, fix)]
    cut = trainers * training.trim_ppm // PPM
    if training.aggregator == "trimmed_mean" and cut < hostile:
        fix = (
            f"{with_trainers} cuts only {cut} at each end, fewer than training.byzantine_count = "
            f"{hostile}: raise it to {-(-hostile * PPM // trainers)} or more"
        )
        return [InputError("training.trim_ppm", training.trim_ppm, fix)]
    return []


def _check_budget(task: TaskDocument) -> list[InputError]:
    members = task.data.trainers + task.validation.validators
    least = task.rewards.payout_min * members
    if task.rewards.budget >= least:
        return []
    fix = (
        f"cannot pay {members} members rewards.payout_min = {task.rewards.payout_min} each: "
        f"raise it to {least} or lower the minimum payout"
    )
    return [InputError("rewards.budget", task.rewards.budget, fix)]


def _check_deadlines(task: TaskDocument) -> list[InputError]:
    least, most = task.deadlines.train_ms_min, task.deadlines.train_ms_max
    if least <= most:
        return []
    fix = f"must not exceed deadlines.train_ms_max = {most}"
    return [InputError("deadlines.train_ms_min", least, fix)]
