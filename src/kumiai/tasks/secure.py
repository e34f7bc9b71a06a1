"""Secure aggregation in a task: what it asks of the other fields, and of its groups.

With masks only a group's sum is ever seen. What needs single updates cannot be had beside it; each
rule says what to set instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kumiai.base.errors import InputError
from kumiai.tasks.codecs import DENSE_FIXED

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument

GROUP_SIZE_MIN = 3  # of two, each would know the other's update
GROUP_SIZE_MAX = 100  # a dealing of so many shares is well below an event's bound


def is_secure(task: TaskDocument) -> bool:
    """Tell whether members send masked updates, of which only sums by group are opened."""
    return task.privacy.mode == "secure"


def compute_threshold(group_size: int) -> int:
    """Return how many of a group must stay for its sum to be opened: more than half."""
    return group_size // 2 + 1


def list_secure_problems(task: TaskDocument) -> list[InputError]:
    """Return what cannot be had together with masks."""
    if not is_secure(task):
        return []
    training, size = task.training, task.privacy.group_size
    needs = 'with privacy.mode = "secure" '
    wanted: list[tuple[str, object, object, str]] = [
        ("mode", task.mode, "federate", "single updates cannot compete"),
        ("training.codec", training.codec, DENSE_FIXED, "masks cover whole updates of integers"),
        ("training.aggregator", training.aggregator, "mean", "others need single updates"),
        ("training.weighting", training.weighting, "equal", "a sum cannot be weighted afterwards"),
        ("training.fragments", training.fragments, 1, "masks cover whole updates"),
        ("training.flower", training.flower, "", "masks are put on by the engine's own members"),
        ("validation.canaries", task.validation.canaries, 0, "a probe would spoil its group's sum"),
    ]
    problems = [
        InputError(field, value, f"{needs}{reason}: set {fit!r}")
        for field, value, fit, reason in wanted
        if value != fit
    ]
    if training.algorithm in ("fednova", "scaffold"):
        fix = f"{needs}it needs single updates: set 'fedavg', 'fedprox' or 'diloco'"
        problems.append(InputError("training.algorithm", training.algorithm, fix))
    if size > task.data.trainers:
        fix = f"a group has at most data.trainers = {task.data.trainers} members"
        if task.data.trainers >= GROUP_SIZE_MIN:
            problems.append(InputError("privacy.group_size", size, f"{fix}: lower it"))
        else:
            fix = f"{needs}at least {GROUP_SIZE_MIN}: of fewer the sum shows each one's update"
            problems.append(InputError("data.trainers", task.data.trainers, fix))
    return problems


def list_secure_warnings(task: TaskDocument) -> list[str]:
    """Return what is lost with masks: it should be known before the run."""
    if not is_secure(task):
        return []
    lost = (
        'privacy.mode = "secure": only sums by group are seen; copies, noise and poison of a '
        "single member go unnoticed, and its group's value is divided equally"
    )
    warnings = [lost]
    size, count = task.privacy.group_size, task.data.trainers
    if count < 2 * size:
        warnings.append(
            f"privacy.group_size = {size}: {count} trainers make one group, in which all earn "
            f"alike; from {2 * size} trainers on there are two"
        )
    return warnings
