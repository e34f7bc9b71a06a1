"""Audits in a task: which rounds' work is replayed, and what that asks of the other fields.

Replaying needs the very data, so only what the customer handed out (`data.mode = "assigned"`) can
be audited, and only work that is a pure function of the round's model, the data and a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kumiai.base.amounts import PPM
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
        1, "segments", "Parts of a trace that one audit replays.", ge=1, le=SEGMENTS_MAX
    )
    new_rounds: int = setting(
        10,
        "rounds",
        "A trainer is audited in every round until so many audits in a row found its work valid.",
        ge=1,
        le=ROUNDS_MAX,
    )
    p_min_ppm: int = share(
        PPM,
        "Least chance of an audit in a round; after n valid ones it is 1/n, but not below this. "
        "The default audits every round; less is cheaper and finds late fakers badly.",
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
    return problems


def list_audit_warnings(task: TaskDocument) -> list[str]:
    """Return what is allowed but weak."""
    if not is_audited(task):
        return []
    warnings = _warn_of_deterrence(task)
    if task.audit.reaudit_ppm == 0 and task.audit.auditors < task.validation.validators:
        warnings.append(
            "audit.reaudit_ppm = 0: an auditor who approves without replaying goes unnoticed"
        )
    return warnings


def compute_stake_min(reward: int, chance_ppm: int) -> int:
    """Return what must be at stake, or held back: reward (1 - p) / p, rounded up.

    Cheating pays `reward` with chance 1 - p and costs the stake with chance p, so it gains nothing
    where (1 - p) reward <= p stake. ValueError unless 0 < chance_ppm <= 1e6 and reward >= 0.
    """
    if reward < 0 or not 0 < chance_ppm <= PPM:
        raise ValueError(f"reward {reward} is negative, or chance_ppm {chance_ppm} not in 1..{PPM}")
    return -(-reward * (PPM - chance_ppm) // chance_ppm)


def _warn_of_deterrence(task: TaskDocument) -> list[str]:
    """Who fakes a whole round once audits are rare must have more to lose than it gains.

    At stake then: the slashed part of the least stake, and the locked pay of the rounds in which
    it was audited every time. With p_min_ppm = 100000 the locked pay alone is just enough: 10
    rounds of 0.9 of the pay, where a chance of 0.1 asks for 9 times the pay.
    """
    terms, rewards = task.audit, task.rewards
    if task.training.rounds <= terms.new_rounds:  # audited in every round
        return []
    chance_ppm = max(terms.p_min_ppm, PPM // task.training.rounds)  # 1/n falls no lower
    reward = rewards.budget // (task.training.rounds * task.data.trainers)
    locked = terms.new_rounds * reward * rewards.locked_ppm // PPM
    at_stake = rewards.trainer_stake_min * rewards.slash_ppm // PPM + locked
    needed = compute_stake_min(reward, chance_ppm)
    if at_stake >= needed:
        return []
    warning = (
        f"audit.p_min_ppm = {terms.p_min_ppm}: who fakes a round is found with chance "
        f"{chance_ppm} ppm and then loses {at_stake}; for cheating not to pay it must lose "
        f"{needed}: raise it, audit.new_rounds or rewards.trainer_stake_min"
    )
    return [warning]
