"""Members' own models: against plain loops over the written-out objective, and what lambda does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.compute.execution.shards import plan_member
from kumiai.adapters.compute.personal import personalise
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import compute_layout, flatten
from kumiai.learning.local_rules import ALGORITHMS
from kumiai.learning.personal import MODES, make_personal_settings, narrow
from kumiai.learning.recipe import build_recipe, build_seeded
from kumiai.learning.slim import extract_width

RECIPE = build_recipe("mlp", {"hidden": 8}, (500_000, 1_000_000), (5,), 3)
TASK_SETTINGS = TrainSettings(batch_size=4, learning_rate=0.1, slim_widths=(0.5,))
TRAINING_MODES = MODES[1:]


def make_samples(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator)
    return inputs, torch.randint(3, (count,), generator=generator)


def receive(width: float) -> dict[str, torch.Tensor]:
    module = build_seeded(RECIPE, 1.0, 7)
    vector_P = flatten(compute_layout(module), module.state_dict())
    return extract_width(RECIPE, vector_P, width)


def train(mode: str, pull: float, width: float = 1.0, epochs: int = 3, **changes: Any) -> list[Any]:
    task_settings = replace(TASK_SETTINGS, **changes)
    chosen = make_personal_settings(task_settings, mode, epochs, pull)
    shards = [make_samples(11, 1), make_samples(6, 2)]
    kept = [make_samples(9, 3), make_samples(8, 4)]
    return personalise(RECIPE, chosen, width, receive(width), shards, kept, (5, 6))


def distance(personal: Any, width: float = 1.0) -> float:
    received = receive(width)
    return sum(float(((t - received[n]) ** 2).sum()) for n, t in personal.tensors.items())


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize("mode", TRAINING_MODES)
def test_a_plain_loop_over_the_objective_gives_the_same(mode: str, width: float) -> None:
    """F_k(v) + lambda / 2 |v - w|^2, written out and left to autograd, by hand-made sgd."""
    pull = 0.7 if mode == "ditto" else 0.0
    found = train(mode, 0.7, width)
    for number, (samples, seed) in enumerate([((11, 1), 5), ((6, 2), 6)]):
        inputs, targets = make_samples(*samples)
        module, received = RECIPE.build(width), receive(width)
        module.load_state_dict(received)
        settings_ = make_personal_settings(TASK_SETTINGS, mode, 3, 0.7)
        for batch in plan_member(settings_, len(targets), seed):
            rows = torch.as_tensor(batch)
            loss = torch.nn.functional.cross_entropy(module(inputs[rows]), targets[rows])
            for name, v in module.named_parameters():
                loss = loss + pull / 2 * ((v - received[name]) ** 2).sum()
            module.zero_grad()
            loss.backward()
            with torch.no_grad():
                for v in module.parameters():
                    v.sub_(0.1 * v.grad)
        for name, v in module.state_dict().items():
            torch.testing.assert_close(found[number].tensors[name], v, rtol=1e-4, atol=1e-5)
        kept_inputs, kept_targets = make_samples((9, 8)[number], (3, 4)[number])
        right = (module(kept_inputs).argmax(1) == kept_targets).float().mean()
        assert found[number].accuracy == pytest.approx(float(right))
        module.load_state_dict(received)
        right = (module(kept_inputs).argmax(1) == kept_targets).float().mean()
        assert found[number].shared_accuracy == pytest.approx(float(right))


@settings(max_examples=5, deadline=None)
@given(st.floats(0.1, 2.0), st.floats(1.5, 4.0))
def test_a_stronger_pull_stays_nearer(pull: float, factor: float) -> None:
    free, near, nearer = (train("ditto", p) for p in (0.0, pull, pull * factor))
    for a, b, c in zip(free, near, nearer, strict=True):
        assert distance(a) > distance(b) > distance(c) > 0


def test_without_a_pull_ditto_is_fine_tuning() -> None:
    for one, other in zip(train("ditto", 0.0), train("fine_tune", 9.0), strict=True):
        for name, tensor in one.tensors.items():
            torch.testing.assert_close(tensor, other.tensors[name])


@pytest.mark.parametrize("mode", TRAINING_MODES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_task_algorithm_leaves_an_optimiser_to_go_on_with(algorithm: str, mode: str) -> None:
    """What rounds need (guides, control variates, fragments) is gone; the optimiser stays."""
    task = TrainSettings(
        algorithm=algorithm, learning_rate=0.01, is_scheduled=True, has_offset=True
    )
    chosen = make_personal_settings(task, mode, 2, 0.1)
    assert chosen.optimizer == ("adamw" if algorithm == "diloco" else "sgd")
    again = train(mode, 0.1, algorithm=algorithm, is_scheduled=True, has_offset=True)
    assert all(distance(personal) > 0 for personal in again)


def test_members_are_trained_apart_and_the_same_again() -> None:
    one, again = train("fine_tune", 0.0), train("fine_tune", 0.0)
    assert all(torch.equal(t, again[0].tensors[n]) for n, t in one[0].tensors.items())
    assert any(not torch.equal(t, one[1].tensors[n]) for n, t in one[0].tensors.items())


def test_what_diverges_has_no_model() -> None:
    assert train("fine_tune", 0.0, epochs=30, learning_rate=1e30) == [None, None]


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="'none' is not one of fine_tune, ditto"):
        make_personal_settings(TASK_SETTINGS, "none", 1, 0.0)
    assert narrow(RECIPE, 0.5).widths == (1.0,)
