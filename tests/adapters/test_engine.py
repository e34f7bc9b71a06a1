"""The engine's doors: evaluation, counted operations, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import flatten, unflatten
from kumiai.learning.recipe import build_recipe, build_seeded, wrap_recipe
from kumiai.learning.slim import extract_width

WIDTHS = [500000, 1000000]
MLP = build_recipe("mlp", {}, WIDTHS, (12,), 5)
CNN = build_recipe("cnn", {}, WIDTHS, (1, 12, 12), 5)
SHAPES = {"mlp": (12,), "cnn": (1, 12, 12)}


def make_models(engine: Engine, recipe, count: int) -> torch.Tensor:
    return torch.stack(
        [
            flatten(engine.layout, build_seeded(recipe, 1.0, seed=s).state_dict()).detach()
            for s in range(count)
        ]
    )


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize("recipe", [MLP, CNN], ids=lambda r: r.name)
def test_evaluation_equals_one_module_after_another(recipe, width):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1100, *SHAPES[recipe.name], generator=generator)
    targets = torch.randint(0, 5, (1100,), generator=generator)
    with Engine(recipe, TrainSettings()) as engine:
        models = make_models(engine, recipe, 3)
        losses, accuracies = engine.evaluate(models, inputs, targets, width)
    assert losses.dtype == accuracies.dtype == torch.float64
    for m, vector in enumerate(models):
        module = recipe.build(width).eval()
        module.load_state_dict(extract_width(recipe, vector, width), strict=False)
        with torch.no_grad():
            outputs = module(inputs)
        assert losses[m].item() == pytest.approx(
            nn.functional.cross_entropy(outputs, targets).item(), rel=1e-5
        )
        expected = (outputs.argmax(1) == targets).double().mean().item()
        assert accuracies[m].item() == pytest.approx(expected, abs=1.5 / 1100)


def test_evaluation_does_not_depend_on_the_company():
    """A model's loss is the same alone and among hundreds, and one broken model harms no other."""
    inputs, targets = torch.randn(40, 12), torch.arange(40) % 5
    with Engine(MLP, TrainSettings()) as engine:
        models = make_models(engine, MLP, 2).repeat(150, 1)
        models[7] = float("nan")
        losses, _ = engine.evaluate(models, inputs, targets)
        alone, _ = engine.evaluate(models[:1], inputs, targets)
    assert losses[7].isnan()
    assert losses[0].item() == pytest.approx(alone[0].item(), rel=1e-6)
    assert losses.isfinite().sum() == 299


def test_flop_of_a_linear_net_by_hand():
    """Forward 2mn a layer; backward 2mn for weights, and 2mn for all but the first input."""
    recipe = wrap_recipe(
        "two", lambda width: nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)), [1000000]
    )
    with Engine(recipe, TrainSettings()) as engine:
        assert engine.count_flop((7,)) == 2 * (2 * 7 * 5) + 3 * (2 * 5 * 3)


def test_slim_training_costs_its_widths():
    with (
        Engine(MLP, TrainSettings()) as full,
        Engine(MLP, TrainSettings(slim_widths=(0.5,))) as slim,
    ):
        assert full.count_flop((12,)) < slim.count_flop((12,)) < 2 * full.count_flop((12,))


def test_training_lowers_the_loss():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 12, generator=generator)
    targets = (inputs[:, 0] > 0).long()
    with Engine(MLP, TrainSettings(local_epochs=20)) as engine:
        model = make_models(engine, MLP, 1)[0]
        result = engine.train(model, [(inputs, targets)] * 2, [1, 2])
        before, _ = engine.evaluate(model[None], inputs, targets)
        after, _ = engine.evaluate(model + result.updates_NP, inputs, targets)
    assert (after < 0.5 * before).all()


def test_changed_samples_are_noticed():
    """Joined shards are reused between rounds only while nobody wrote to them."""
    shards = [(torch.randn(8, 12), torch.arange(8) % 5)]
    with Engine(MLP, TrainSettings(), "inline") as engine:
        model = make_models(engine, MLP, 1)[0]
        before = engine.train(model, shards, [1]).updates_NP
        shards[0][0].mul_(2)
        after = engine.train(model, shards, [1]).updates_NP
        again = engine.train(model, [(shards[0][0].clone(), shards[0][1].clone())], [1]).updates_NP
    assert not torch.equal(before, after)
    assert torch.equal(after, again)


def test_bad_input_is_refused_with_the_numbers():
    good = (torch.randn(4, 12), torch.zeros(4, dtype=torch.int64))
    empty = (torch.zeros(0, 12), torch.zeros(0, dtype=torch.int64))
    with Engine(MLP, TrainSettings(), "inline") as engine:
        model = make_models(engine, MLP, 1)[0]
        with pytest.raises(ValueError, match="member 1: its shard has zero samples"):
            engine.train(model, [good, empty], [1, 2])
        with pytest.raises(ValueError, match="member 1: 4 inputs but 3 targets"):
            engine.train(model, [good, (good[0], good[1][:3])], [1, 2])
        with pytest.raises(ValueError, match="member 1: samples of shape"):
            engine.train(model, [good, (torch.randn(4, 11), good[1])], [1, 2])
        with pytest.raises(ValueError, match="no shards"):
            engine.train(model, [], [])
        with pytest.raises(ValueError, match="1 shards but 2 seeds"):
            engine.train(model, [good], [1, 2])
        with pytest.raises(ValueError, match="global model is"):
            engine.train(model[:-1], [good], [1])
        with pytest.raises(ValueError, match="models of shape"):
            engine.evaluate(model[None, :-1], *good)
    with pytest.raises(ValueError, match="backend 'gpu'"):
        Engine(MLP, TrainSettings(), "gpu")


def test_the_global_model_is_not_written_to():
    shards = [(torch.randn(8, 12), torch.arange(8) % 5)] * 2
    for backend in ("inline", "vectorised"):
        with Engine(MLP, TrainSettings(momentum=0.5), backend) as engine:
            model = make_models(engine, MLP, 1)[0]
            kept = model.clone()
            engine.train(model, shards, [1, 2])
            assert torch.equal(model, kept)
            assert unflatten(engine.layout, model).keys() == set(engine.layout.names)
