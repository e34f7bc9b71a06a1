"""Providers that cheat with their work, for scenarios and tests: each wraps an honest machine.

    idle      nothing at all, and a loss that is far too good
    lies      honest update, but a loss that is far too good: only what is measured counts
    noise     random numbers of an honest update's size, well written: uncorrelated, worth nothing
    malformed bytes that are no payload of the task's codec
    copies    another provider's update, where it can be had: a duplicate

All follow from the order (and the cheat's own seed), so that a scenario replays bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kumiai.adapters.compute.market.provider import MarketProvider
from kumiai.base.canonical import sha256_hex
from kumiai.nodes.market.work import Trained, TrainOrder
from kumiai.nodes.ports import BlobPort

CLAIMED_LOSS_PPM = 1_000
SEED_HEX_DIGITS = 15
NOISE_DEVIATION = 2.0**-6  # about a step of AdamW's over a round


class LyingWork:
    """Trains as it should and claims a loss that nobody reaches."""

    def __init__(self, honest: MarketProvider, claimed_loss_ppm: int = CLAIMED_LOSS_PPM) -> None:
        self._honest, self._claimed = honest, claimed_loss_ppm

    def train(self, order: TrainOrder) -> Trained:
        return replace(self._honest.train(order), loss_ppm=self._claimed)


class GarbageWork:
    """Trains nothing: noise in the form of an update, or bytes in no form at all."""

    def __init__(
        self,
        honest: MarketProvider,
        blobs: BlobPort,
        *,
        is_malformed: bool = False,
        seed: int = 0,
    ) -> None:
        """honest: opens orders. seed: the cheat's own, so that two of them differ."""
        self._honest, self._blobs = honest, blobs
        self._is_malformed, self._seed = is_malformed, seed

    def train(self, order: TrainOrder) -> Trained:
        job = self._honest.open(order)
        generator = np.random.Generator(np.random.PCG64(_derive_seed(order, self._seed)))
        size = job.layout.size
        if self._is_malformed:
            data = generator.bytes(min(4_096, job.codec.compute_size_bytes_max(size)))
        else:
            update_P = generator.standard_normal(size).astype(np.float32)
            update_P *= np.float32(NOISE_DEVIATION)
            data, _ = job.codec.encode(update_P, job.codec.init(size), order.seed)
        count = max(1, job.task.training.local_iterations)
        blob = self._blobs.put(data)
        return Trained(blob, len(data), job.task.training.batch_size, count, 1, CLAIMED_LOSS_PPM)


class IdleWork:
    """Trains nothing, sends an update that changes nothing, and claims a wonderful loss."""

    def __init__(self, honest: MarketProvider, blobs: BlobPort) -> None:
        self._honest, self._blobs = honest, blobs

    def train(self, order: TrainOrder) -> Trained:
        job = self._honest.open(order)
        size = job.layout.size
        update_P = np.zeros(size, dtype=np.float32)
        data, _ = job.codec.encode(update_P, job.codec.init(size), order.seed)
        count = max(1, job.task.training.local_iterations)
        blob = self._blobs.put(data)
        return Trained(blob, len(data), job.task.training.batch_size, count, 1, CLAIMED_LOSS_PPM)


class CopyingWork:
    """Delivers what `take` found of another's, or its own work where there is nothing yet."""

    def __init__(
        self, honest: MarketProvider, take: Callable[[TrainOrder], Trained | None]
    ) -> None:
        self._honest, self._take = honest, take

    def train(self, order: TrainOrder) -> Trained:
        found = self._take(order)
        return self._honest.train(order) if found is None else found


def _derive_seed(order: TrainOrder, own: int) -> int:
    text = f"garbage/{own}/{order.round}/{order.shard}/{order.seed}"
    return int(sha256_hex(text.encode())[:SEED_HEX_DIGITS], 16)
