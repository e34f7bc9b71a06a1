"""A small job on real digits for the tests of the market's numeric work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kumiai.adapters.compute.market import MarketCustomer, MarketProvider
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.base import canonical
from kumiai.learning import fixed_point
from kumiai.nodes.market.work import Candidate, JudgeOrder, Prepared, Trained, TrainOrder
from kumiai.tasks.document import TaskDocument, task_from_mapping, to_document

BEACON = "5e" * 32
SEEDS = (11, 22, 33)
SHARDS = 5


def make_task(**sections: dict[str, Any]) -> TaskDocument:
    """Five shards of digits, a small network, three rounds; sections are merged over that."""
    document: dict[str, Any] = {
        "name": "market test",
        "seed": 7,
        "data": {"mode": "assigned", "source": "digits", "trainers": SHARDS, "partition": "iid"},
        "model": {"recipe": "mlp", "options": {"hidden": 24}, "widths": [1.0]},
        "training": {
            "rounds": 3,
            "local_iterations": 12,
            "batch_size": 16,
            "slim": False,
            "learning_rate": 0.1,
        },
        "validation": {"validators": 1},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section}
    return task_from_mapping(document)


@dataclass
class World:
    """One customer and one store; everybody's blobs lie in it."""

    blobs: MemoryBlobs
    customer: MarketCustomer
    prepared: Prepared
    provider: MarketProvider

    def order(self, shard: int = 0, number: int = 1, seed: int | None = None) -> TrainOrder:
        p = self.prepared
        return TrainOrder(
            round=number,
            task=p.task,
            code=p.code,
            input_shape=p.input_shape,
            class_count=p.class_count,
            model=p.model,
            shard=p.shards[shard],
            seed=100 + shard if seed is None else seed,
        )

    def train(self, shard: int = 0, **changes: Any) -> Trained:
        return self.provider.train(replace(self.order(shard), **changes))

    def judge(self, *candidates: tuple[str, str, int], **changes: Any):
        """Judge (provider, blob, shard) of the first round; return lines by provider, loss."""
        order = JudgeOrder(
            round=1,
            model=self.prepared.model,
            previous_model=None,
            candidates=tuple(Candidate(*each) for each in candidates),
            seed=BEACON,
        )
        found = self.customer.judge(replace(order, **changes))
        return {line.provider: line for line in found.updates}, found

    def decode(self, blob: str) -> np.ndarray:
        """Return the integers of an update's blob."""
        job = self.customer.job
        data = self.blobs.get(blob, job.codec.compute_size_bytes_max(job.layout.size))
        return job.codec.decode_fixed(data, job.layout.size)

    def put_update(self, ints_P: np.ndarray) -> str:
        """Store these integers as a payload of the dense codec."""
        return self.blobs.put(fixed_point.encode_vector("update", ints_P.astype(np.int32)))

    def put_task(self, **changes: dict[str, Any]) -> str:
        """Store another task's document; return its blob."""
        return self.blobs.put(canonical.encode(to_document(make_task(**changes))))


def make_world(task: TaskDocument | None = None, folder: Path | None = None) -> World:
    """Prepare a job; nothing of an earlier test is in it."""
    blobs = MemoryBlobs()
    customer = MarketCustomer(task or make_task(), folder or Path(), blobs)
    return World(blobs, customer, customer.prepare(), MarketProvider(blobs))


@cache
def get_world() -> World:
    """The default job, shared: blobs are only ever added to it."""
    return make_world()
