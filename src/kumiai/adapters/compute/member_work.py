"""Local work that is done by a member's own program instead of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kumiai.base.errors import StoreError

LENGTH_BYTES = 8


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


def join_memory(codec_state: bytes, memory: bytes) -> bytes:
    """One blob of what the codec and what the program remember, as they advance together."""
    return len(codec_state).to_bytes(LENGTH_BYTES, "big") + codec_state + memory


def split_memory(data: bytes) -> tuple[bytes, bytes]:
    """Undo `join_memory`; StoreError for what it cannot have written."""
    size = int.from_bytes(data[:LENGTH_BYTES], "big")
    if len(data) < LENGTH_BYTES + size:
        raise StoreError(f"a member's memory has {len(data)} bytes, its codec's part alone {size}")
    return data[LENGTH_BYTES : LENGTH_BYTES + size], data[LENGTH_BYTES + size :]
