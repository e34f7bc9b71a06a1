"""Who takes part: stakes, data, speed and habits, drawn once a seed; and a season's luck.

Stakes, data and speed are log-normal. Every draw comes from the seed and the season alone, so all
worlds share it (common random numbers), and a parameter that changes no shape changes no draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.sim.economy.conduct import CHEATS, Conduct, Scoring
from kumiai.adapters.sim.economy.parameters import Parameters
from kumiai.base.amounts import PPM
from kumiai.tasks.terms import RewardsSection

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SPEED_SPREAD = 0.2  # log sd of what the same work costs different members
DELEGATOR_SPREAD = 1.0  # log sd of delegators' wealth
STAKE_MIN = RewardsSection().trainer_stake_min


@dataclass(frozen=True, slots=True)
class People:
    """K tasks' members as they start. Seats: trainers, then probes, then spare names."""

    trainer_stakes_KN: Ints
    validator_stakes_KV: Ints
    wealth_KD: Ints
    ability_KN: Floats  # contribution of full work, 1 in the mean
    work_KN: Floats  # cost of full work, 1 in the mean
    victims_KN: Ints  # whom a copier copies
    mix_KN: Ints
    scoring_KV: Ints
    nodes_KD: Ints  # whom a delegator backs first
    chasing_KD: Bools


@dataclass(frozen=True, slots=True)
class Luck:
    """The draws of one season of R rounds: standard normal and uniform."""

    member_RKN: Floats
    score_RVKN: Floats
    final_RVKN: Floats
    bytes_RKN: Floats
    audit_RKN: Floats
    recheck_KV: Floats


def compute_reference_pays(parameters: Parameters) -> tuple[float, float]:
    """A trainer's and a validator's mean pay of a round, if all stakes were equal."""
    gamma = parameters.gamma_ppm / PPM
    share = gamma + (1 - 2 * gamma) * parameters.trainers / (
        parameters.trainers + parameters.validators
    )
    trainers = parameters.budget * share / parameters.trainers
    return trainers, parameters.budget * (1 - share) / parameters.validators


def count_trainer_seats(parameters: Parameters) -> int:
    """Trainers, probes and the spare names of a Sybil."""
    return parameters.trainers + parameters.canaries + parameters.sybils - 1


def count_reserved(parameters: Parameters) -> tuple[int, int]:
    """Trainer and validator seats that are honest in world 0, kept for deviators."""
    return max(2, parameters.friends), parameters.count_colluders()


def draw_people(parameters: Parameters, tasks: int, seed: int) -> People:
    """Draw the members of `tasks` tasks."""
    rng = np.random.default_rng([seed, 0])
    seats = count_trainer_seats(parameters)
    mean_stake = parameters.stake * compute_reference_pays(parameters)[0]
    trainers_KN = _draw_lognormal(rng, (tasks, seats), parameters.stake_spread)
    validators_KV = _draw_lognormal(rng, (tasks, parameters.validators), parameters.stake_spread)
    wealth_KD = _draw_lognormal(rng, (tasks, parameters.delegators), DELEGATOR_SPREAD)
    size_KN = _draw_lognormal(rng, (tasks, seats), parameters.data_spread)
    ability_KN = size_KN**parameters.effort_power
    ability_KN /= np.mean(ability_KN[:, : parameters.trainers])
    speed_KN = _draw_lognormal(rng, (tasks, seats), SPEED_SPREAD)
    own_sum = mean_stake * (parameters.trainers + parameters.validators)
    lent_mean = parameters.delegated * own_sum / max(parameters.delegators, 1)
    node_count = seats + parameters.validators
    nodes = [*range(parameters.trainers), *range(seats, node_count)]
    mix_KN, victims_KN = _draw_mix(rng, parameters, tasks, seats)
    return People(
        trainer_stakes_KN=_to_stakes(trainers_KN * mean_stake),
        validator_stakes_KV=_to_stakes(validators_KV * mean_stake),
        wealth_KD=np.rint(wealth_KD * lent_mean).astype(np.int64),
        ability_KN=ability_KN,
        work_KN=size_KN * speed_KN,
        victims_KN=victims_KN,
        mix_KN=mix_KN,
        scoring_KV=_draw_scoring(rng, parameters, tasks),
        nodes_KD=rng.choice(nodes, (tasks, parameters.delegators)),
        chasing_KD=rng.random((tasks, parameters.delegators)) < parameters.chasers,
    )


def draw_luck(parameters: Parameters, tasks: int, seed: int, season: int) -> Luck:
    """Draw one season's luck."""
    rng = np.random.default_rng([seed, 1, season])
    shape = (parameters.task_rounds, tasks, count_trainer_seats(parameters))
    return Luck(
        member_RKN=rng.standard_normal(shape),
        bytes_RKN=rng.random(shape),
        audit_RKN=rng.random(shape),
        recheck_KV=rng.random((tasks, parameters.validators)),
        score_RVKN=rng.standard_normal((shape[0], parameters.validators, *shape[1:])),
        final_RVKN=rng.standard_normal((shape[0], parameters.validators, *shape[1:])),
    )


def _draw_lognormal(rng: np.random.Generator, shape: tuple[int, int], spread: float) -> Floats:
    """Log-normal with mean 1."""
    drawn: Floats = np.exp(spread * rng.standard_normal(shape) - spread**2 / 2)
    return drawn


def _to_stakes(amounts: Floats) -> Ints:
    stakes: Ints = np.maximum(STAKE_MIN, np.rint(amounts)).astype(np.int64)
    return stakes


def _draw_mix(
    rng: np.random.Generator, parameters: Parameters, tasks: int, seats: int
) -> tuple[Ints, Ints]:
    """Everybody's habit outside of the deviators' seats, and whom copiers copy."""
    reserved = count_reserved(parameters)[0]
    mix_KN = np.full((tasks, seats), Conduct.HONEST, dtype=np.int64)
    cheating_KN = rng.random((tasks, seats)) < parameters.cheats
    kinds_KN = rng.choice([int(kind) for kind in CHEATS], (tasks, seats))
    mix_KN[cheating_KN] = kinds_KN[cheating_KN]
    mix_KN[:, :reserved] = Conduct.HONEST
    mix_KN[:, parameters.trainers :] = Conduct.EMPTY
    mix_KN[:, parameters.trainers : parameters.trainers + parameters.canaries] = Conduct.PROBE
    # the victim works: the last reserved seat, which is honest in the mix, unless there is a better
    honest_KN = mix_KN == Conduct.HONEST
    honest_KN[:, 0] = False
    ranks_KN = np.where(honest_KN, rng.random((tasks, seats)), -1.0)
    victims_KN = np.repeat(np.argmax(ranks_KN, axis=1)[:, None], seats, axis=1)
    victims_KN[:, parameters.trainers + parameters.canaries :] = 0  # a Sybil copies itself
    return mix_KN, victims_KN


def _draw_scoring(rng: np.random.Generator, parameters: Parameters, tasks: int) -> Ints:
    reserved = count_reserved(parameters)[1]
    scoring_KV = np.full((tasks, parameters.validators), Scoring.HONEST, dtype=np.int64)
    lazy_KV = rng.random((tasks, parameters.validators)) < parameters.lazy
    lazy_KV[:, :reserved] = False
    scoring_KV[lazy_KV] = Scoring.LAZY
    return scoring_KV
