"""Audits in a task: which rounds' work is replayed, and what that asks of the other fields.

Replaying needs the very data, so only what the customer handed out (`data.mode = "assigned"`) can
be audited, and only work that is a pure function of the round's model, the data and a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kumiai.base.errors import InputError
from kumiai.tasks.codecs import DENSE_FIXED
from kumiai.tasks.fields import (
    ONE_DAY_MS,
    ROUNDS_MAX,
    VALIDATORS_MAX,
    Section,
    one_of,
    setting,
    share,
)

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument

SEGMENTS_MAX = 16  # of one audit: their proofs fit into one event


class AuditSection(Section):
    """Whether trainers' work is replayed, how often, and by how many."""

    mode: Literal["none", "replay"] = one_of(
        "none",
        "replay: trainers bind themselves to a trace of their training, and drawn parts of it are "
        "trained again by validators; needs data.mode = assigned.",
    )
    checkpoint_every: int = setting(
        10,
        "iterations",
        "Iterations between two states of a trace: the length of what is replayed at once.",
        ge=1,
        le=1_000_000,
    )
    segments: int = setting(
        2, "segments", "Parts of a trace that one audit replays.", ge=1, le=SEGMENTS_MAX
    )
    new_rounds: int = setting(
        10,
        "rounds",
        "A trainer is audited in every round until so many audits in a row found its work valid.",
        ge=1,
        le=ROUNDS_MAX,
    )
    p_min_ppm: int = share(
        100_000,
        "Least chance of an audit in a round; after n valid ones it is 1/n, but not below this.",
    )
    auditors: int = setting(
        1,
        "validators",
        "Validators that replay an audit; an accusation is replayed by the whole committee.",
        ge=1,
        le=VALIDATORS_MAX,
    )
    reaudit_ppm: int = share(
        200_000, "Chance that one more validator replays an audit, to find auditors who do not."
    )
    open_ms: int = setting(
        30_000, "ms", "Time to open the states that were drawn.", ge=1, le=ONE_DAY_MS
    )
    jury_ms: int = setting(
        60_000, "ms", "Time of the committee to replay an accusation.", ge=1, le=30 * ONE_DAY_MS
    )


def is_audited(task: TaskDocument) -> bool:
    """Tell whether trainers of this task commit to traces."""
    return task.audit.mode == "replay"


def list_audit_problems(task: TaskDocument) -> list[InputError]:
    """Return what cannot be had together with replayed audits."""
    if not is_audited(task):
        return []
    training, needs = task.training, 'with audit.mode = "replay" '
    wanted: list[tuple[str, object, object, str]] = [
        ("data.mode", task.data.mode, "assigned", "a validator must have the data too"),
        ("privacy.mode", task.privacy.mode, "none", "secret noise and masks cannot be replayed"),
        ("training.codec", training.codec, DENSE_FIXED, "others remember what nobody else sees"),
        ("training.fragments", training.fragments, 1, "members go on from what they hold back"),
        ("training.flower", training.flower, "", "another program's work cannot be replayed"),
        ("training.staleness_max", training.staleness_max, 0, "work is of its own round"),
        ("validation.canaries", task.validation.canaries, 0, "a probe has no trace to show"),
    ]
    problems = [
        InputError(field, value, f"{needs}{reason}: set {fit!r}")
        for field, value, fit, reason in wanted
        if value != fit
    ]
    if training.algorithm == "scaffold":
        fix = f"{needs}control variates are secret: set 'fedavg', 'fedprox', 'fednova' or 'diloco'"
        problems.append(InputError("training.algorithm", training.algorithm, fix))
    if training.backend not in ("auto", "inline"):
        fix = f"{needs}members train one by one: choose 'auto' or 'inline'"
        problems.append(InputError("training.backend", training.backend, fix))
    if task.model_rewards.policy == "aequa-live":
        fix = f"{needs}all train the full width: set equal, rank or aequa"
        problems.append(InputError("model_rewards.policy", "aequa-live", fix))
    if task.audit.auditors > task.validation.validators:
        fix = f"the committee has validation.validators = {task.validation.validators}: lower it"
        problems.append(InputError("audit.auditors", task.audit.auditors, fix))
    return problems


def list_audit_warnings(task: TaskDocument) -> list[str]:
    """Return what is allowed but weak."""
    if not is_audited(task):
        return []
    if task.audit.reaudit_ppm == 0 and task.audit.auditors < task.validation.validators:
        return ["audit.reaudit_ppm = 0: an auditor who approves without replaying goes unnoticed"]
    return []
