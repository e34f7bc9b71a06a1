"""Updates that are older than their round: what `training.staleness_max` goes together with.

A stale update was trained from the model of an earlier round, its base. Every rule that takes a
round's updates for steps from one and the same model would need a meaning for one that is not. What
has none is refused here, before anybody is asked to pay (docs/adr/0019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kumiai.base.errors import InputError

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument

BUFFER_TO_COMPARE = 3  # of fewer updates nobody can tell what they have in common
WEIGHED = ("mean", "norm_clip", "multi_krum")  # the aggregators that read weights
ALGORITHMS = ("fedavg", "fedprox", "diloco")


def allows_stale(task: TaskDocument) -> bool:
    """Tell whether an update may be committed in a later round than the one it starts from."""
    return task.training.staleness_max > 0


def list_buffer_problems(task: TaskDocument) -> list[InputError]:
    """Return what contradicts a buffer or updates that are older than their round."""
    training = task.training
    problems = []
    if training.buffer > task.data.trainers:
        fix = f"cannot be more than data.trainers = {task.data.trainers}: lower it, or 0 for all"
        problems.append(InputError("training.buffer", training.buffer, fix))
    if training.buffer and not training.staleness_max:
        fix = (
            "needs training.staleness_max of 1 or more: with 0 the work of everybody who is not "
            "among the first would be lost, round after round"
        )
        problems.append(InputError("training.buffer", training.buffer, fix))
    return problems + (_list_stale_problems(task) if training.staleness_max else [])


def list_buffer_warnings(task: TaskDocument) -> list[str]:
    """Return what is allowed but should be known before the run."""
    buffer = task.training.buffer
    if not 0 < buffer < BUFFER_TO_COMPARE:
        return []
    warning = (
        f"training.buffer = {buffer}: of updates that began at one model too few are known to tell "
        "a shaken copy from honest likeness; only exact copies are found"
    )
    return [warning]


def _list_stale_problems(task: TaskDocument) -> list[InputError]:
    training, privacy, live = task.training, task.privacy.mode, task.model_rewards.policy
    with_stale = f"with training.staleness_max = {training.staleness_max}"
    wanted: list[tuple[bool, str, object, str]] = [
        (
            task.mode == "federate",
            "mode",
            task.mode,
            "the best single update becomes the model, whatever its age: set federate",
        ),
        (
            training.algorithm in ALGORITHMS,
            "training.algorithm",
            training.algorithm,
            "it reads a member's iterations off its weight, or a gradient off its step from the "
            "round's model: choose " + ", ".join(ALGORITHMS),
        ),
        (
            training.aggregator in WEIGHED,
            "training.aggregator",
            training.aggregator,
            "it reads no weights, so age would not count: choose " + ", ".join(WEIGHED),
        ),
        (
            training.fragments == 1,
            "training.fragments",
            training.fragments,
            "an older update would be of another fragment: set 1",
        ),
        (
            privacy != "secure",
            "privacy.mode",
            privacy,
            "a group's masks are of one round, and its sum cannot be discounted: set none or local",
        ),
        (
            live != "aequa-live",
            "model_rewards.policy",
            live,
            "an older update may have another width than its round gives: set equal, rank or aequa",
        ),
    ]
    return [
        InputError(field, value, f"{with_stale} {reason}")
        for is_fine, field, value, reason in wanted
        if not is_fine
    ]
