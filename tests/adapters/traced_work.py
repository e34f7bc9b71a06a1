"""Small audited worlds over the real engine, for tests of traces, replays and attacks on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from safetensors.torch import save

from kumiai.adapters.compute.audited import AuditedCompute, Tracer
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.task_work import make_settings
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.base.amounts import PPM
from kumiai.learning.recipe import Recipe, build_recipe
from kumiai.nodes import ports
from kumiai.proofs.policy import draw_segments
from kumiai.proofs.trace import count_segments, list_opened, list_states
from kumiai.tasks.document import TaskDocument, task_from_mapping

EVERY = 3
MEMBERS = ("a" * 64, "b" * 64, "c" * 64)


def make_audited_task(**sections: Mapping[str, object]) -> TaskDocument:
    """A task whose work is replayed; `sections` add to it."""
    mapping: dict[str, object] = {
        "name": "audited",
        "data": {"mode": "assigned", "trainers": 3},
        "model": {"recipe": "mlp", "options": {"hidden": 8}, "widths_ppm": [500_000, PPM]},
        "training": {"local_iterations": 11, "batch_size": 8, "learning_rate_ppm": 200_000},
        "validation": {"canaries": 0},
        "audit": {"mode": "replay", "checkpoint_every": EVERY},
    }
    for name, section in sections.items():
        known = mapping.get(name, {})
        assert isinstance(known, dict)
        mapping[name] = {**known, **section}
    return task_from_mapping(mapping)


@dataclass
class World:
    """A compute port over `MEMBERS`, who hold 40 samples each, and the data that they are assigned.

    falsified: members whose own data are not those assigned to them.
    """

    task: TaskDocument = field(default_factory=make_audited_task)
    tracers: Mapping[str, Tracer] = field(default_factory=dict)
    falsified: Sequence[str] = ()
    recipe: Recipe | None = None
    shape: tuple[int, ...] = (20,)
    states_bytes_max: int = 2**28

    def __post_init__(self) -> None:
        recipe = self.recipe or build_recipe(
            self.task.model.recipe,
            dict(self.task.model.options),
            self.task.model.widths_ppm,
            self.shape,
            4,
        )
        generator = torch.Generator().manual_seed(1)
        shards = {
            key: (
                torch.randn((40, *self.shape), generator=generator),
                torch.randint(0, 4, (40,), generator=generator),
            )
            for key in MEMBERS
        }
        self.blobs = MemoryBlobs()
        self.assigned = {k: self.blobs.put(save({"x": x, "y": y})) for k, (x, y) in shards.items()}
        self.engine = Engine(recipe, make_settings(self.task, recipe), "inline")
        self.compute = AuditedCompute(
            self.task,
            recipe,
            self.engine,
            self.blobs,
            shards,
            {},
            {key: [1, 2, 3, 0] for key in self.falsified},
            tracers=self.tracers,
            states_bytes_max=self.states_bytes_max,
        )
        self.model = self.compute.init_model()

    def make_job(self, member: str, number: int = 1) -> ports.TrainJob:
        """The work of one round."""
        return ports.TrainJob(
            number, member, self.model, seed=77 + ord(member[0]) + number, checkpoint_every=EVERY
        )

    def train(self, member: str) -> tuple[ports.TrainJob, ports.TrainResult]:
        """Train one member's first round."""
        job = self.make_job(member)
        return job, self.compute.train([job])[0]

    def open(
        self, job: ports.TrainJob, result: ports.TrainResult, segments: Sequence[int]
    ) -> ports.AuditTarget:
        """Open what an audit of these segments asks for."""
        last = count_segments(result.iteration_count, EVERY)
        states = list_states(segments, last)
        self.compute.open_traces([ports.OpenJob(job.round, job, states)])
        return ports.AuditTarget(
            member=job.member,
            seed=job.seed,
            shard=self.assigned[job.member],
            update=result.update,
            machine=result.machine,
            iterations=result.iteration_count,
            checkpoint_every=EVERY,
            segments=tuple(segments),
            leaves=tuple((i, result.trace[i]) for i in list_opened(segments, last)),
        )

    def replay(self, target: ports.AuditTarget) -> tuple[str, int, str]:
        """Replay as a validator who has nothing but blobs: fresh engine, no shards."""
        engine = Engine(self.compute.recipe, self.engine.settings, "inline")
        other = AuditedCompute(self.task, self.compute.recipe, engine, self.blobs, {}, {})
        return other.replay(self.model, 1, target)[0]

    def audit_all(self, member: str) -> tuple[str, int, str]:
        """Train, open and replay every segment of a member's work."""
        job, result = self.train(member)
        segments = range(count_segments(result.iteration_count, EVERY))
        return self.replay(self.open(job, result, list(segments)))


def claim_machine(target: ports.AuditTarget, machine: str) -> ports.AuditTarget:
    """The same trace, said to be of another class."""
    return replace(target, machine=machine)


def draw_rounds(
    generator: np.random.Generator, rounds: int, segments: int, wanted: int
) -> list[tuple[int, ...]]:
    """The segments that so many rounds' audits would draw, from fresh seeds."""
    seeds = (generator.bytes(8).hex() for _ in range(rounds))
    return [draw_segments(seed, "member", segments, wanted) for seed in seeds]
