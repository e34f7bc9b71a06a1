"""The terms of a task: who is paid what, how long things may take, who answers and who can stop.

Like `sections`, part of the hashed form: names, defaults and bounds are kept once published.
"""

from __future__ import annotations

from typing import Literal

from kumiai.base.amounts import PPM
from kumiai.base.canonical import INTEGER_MAX
from kumiai.tasks.fields import (
    LONG_TEXT_LENGTH_MAX,
    ONE_DAY_MS,
    RATIO_PPM_MAX,
    UNIT_PATTERN,
    VALIDATORS_MAX,
    Section,
    Text,
    one_of,
    setting,
    share,
    text,
)


class RewardsSection(Section):
    """How the budget is divided."""

    budget: int = setting(
        1_000_000, "unit", "The money of the run, in its smallest unit.", ge=1, le=INTEGER_MAX
    )
    gamma_ppm: int = share(
        100_000,
        "Part of the budget that trainers and validators each get whatever their stakes (gamma).",
        le=500_000,
    )
    rank_ratio_ppm: int = share(
        4_000_000,
        "How many times more a unit of stake earns at the top of the ranking than at the bottom.",
        ge=PPM,
        le=RATIO_PPM_MAX,
    )
    alpha: int = setting(
        1, "exponent", "Exponent of the stake in a reward; 1 makes splitting pointless.", ge=1, le=4
    )
    delegation_weight_ppm: int = share(
        1_000_000, "How much delegated stake counts beside a member's own."
    )
    locked_ppm: int = share(900_000, "Share of a round's pay that waits for the final ranking.")
    deviation_lambda_ppm: int = share(
        1_000_000,
        "How fast a validator's pay falls with its distance to the consensus.",
        le=100 * PPM,
    )
    slash_ppm: int = share(100_000, "Share of the stake that a proven offence costs.")
    payout_min: int = setting(
        1,
        "unit",
        "Least amount worth paying out over a payment rail; a budget that cannot pay it to every "
        "member is refused. The local ledger credits every unit.",
        ge=0,
        le=INTEGER_MAX,
    )
    trainer_stake_min: int = setting(100, "unit", "Least stake of a trainer.", ge=0, le=INTEGER_MAX)
    validator_stake_min: int = setting(
        100, "unit", "Least stake of a validator.", ge=0, le=INTEGER_MAX
    )


class ModelRewardsSection(Section):
    """Which model each member receives."""

    policy: Literal["equal", "rank", "aequa", "aequa-live"] = one_of(
        "equal",
        "equal: everyone gets the full model; aequa: the width whose measured accuracy the "
        "contribution earned; rank: a width in proportion to the contribution; aequa-live: as "
        "rank, but already while training: each round a member gets and trains only the width "
        "that its contribution so far earned.",
    )
    width_min_ppm: int = share(250_000, "Least width that a contributing member receives.", ge=1)
    personalise: Literal["none", "fine_tune", "ditto"] = one_of(
        "none",
        "Whether each member goes on training its received model on its own data after the run: "
        "fine_tune freely, ditto held near the received one. Certified by nobody.",
    )
    personal_epochs: int = setting(
        5, "epochs", "personalise: passes over the member's own data.", ge=1, le=1_000
    )
    personal_lambda_ppm: int = share(
        100_000, "ditto: pull towards the received model (lambda).", le=RATIO_PPM_MAX
    )
    personal_test_ppm: int = share(
        200_000,
        "personalise: share of each member's own data kept aside from all training, to measure "
        "its own model with.",
        ge=1_000,
        le=900_000,
    )


class DeadlinesSection(Section):
    """How long each phase may take. A phase ends early when everybody has acted."""

    enrol_ms: int = setting(60_000, "ms", "Time to enrol.", ge=1, le=30 * ONE_DAY_MS)
    train_ms_min: int = setting(
        1_000, "ms", "Least time for local training.", ge=1, le=30 * ONE_DAY_MS
    )
    train_ms_max: int = setting(
        600_000, "ms", "Most time for local training.", ge=1, le=30 * ONE_DAY_MS
    )
    reveal_ms: int = setting(30_000, "ms", "Time to reveal updates.", ge=1, le=ONE_DAY_MS)
    score_ms: int = setting(60_000, "ms", "Time to score.", ge=1, le=30 * ONE_DAY_MS)
    certify_ms: int = setting(
        30_000, "ms", "Time to collect the quorum's signatures.", ge=1, le=ONE_DAY_MS
    )
    grace_ms: int = setting(
        5_000, "ms", "Grace for a reveal whose commitment was in time.", ge=0, le=ONE_DAY_MS
    )


class GovernanceSection(Section):
    """Who answers for the run, and who can stop it."""

    owner: Text = text("", "Who owns the model.")
    responsible: Text = text("", "Who answers for the run.")
    jurisdiction: Text = text("", "Whose law applies.")
    purpose: Text = text("", "What the model is for.", LONG_TEXT_LENGTH_MAX)
    guardians_required: int = setting(
        1, "signatures", "Guardians that must sign a stop.", ge=1, le=VALIDATORS_MAX
    )


class SettlementSection(Section):
    """Who holds the money, and when a receipt may be claimed."""

    kind: Literal["local", "evm"] = one_of(
        "local",
        "local: the ledger that comes with the run; evm: contracts on a chain (docs/chain.md).",
    )
    unit: Text = setting(
        "point",
        "text",
        "Name of the smallest unit of the money.",
        pattern=UNIT_PATTERN,
    )
    challenge_window_ms: int = setting(
        3_600_000, "ms", "Time to object before a receipt is paid.", ge=0, le=30 * ONE_DAY_MS
    )
