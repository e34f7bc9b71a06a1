"""Fragments in the compute port: a member goes on from its own copy, and only a fragment moves."""

from __future__ import annotations

import numpy as np
import torch

from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.scoring import Holdout
from kumiai.adapters.compute.task_rules import find_span
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.learning import fixed_point
from kumiai.learning.client import TrainSettings
from kumiai.learning.recipe import build_recipe
from kumiai.nodes import ports
from kumiai.tasks.document import TaskDocument

MEMBER = "a1" * 32
RECIPE = build_recipe("mlp", {"hidden": 6}, (1_000_000,), (5,), 3)
SETTINGS = TrainSettings(batch_size=4, learning_rate=0.1)
TASK = TaskDocument.model_validate({"name": "t", "training": {"fragments": 3, "rounds": 6}})


def make_shard() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(20, 5, generator=generator), torch.randint(3, (20,), generator=generator)


def test_a_member_goes_on_from_its_own_copy() -> None:
    """A worker with a copy of its own, which only the turn's fragment of is overwritten."""
    guided = TrainSettings(batch_size=4, learning_rate=0.1, has_offset=True)
    blobs, shard = MemoryBlobs(), make_shard()
    with Engine(RECIPE, guided, "inline") as engine, Engine(RECIPE, SETTINGS, "inline") as plain:
        size = engine.layout.size
        compute = EngineCompute(TASK, RECIPE, engine, blobs, {MEMBER: shard}, {})
        model, state, server_state = compute.init_model(), "", None
        copy_P = read(blobs, "model", model, size)
        for number in range(1, 7):
            span = find_span(TASK.training, size, number)
            before_P = read(blobs, "model", model, size)
            job = ports.TrainJob(number, MEMBER, model, 40 + number, state, server_state or "", 0)
            (result,) = compute.train([job])
            trained = plain.train(torch.from_numpy(copy_P), [shard], [40 + number])
            copy_P = copy_P + trained.updates_NP[0].numpy()
            sent_P = compute.codec.decode(blobs.get(result.update, 10**6), size)
            expected_P = np.zeros(size, dtype=np.float32)
            expected_P[span] = copy_P[span] - before_P[span]
            np.testing.assert_allclose(sent_P, expected_P, atol=2e-6)
            included = ((MEMBER, result.update, 20),)
            done = compute.aggregate(make_aggregate(number, model, server_state, included))
            state, model, server_state = result.codec_state, done.model, done.server_state
            after_P = read(blobs, "model", model, size)
            outside = np.ones(size, dtype=bool)
            outside[span] = False
            assert np.array_equal(after_P[outside], before_P[outside])
            assert not np.array_equal(after_P[span], before_P[span])
            copy_P[span] = after_P[span]
        assert np.abs(copy_P - after_P).max() > 1e-3  # what is held back


def test_a_committees_root_is_of_the_rounds_fragment() -> None:
    guided = TrainSettings(batch_size=4, learning_rate=0.1, has_offset=True)
    task = TASK.model_copy(
        update={"training": TASK.training.model_copy(update={"aggregator": "trust_root"})}
    )
    blobs, shard = MemoryBlobs(), make_shard()
    with Engine(RECIPE, guided, "inline") as engine:
        size = engine.layout.size
        compute = EngineCompute(
            task, RECIPE, engine, blobs, {MEMBER: shard}, {"judge": Holdout(shard, shard)}
        )
        model = compute.init_model()
        for number in (1, 2, 3):
            (result,) = compute.train([ports.TrainJob(number, MEMBER, model, 7)])
            update = ports.UpdateRef(MEMBER, result.update, 1)
            job = ports.ScoreJob(number, "judge", model, None, (update,), "5e" * 32, True)
            (scored,) = compute.score([job])
            root_P = read(blobs, "root", scored.root, size)
            span = find_span(task.training, size, number)
            assert np.count_nonzero(root_P[span]) > len(root_P[span]) // 2
            root_P[span] = 0
            assert not root_P.any()


def make_aggregate(number, model, server_state, included):  # type: ignore[no-untyped-def]
    return ports.AggregateJob(
        round=number, model=model, included=included, server_state=server_state
    )


def read(blobs: MemoryBlobs, name: str, blob: str, size: int) -> np.ndarray:
    return fixed_point.dequantise(fixed_point.decode_vector(name, blobs.get(blob, 10**6), size))
