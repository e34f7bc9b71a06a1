"""Strategies: what each does, and the worlds in which one member of every task tries one.

A *world* is the same population with the same luck, except that the deviators of a task do
something else. In world 0 they are honest; a margin is what they earn there minus what they earn
deviating. Names marked "ours" are not in the issue that asked for this simulation.

====================== ==========================================================================
free_rider             sends noise or a replay instead of work
poisoner               works as hard as anybody, with permuted labels (`bribe`: its other income)
copier                 sends another's update with a little noise
sybil                  splits its stake, data and work over `sybils` names
sybil_copies (ours)    works under one name, copies itself under the others, stake split
slacker (ours)         does the share `slack` of the work, honestly
whale                  the same work with `whale` times the stake
lazy                   a validator that gives everybody 5,000 ppm without looking, flags nobody
blank (ours)           a validator that writes 0 for everybody and flags what the bytes show
echo (ours)            a validator that repeats the last round's consensus and flags
collusion              the share `collusion` of the seats lifts `friends` who do not work
collusion_subtle(ours) the same seats lift friends who do work, by two standard deviations
chaser                 a delegator that moves its stake to whoever paid best in the last task
====================== ==========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.sim.adversaries import COLLUSION_VALUE
from kumiai.adapters.sim.economy.parameters import Parameters
from kumiai.adapters.sim.lies import LAZY_VALUE
from kumiai.rounds.agreement import NOISE_FLOOR

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Role = Literal["trainer", "validator", "delegator", "group"]

SUBTLE_SDS = 2.0


class Conduct(IntEnum):
    """What a trainer's seat does."""

    HONEST = 0
    FREE_RIDER = 1
    POISONER = 2
    COPIER = 3
    SLACKER = 4
    PROBE = 5
    EMPTY = 6  # nobody sits there


class Scoring(IntEnum):
    """What a validator's seat does."""

    HONEST = 0
    LAZY = 1
    BLANK = 2
    ECHO = 3
    COLLUDER = 4
    SUBTLE = 5


CHEATS = (Conduct.FREE_RIDER, Conduct.POISONER, Conduct.COPIER, Conduct.SLACKER)  # in the mix
WORKING_SCORES = (Scoring.HONEST, Scoring.COLLUDER, Scoring.SUBTLE)  # the others save the cost


@dataclass(frozen=True, slots=True)
class World:
    """One deviation: who tries what."""

    name: str
    role: Role
    trainer: Conduct = Conduct.HONEST
    scoring: Scoring = Scoring.HONEST
    splits: bool = False  # over the spare seats
    copies_itself: bool = False
    is_whale: bool = False
    chases: bool = False


WORLDS = (
    World("honest", "group"),
    World("free_rider", "trainer", Conduct.FREE_RIDER),
    World("poisoner", "trainer", Conduct.POISONER),
    World("copier", "trainer", Conduct.COPIER),
    World("sybil", "trainer", splits=True),
    World("sybil_copies", "trainer", splits=True, copies_itself=True),
    World("slacker", "trainer", Conduct.SLACKER),
    World("whale", "trainer", is_whale=True),
    World("lazy", "validator", scoring=Scoring.LAZY),
    World("blank", "validator", scoring=Scoring.BLANK),
    World("echo", "validator", scoring=Scoring.ECHO),
    World("collusion", "group", Conduct.FREE_RIDER, Scoring.COLLUDER),
    World("collusion_subtle", "group", scoring=Scoring.SUBTLE),
    World("chaser", "delegator", chases=True),
)
NAMES = tuple(world.name for world in WORLDS)


def seat_trainers(world: World, mix_KN: Ints, parameters: Parameters) -> Ints:
    """Return every trainer seat's conduct in `world`; seats 0.. are the deviators'."""
    conduct_KN = mix_KN.copy()
    count = parameters.friends if world.role == "group" else 1
    if world.trainer is not Conduct.HONEST:
        conduct_KN[:, :count] = world.trainer
    spare = parameters.trainers + parameters.canaries
    if world.splits:
        conduct_KN[:, spare:] = Conduct.COPIER if world.copies_itself else Conduct.HONEST
    return conduct_KN


def seat_validators(world: World, mix_KV: Ints, parameters: Parameters) -> Ints:
    """Return every validator seat's conduct in `world`."""
    scoring_KV = mix_KV.copy()
    if world.scoring is not Scoring.HONEST:
        count = parameters.count_colluders() if world.role == "group" else 1
        scoring_KV[:, :count] = world.scoring
    return scoring_KV


def set_effort(conduct_BN: Ints, parameters: Parameters) -> Floats:
    """The share of an honest round's work that each seat does, paid for at that rate."""
    effort_BN = np.ones(conduct_BN.shape)
    effort_BN[conduct_BN == Conduct.SLACKER] = parameters.slack
    for idle in (Conduct.FREE_RIDER, Conduct.COPIER, Conduct.PROBE, Conduct.EMPTY):
        effort_BN[conduct_BN == idle] = 0.0
    return effort_BN


def find_caught(
    conduct_BN: Ints, bytes_BN: Floats, audit_BN: Floats, parameters: Parameters
) -> Bools:
    """Tell whose update is proven false: by its bytes, or by replaying its work.

    bytes_BN, audit_BN: uniform draws of this round. Honest work is never flagged (0 of 2,880
    judged rounds of honest members were).
    """
    chance_BN = np.zeros(conduct_BN.shape)
    chance_BN[conduct_BN == Conduct.FREE_RIDER] = parameters.seen_rider
    chance_BN[conduct_BN == Conduct.COPIER] = parameters.seen_copy
    chance_BN[conduct_BN == Conduct.PROBE] = 1.0
    is_false_BN = np.isin(conduct_BN, CHEATS)
    caught_BN: Bools = (bytes_BN < chance_BN) | (is_false_BN & (audit_BN < parameters.audit))
    return caught_BN


def write_sheets(
    scoring_BV: Ints,
    seen_VBN: Ints,
    caught_BN: Bools,
    last_BN: Ints,
    friend_N: Bools,
    sd_B: Floats,
) -> tuple[Ints, Bools]:
    """Return (values_VBN, flags_VBN): what each validator states.

    seen_VBN: what it would measure. last_BN: the last round's consensus.
    """
    values_VBN = seen_VBN.copy()
    flags_VBN = np.repeat(caught_BN[None], scoring_BV.shape[1], axis=0)
    shift_B = np.rint(SUBTLE_SDS * sd_B).astype(np.int64)
    b, v = np.nonzero(scoring_BV == Scoring.LAZY)
    values_VBN[v, b], flags_VBN[v, b] = LAZY_VALUE, False
    b, v = np.nonzero(scoring_BV == Scoring.BLANK)
    values_VBN[v, b] = 0
    b, v = np.nonzero(scoring_BV == Scoring.ECHO)
    values_VBN[v, b] = last_BN[b]
    b, v = np.nonzero(scoring_BV == Scoring.COLLUDER)
    values_VBN[v, b] = np.where(friend_N, COLLUSION_VALUE, -np.abs(seen_VBN[v, b]))
    flags_VBN[v, b] &= ~friend_N
    b, v = np.nonzero(scoring_BV == Scoring.SUBTLE)
    values_VBN[v, b] += np.where(friend_N, shift_B[b, None], -shift_B[b, None])
    return values_VBN, flags_VBN


def find_taken_in(values_VBX: Ints, flags_VBX: Bools) -> Ints:
    """How many of these probes each validator took for good work."""
    taken_BV: Ints = (~flags_VBX & (values_VBX > NOISE_FLOOR)).sum(axis=2).T
    return taken_BV
