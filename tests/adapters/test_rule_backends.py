"""Every local rule on every backend: the same updates, whoever trains where, and what guides do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.adapters.test_execution import CONV, MLP

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import flatten
from kumiai.learning.local_rules import ALGORITHMS, OPTIMIZERS
from kumiai.learning.parallel import Parallel
from kumiai.learning.recipe import Recipe, build_seeded, wrap_recipe

RULES = {
    "fedavg": TrainSettings(batch_size=8),
    "fedprox": TrainSettings(batch_size=8, algorithm="fedprox", prox_mu=0.5),
    "fednova": TrainSettings(batch_size=8, algorithm="fednova", momentum=0.5, local_epochs=2),
    "scaffold": TrainSettings(batch_size=8, algorithm="scaffold", weight_decay=0.01),
    "scaffold-scheduled": TrainSettings(batch_size=8, algorithm="scaffold", is_scheduled=True),
    "diloco": TrainSettings(batch_size=8, algorithm="diloco", learning_rate=1e-3),
    "adamw": TrainSettings(batch_size=8, optimizer="adamw", learning_rate=1e-3),
    "muon": TrainSettings(batch_size=8, optimizer="muon", learning_rate=0.02, local_epochs=2),
    "muloco-scheduled": TrainSettings(
        batch_size=8, algorithm="diloco", optimizer="muon", learning_rate=0.02, is_scheduled=True
    ),
    "offset": TrainSettings(batch_size=8, algorithm="fedprox", prox_mu=0.5, has_offset=True),
    "offset-scheduled-diloco": TrainSettings(
        batch_size=8, algorithm="diloco", learning_rate=1e-3, is_scheduled=True, has_offset=True
    ),
    "scheduled": TrainSettings(batch_size=8, momentum=0.5, is_scheduled=True),
    "scheduled-diloco": TrainSettings(
        batch_size=8, algorithm="diloco", learning_rate=1e-3, is_scheduled=True
    ),
}
BACKENDS = [("vectorised", "eager"), ("vectorised", "traced"), ("process", "eager")]
TOLERANCE = 1e-5
COUNTS = (20, 9, 1, 16)
SEEDS = (11, 12, 13, 14)


def make_shards(shape: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, *shape, generator=generator), torch.randint(4, (n,), generator=generator))
        for n in COUNTS
    ]


def start(engine: Engine, recipe: Recipe) -> torch.Tensor:
    return flatten(engine.layout, build_seeded(recipe, 1.0, 3).state_dict()).detach().clone()


def make_guides(engine: Engine) -> torch.Tensor | None:
    """Another rate and another control variate for every member."""
    size = engine.guide_size
    if not size:
        return None
    guides_NG = 0.05 * torch.randn(len(COUNTS), size, generator=torch.Generator().manual_seed(2))
    if engine.settings.is_scheduled:
        guides_NG[:, 0] = torch.tensor([1.0, 0.5, 0.25, 0.1])
    return guides_NG


def train(
    name: str, backend: str, tier: str, recipe: Recipe = MLP, order: tuple[int, ...] = (0, 1, 2, 3)
) -> torch.Tensor:
    shards = make_shards((10,) if recipe is not CONV else (1, 5, 5))
    with Engine(recipe, RULES[name], backend, tier=tier, worker_count=2) as engine:
        guides = make_guides(engine)
        result = engine.train(
            start(engine, recipe),
            [shards[n] for n in order],
            [SEEDS[n] for n in order],
            None if guides is None else guides[list(order)],
        )
    return result.updates_NP


def test_the_family_is_complete() -> None:
    assert {rule.algorithm for rule in RULES.values()} == set(ALGORITHMS)
    assert {rule.optimizer for rule in RULES.values()} == set(OPTIMIZERS)


@pytest.mark.parametrize("recipe", [MLP, CONV], ids=["mlp", "conv"])
@pytest.mark.parametrize("name", RULES)
def test_every_backend_gives_what_inline_gives(name: str, recipe: Recipe) -> None:
    expected = train(name, "inline", "eager", recipe)
    assert expected.abs().max() > 1e-4
    for backend, tier in BACKENDS:
        found = train(name, backend, tier, recipe)
        torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", RULES)
def test_a_member_in_two_processes_gets_what_inline_gives(name: str, mode: str) -> None:
    recipe = replace(MLP, parallel=Parallel(mode, 2))
    if mode == "fsdp" and RULES[name].optimizer == "muon":
        with pytest.raises(InputError, match=r"training\.optimizer = 'muon': .* whole matrices"):
            train(name, "auto", "auto", recipe)
        return
    expected = train(name, "inline", "eager")
    found = train(name, "auto", "auto", recipe)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert torch.equal(found, train(name, "inline", "auto", recipe))  # twice the same bytes


@pytest.mark.parametrize("backend", ["inline", "vectorised"])
@pytest.mark.parametrize("name", RULES)
def test_members_may_come_in_any_order_and_again(name: str, backend: str) -> None:
    one = train(name, backend, "eager")
    assert torch.equal(one, train(name, backend, "eager"))
    order = (2, 0, 3, 1)
    permuted = train(name, backend, "eager", order=order)
    torch.testing.assert_close(permuted, one[list(order)], rtol=TOLERANCE, atol=TOLERANCE)


class Still(torch.nn.Linear):
    """A network whose loss does not depend on its weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 0.0


@pytest.mark.parametrize("name", RULES)
def test_without_a_gradient_nothing_moves(name: str) -> None:
    recipe = wrap_recipe("still", lambda width: Still(10, 4), [1_000_000])
    with Engine(recipe, replace(RULES[name], weight_decay=0.0), "inline") as engine:
        guides = make_guides(engine)
        if guides is not None:
            guides[:, int(engine.settings.is_scheduled) :] = 0.0
        found = engine.train(start(engine, recipe), make_shards((10,)), SEEDS, guides)
    assert found.updates_NP.abs().max() == 0.0


def test_the_rate_scales_the_step() -> None:
    """One iteration of sgd at a quarter of the rate moves a quarter of the way."""
    settings = TrainSettings(batch_size=32, is_scheduled=True)
    shards = make_shards((10,))
    with Engine(MLP, settings, "inline") as engine:
        origin = start(engine, MLP)
        whole, quarter = (
            engine.train(origin, shards, SEEDS, torch.full((4, 1), rate)).updates_NP
            for rate in (1.0, 0.25)
        )
    torch.testing.assert_close(quarter, whole / 4, rtol=1e-4, atol=1e-7)
    with Engine(MLP, TrainSettings(batch_size=32), "inline") as engine:
        plain = engine.train(origin, shards, SEEDS).updates_NP
    torch.testing.assert_close(whole, plain, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("backend", ["inline", "vectorised"])
def test_an_offset_is_where_a_member_starts(backend: str) -> None:
    """A member told to start at an offset does what it would from that model; FedProx' pull still
    goes to the global one."""
    shards = make_shards((10,))
    with Engine(MLP, TrainSettings(batch_size=8), backend) as engine:
        origin = start(engine, MLP)
        offset = 0.1 * torch.randn(len(origin), generator=torch.Generator().manual_seed(4))
        moved = engine.train(origin + offset, shards, SEEDS).updates_NP
    with Engine(MLP, TrainSettings(batch_size=8, has_offset=True), backend) as engine:
        found = engine.train(origin, shards, SEEDS, offset.repeat(4, 1)).updates_NP
    torch.testing.assert_close(found, moved + offset, rtol=1e-4, atol=1e-6)
    pulling = TrainSettings(
        batch_size=8, algorithm="fedprox", prox_mu=5.0, learning_rate=0.1, has_offset=True
    )
    with Engine(MLP, pulling, backend) as engine:
        pulled = engine.train(origin, shards, SEEDS, offset.repeat(4, 1)).updates_NP
    assert (pulled @ offset / (offset @ offset)).max() < 0.7
    assert (found @ offset / (offset @ offset)).min() > 0.8


@pytest.mark.parametrize("name", ["fedavg", "scheduled"])
def test_guides_that_do_not_fit_the_rule_are_refused(name: str) -> None:
    with Engine(MLP, RULES[name], "inline") as engine:
        size = engine.guide_size
        wrong = torch.zeros(4, size + 1)
        with pytest.raises(ValueError, match=r"guides of shape \(4, "):
            engine.train(start(engine, MLP), make_shards((10,)), SEEDS, wrong)
        if size:
            with pytest.raises(ValueError, match=r"guides of shape \(0,\)"):
                engine.train(start(engine, MLP), make_shards((10,)), SEEDS)
