"""What the simulation assumes: every number with its unit, its bounds and where it comes from.

Rules (`gamma_ppm` to `validation`): the task document's own defaults, so a changed default changes
the simulation. Measured: what real runs of the demo's kind of task show
(`python benchmarks/economics_noise.py`, docs/results/economics_noise.json: MNIST-5k, 6 or 9 honest
members, 4 validators, 24 rounds, 8 seeds of each). Assumed: nobody measured it; the sweep shows
what depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.tasks.sections import ValidationSection
from kumiai.tasks.terms import RewardsSection

_REWARDS = RewardsSection()
_VALIDATION = ValidationSection()
SOURCES = ("rule", "measured", "assumed")


def _number(default: float, low: float, high: float, source: str, unit: str, text: str) -> Any:
    about = {"low": low, "high": high, "source": source, "unit": unit, "text": text}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class Parameters:
    """One economy. Whole numbers are ints, shares without `_ppm` are floats."""

    # the rules
    gamma_ppm: int = _number(
        _REWARDS.gamma_ppm, 0, 500_000, "rule", "ppm", "certain part of each role's pool"
    )
    rank_ratio_ppm: int = _number(
        _REWARDS.rank_ratio_ppm,
        PPM,
        1000 * PPM,
        "rule",
        "ppm",
        "pay of a stake at the top / bottom",
    )
    alpha: int = _number(_REWARDS.alpha, 1, 2, "rule", "exponent", "of the stake in a reward")
    delegation_weight_ppm: int = _number(
        _REWARDS.delegation_weight_ppm, 0, PPM, "rule", "ppm", "how much lent stake counts"
    )
    locked_ppm: int = _number(
        _REWARDS.locked_ppm, 0, PPM, "rule", "ppm", "pay that waits for the end of the task"
    )
    deviation_lambda_ppm: int = _number(
        _REWARDS.deviation_lambda_ppm, 0, 100 * PPM, "rule", "ppm", "validators' pay by distance"
    )
    slash_ppm: int = _number(
        _REWARDS.slash_ppm, 0, PPM, "rule", "ppm", "stake that one proven offence costs"
    )
    harm_floor_ppm: int = _number(
        _VALIDATION.harm_floor_ppm, 0, 100 * PPM, "rule", "ppm of a nat", "loss called harmful"
    )
    canaries: int = _number(_VALIDATION.canaries, 0, 8, "rule", "members", "probes in a task")
    audit: float = _number(
        0.0, 0, 1, "rule", "share", "updates replayed from their data; 0: as with audit.mode = none"
    )
    recheck: float = _number(
        _VALIDATION.recheck_ppm / PPM, 0, 1, "rule", "share", "sheets that are rechecked at the end"
    )
    # who takes part in a task
    trainers: int = _number(40, 4, 400, "assumed", "members", "trainers in a task")
    validators: int = _number(7, 4, 31, "assumed", "members", "validators in a task")
    delegators: int = _number(53, 0, 2_000, "assumed", "people", "delegators of a task")
    task_rounds: int = _number(20, 2, 1_000, "assumed", "rounds", "rounds of a task")
    cheats: float = _number(0.2, 0, 0.8, "assumed", "share", "trainers who cheat, all kinds alike")
    lazy: float = _number(0.15, 0, 0.45, "assumed", "share", "validators who do not look")
    chasers: float = _number(0.5, 0, 1, "assumed", "share", "delegators who chase yield")
    # money
    budget: int = _number(
        1_000_000, 10_000, 10**8, "assumed", "units", "a round's budget of one task"
    )
    stake: float = _number(
        10.0, 0.01, 1_000, "assumed", "rounds' pay", "mean stake, in mean pays of a round"
    )
    stake_spread: float = _number(0.5, 0, 2, "assumed", "log sd", "inequality of first stakes")
    delegated: float = _number(1.0, 0, 20, "assumed", "ratio", "lent stake / members' own stake")
    sigma_ppm: int = _number(
        400_000, 0, PPM, "assumed", "ppm", "what a node keeps of what delegation adds"
    )
    cost: float = _number(
        0.4, 0, 2, "assumed", "mean pays", "an average trainer's cost of a round's work"
    )
    cost_base: float = _number(
        0.02, 0, 1, "assumed", "mean pays", "cost of taking part without working"
    )
    cost_score: float = _number(
        0.3, 0, 2, "assumed", "mean pays", "a validator's cost of scoring a round"
    )
    capital: float = _number(
        0.0005, 0, 0.1, "assumed", "a round", "what a unit of bound stake would earn elsewhere"
    )
    reinvest: float = _number(0.5, 0, 1, "assumed", "share", "profit that is staked again")
    # learning and its measurement
    gain: float = _number(
        2_150_000, 1_000, 10**8, "measured", "ppm of a nat", "loss that training can remove"
    )
    decay: float = _number(2.1, 0.2, 5, "measured", "exponent", "loss left: (1 + rounds) to -decay")
    effort_power: float = _number(
        0.56, 0.1, 1, "measured", "exponent", "of the samples worked on in the contribution"
    )
    data_spread: float = _number(0.5, 0, 2, "assumed", "log sd", "inequality of members' data")
    noise: float = _number(
        73_000, 0, 10**7, "measured", "ppm of a nat", "sd of a validator's score times members"
    )
    noise_decay: float = _number(
        0.55, 0, 2, "measured", "exponent", "how that noise falls with the round"
    )
    luck: float = _number(
        0.31, 0, 5, "measured", "of noise", "sd of a round's luck that all hold-outs see"
    )
    # what is found
    seen_rider: float = _number(
        0.97, 0, 1, "measured", "chance", "noise, replay found; 96 of 96, lower bound"
    )
    seen_copy: float = _number(
        0.97, 0, 1, "measured", "chance", "copy found; 96 of 96 of all kinds, lower bound"
    )
    poison: float = _number(
        1.0, 0, 20, "measured", "of honest", "harm of a poisoned update, against honest gain"
    )
    bribe: float = _number(
        0.0, 0, 50, "assumed", "mean pays", "what an outsider pays for a poisoned round"
    )
    # the deviations
    slack: float = _number(0.25, 0, 1, "assumed", "share", "of the work that a slacker does")
    sybils: int = _number(3, 2, 6, "assumed", "names", "among which a Sybil splits itself")
    whale: float = _number(10.0, 1, 100, "assumed", "ratio", "a whale's stake / an equal's stake")
    collusion: float = _number(
        0.3, 0, 0.9, "assumed", "share", "of the committee's seats that collude"
    )
    friends: int = _number(2, 1, 4, "assumed", "members", "trainers whom colluders lift")

    @property
    def seats(self) -> int:
        """People of one task."""
        return self.trainers + self.validators + self.delegators

    def count_colluders(self) -> int:
        """Colluding seats, at least one, never the whole committee."""
        return min(self.validators - 1, max(1, round(self.collusion * self.validators)))


NAMES = tuple(item.name for item in fields(Parameters))


def describe(name: str) -> Mapping[str, Any]:
    """Return the bounds, unit, source and sentence of one parameter."""
    return next(item.metadata for item in fields(Parameters) if item.name == name)


def change(parameters: Parameters, name: str, value: float) -> Parameters:
    """Return `parameters` with one of them changed; InputError for a value out of its bounds.

    Without delegators nothing is lent, whatever `delegated` says.
    """
    about = describe(name)
    if not about["low"] <= value <= about["high"]:  # refuses nan as well
        fix = f"must lie in {about['low']:g}..{about['high']:g} ({about['unit']}: {about['text']})"
        raise InputError(f"--set {name}", value, fix)
    is_whole = isinstance(getattr(Parameters(), name), int)
    if is_whole and value != int(value):
        raise InputError(f"--set {name}", value, f"must be a whole number of {about['unit']}")
    changed: Parameters = replace(parameters, **{name: int(value) if is_whole else float(value)})
    if changed.delegators == 0 and changed.delegated > 0:
        changed = replace(changed, delegated=0.0)
    return changed


def read_overrides(texts: Sequence[str]) -> Parameters:
    """Read `name=value` texts; InputError names the one that cannot be used, and what could."""
    parameters = Parameters()
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError("--set", text, "write NAME=VALUE, for example slash_ppm=300000")
        if name not in NAMES:
            raise InputError("--set", name, f"unknown; use one of {', '.join(NAMES)}")
        try:
            number = float(value)
        except ValueError:
            raise InputError(f"--set {name}", value, "must be a number") from None
        parameters = change(parameters, name, number)
    return parameters
