"""Local work that is done by a member's own program instead of the engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kumiai.base.amounts import PPM

LOSS_PPM_MAX = 2**52  # of a training loss as claimed: an exact integer in any reader's JSON


@dataclass(frozen=True, slots=True)
class MemberJob:
    """One member's work of one round; `memory` is what its program gave back the last time.

    place: the member's number among those with a shard, of `count`.
    """

    place: int
    count: int
    round: int
    seed: int
    memory: bytes


@dataclass(frozen=True, slots=True)
class MemberWork:
    """What the program answered. fault: why there is no update, "" if there is one."""

    update_P: NDArray[np.float32]
    loss: float
    sample_count: int
    memory: bytes
    fault: str = ""


class MemberTrainer(Protocol):
    """Trains members one by one from the same global model, float32 [P]."""

    def train(
        self, model_P: NDArray[np.float32], jobs: Sequence[MemberJob]
    ) -> list[MemberWork]: ...


def convert_loss(loss: float) -> int:
    """Return millionths, bounded: a member's program may claim any finite loss."""
    return round(math.copysign(min(abs(loss), LOSS_PPM_MAX / PPM), loss) * PPM)
