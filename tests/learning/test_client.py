"""Client rules against torch's own optimisers, and the plan of batches."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from kumiai.learning.client import TrainSettings, build_local_work, expand
from kumiai.learning.layout import compute_layout, flatten, unflatten
from kumiai.learning.recipe import build_recipe, build_seeded, wrap_recipe
from kumiai.learning.schedule import (
    count_iterations,
    plan_batches,
    plan_block,
    stack_equal,
    stack_padded,
)
from kumiai.learning.slim import slice_state


def build_net(width: float) -> nn.Module:
    hidden = round(8 * width)
    return nn.Sequential(nn.Linear(6, hidden), nn.Tanh(), nn.Linear(hidden, 3))


RECIPE = wrap_recipe("net", build_net, [500000, 1000000])
MODEL = build_seeded(RECIPE, 1.0, seed=1)
X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def run_steps(train: TrainSettings, count: int) -> torch.Tensor:
    """Our step, `count` times on the same batch: the flat parameters."""
    work = build_local_work(RECIPE, train)
    start = flatten(work.layout, MODEL.state_dict()).detach()
    carry = work.init(unflatten(work.layout, start))
    anchor = carry.params
    for _ in range(count):
        carry, _ = work.step(carry, anchor, X, Y, None)
    return flatten(work.layout, carry.params)


def share_loss(width: float, widths: Sequence[float]) -> float:
    """The full width counts as much as all others together."""
    if len(widths) == 1:
        return 1.0
    return 0.5 if width == 1.0 else 0.5 / (len(widths) - 1)


def run_torch(build_optimizer, count: int, mu: float = 0.0, widths=(1.0,)) -> torch.Tensor:
    """The same with torch.optim and autograd."""
    model = copy.deepcopy(MODEL)
    anchor = [p.detach().clone() for p in model.parameters()]
    optimizer = build_optimizer(model.parameters())
    for _ in range(count):
        optimizer.zero_grad()
        loss = torch.zeros(())
        for width in widths:
            narrow = build_seeded(RECIPE, width, seed=0)
            layout = compute_layout(narrow)
            shapes = dict(zip(layout.names, layout.shapes, strict=True))
            state = slice_state(dict(model.named_parameters()), shapes)
            outputs = torch.func.functional_call(narrow, state, (X,))
            loss = loss + share_loss(width, widths) * functional.cross_entropy(outputs, Y)
        for p, a in zip(model.parameters(), anchor, strict=True):
            loss = loss + mu / 2 * ((p - a) ** 2).sum()
        loss.backward()
        optimizer.step()
    return flatten(compute_layout(model), model.state_dict())


@pytest.mark.parametrize(
    ("train", "optimizer"),
    [
        (TrainSettings(), lambda p: torch.optim.SGD(p, lr=0.05)),
        (
            TrainSettings(momentum=0.9, weight_decay=0.1),
            lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
        ),
        (
            TrainSettings(optimizer="adamw", learning_rate=0.01, weight_decay=0.1),
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
        ),
        (
            TrainSettings(algorithm="diloco", learning_rate=0.01),
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0),
        ),
    ],
    ids=["sgd", "momentum", "adamw", "diloco"],
)
def test_rules_equal_torch_optim(train, optimizer):
    torch.testing.assert_close(run_steps(train, 5), run_torch(optimizer, 5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fedprox_is_the_gradient_of_the_proximal_term(name):
    train = TrainSettings(
        algorithm="fedprox", prox_mu=0.7, optimizer=name, learning_rate=0.02, weight_decay=0.0
    )
    if name == "sgd":
        expected = run_torch(lambda p: torch.optim.SGD(p, lr=0.02), 4, mu=0.7)
    else:
        expected = run_torch(lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0), 4, mu=0.7)
    torch.testing.assert_close(run_steps(train, 4), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("widths", [(0.5, 1.0), (0.25, 0.5, 1.0), (0.25, 0.5, 0.75, 1.0)])
def test_slim_training_is_the_weighed_loss_of_the_leading_sub_networks(widths):
    train = TrainSettings(slim_widths=widths)
    expected = run_torch(lambda p: torch.optim.SGD(p, lr=0.05), 3, widths=widths[::-1])
    torch.testing.assert_close(run_steps(train, 3), expected, rtol=1e-5, atol=1e-6)


def distill_by_hand(recipe, widths, x, y, count, learning_rate=0.05):
    """The dumb twin: one loss at a time, probabilities written out, samples one by one."""
    model = build_seeded(recipe, 1.0, seed=1)
    for _ in range(count):
        scores = model(x)
        shares = scores.detach().exp() / scores.detach().exp().sum(-1, keepdim=True)
        loss = share_loss(1.0, widths) * recipe.compute_loss(scores, y)
        for width in widths[:-1]:
            narrow = build_seeded(recipe, width, seed=0)
            shapes = {name: tuple(p.shape) for name, p in narrow.named_parameters()}
            state = slice_state(dict(model.named_parameters()), shapes)
            outputs = torch.func.functional_call(narrow, state, (x,))
            chances = outputs.exp() / outputs.exp().sum(-1, keepdim=True)
            losses = [
                -(p * q.log()).sum()
                for p, q in zip(shares.flatten(0, -2), chances.flatten(0, -2), strict=True)
            ]
            loss = loss + share_loss(width, widths) * sum(losses) / len(losses)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p.sub_(learning_rate * g)
    return flatten(compute_layout(model), model.state_dict())


TOKENS = torch.randint(9, (6, 6), generator=torch.Generator().manual_seed(2))
DISTILLED = {
    "classes": (RECIPE, X, Y),
    "tokens": (
        build_recipe(
            "transformer", {"head_size": 4, "layers": 1}, [250000, 500000, 1000000], (5,), 9
        ),
        TOKENS[:, :-1],
        TOKENS[:, 1:],
    ),
}


@pytest.mark.parametrize("kind", DISTILLED)
def test_narrow_widths_learn_the_full_ones_outputs(kind):
    recipe, x, y = DISTILLED[kind]
    train = TrainSettings(slim_widths=recipe.widths[:-1], slim_distill=True)
    work = build_local_work(recipe, train)
    start = flatten(work.layout, build_seeded(recipe, 1.0, seed=1).state_dict()).detach()
    carry = work.init(unflatten(work.layout, start))
    anchor = carry.params
    for _ in range(3):
        carry, _ = work.step(carry, anchor, x, y, None)
    expected = distill_by_hand(recipe, recipe.widths, x, y, 3)
    moved = flatten(work.layout, carry.params)
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-6)
    assert (moved - start).abs().max() > 1e-3


@pytest.mark.parametrize("kind", DISTILLED)
def test_distilling_works_stacked_and_padded(kind):
    recipe, x, y = DISTILLED[kind]
    train = TrainSettings(slim_widths=recipe.widths[:-1], slim_distill=True)
    work = build_local_work(recipe, train)
    start = flatten(work.layout, build_seeded(recipe, 1.0, seed=1).state_dict()).detach()
    shared = work.init(unflatten(work.layout, start))
    weights = torch.zeros(2, len(x))
    weights[0, :4], weights[1] = 1 / 4, 1 / len(x)
    both = (torch.stack([x, x.flip(0)]), torch.stack([y, y.flip(0)]))
    stacked, loss_C = work.step_stacked(expand(shared, 2), shared.params, *both, weights)
    alone = [
        work.step(shared, shared.params, x[:4], y[:4], None),
        work.step(shared, shared.params, x.flip(0), y.flip(0), None),
    ]
    for n, (carry, loss) in enumerate(alone):
        torch.testing.assert_close(loss_C[n], loss)
        for name, tensor in carry.params.items():
            torch.testing.assert_close(stacked.params[name][n], tensor, rtol=1e-5, atol=1e-6)


def test_a_loss_of_ones_own_cannot_be_distilled():
    recipe = wrap_recipe("own", build_net, [500000, 1000000], loss=lambda o, y: (o**2).mean())
    with pytest.raises(ValueError, match="'own' has its own loss"):
        build_local_work(recipe, TrainSettings(slim_widths=(0.5,), slim_distill=True))


def test_weighted_loss_is_the_mean_of_the_samples_that_count():
    work = build_local_work(RECIPE, TrainSettings())
    carry = work.init(unflatten(work.layout, flatten(work.layout, MODEL.state_dict()).detach()))
    weights = torch.tensor([1 / 5] * 5 + [0.0] * 7)
    padded, loss = work.step(carry, carry.params, X, Y, weights)
    plain, expected = work.step(carry, carry.params, X[:5], Y[:5], None)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(padded.params, plain.params)


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "fedavgg"},
        {"optimizer": "adam"},
        {"batch_size": 0},
        {"local_epochs": 0},
        {"local_iterations": -1},
        {"slim_widths": (0.0, 1.0)},
    ],
)
def test_settings_that_cannot_train_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("s")):
        TrainSettings(**wrong)


plans = st.fixed_dictionaries(
    {
        "sample_count": st.integers(1, 40),
        "batch_size": st.integers(1, 12),
        "seed": st.integers(0, 2**63 - 1),
        "epochs": st.integers(1, 3),
        "iterations": st.integers(0, 9),
        "shuffle": st.booleans(),
        "is_filled": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(plans)
def test_every_epoch_sees_every_sample_and_fills_its_last_batch_if_asked(plan):
    batches = plan_batches(**plan)
    count, size = plan["sample_count"], plan["batch_size"]
    assert len(batches) == count_iterations(count, size, plan["epochs"], plan["iterations"])
    per_epoch = -(-count // size)
    for start in range(0, len(batches) - per_epoch + 1, per_epoch):
        rows = torch.cat(batches[start : start + per_epoch]).tolist()
        assert sorted(rows[:count]) == list(range(count))
        lacking = -count % size if plan["is_filled"] and count > size else 0
        assert rows[count:] == rows[:lacking]
        if not plan["shuffle"]:
            assert rows[:count] == list(range(count))
    again = plan_batches(**plan)
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_shuffle_differently():
    first, second = plan_batches(50, 50, 7, epochs=2)
    assert not torch.equal(first, second)
    assert not torch.equal(first, plan_batches(50, 50, 8)[0])


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 25), min_size=1, max_size=6),
    size=st.integers(1, 8),
    epochs=st.integers(1, 2),
    is_padded=st.booleans(),
)
def test_segments_hold_each_members_batches_in_order(counts, size, epochs, is_padded):
    """Stacking decides what runs side by side, never what a member trains on."""
    batches = [plan_batches(c, size, n, epochs=epochs) for n, c in enumerate(counts)]
    offsets = [sum(counts[:n]) for n in range(len(counts))]
    segments = (stack_padded if is_padded else stack_equal)(batches, offsets)
    seen = [[] for _ in counts]
    for segment in segments:
        for k, rows_MB in enumerate(segment.rows_KMB):
            for m, n in enumerate(segment.members):
                rows = rows_MB[m]
                if segment.weights_KMB is not None:
                    weights = segment.weights_KMB[k, m]
                    rows = rows[weights > 0]
                    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
                seen[n].append((rows - offsets[n]).tolist())
    assert seen == [[rows.tolist() for rows in b] for b in batches]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 25), min_size=1, max_size=6),
    size=st.integers(1, 8),
    epochs=st.integers(1, 3),
    iterations=st.integers(0, 5),
    shuffle=st.booleans(),
    is_filled=st.booleans(),
)
def test_a_block_holds_the_batches_of_each_member_alone(
    counts, size, epochs, iterations, shuffle, is_filled
):
    options = {
        "epochs": epochs,
        "iterations": iterations,
        "shuffle": shuffle,
        "is_filled": is_filled,
    }
    seeds = [7 * n for n in range(len(counts))]
    rows, weights = plan_block(counts, seeds, size, **options)
    for n, count in enumerate(counts):
        batches = plan_batches(count, size, seeds[n], **options)
        taken = [rows[s, n][weights[s, n] > 0].tolist() for s in range(len(rows))]
        assert taken == [b.tolist() for b in batches] + [[]] * (len(rows) - len(batches))
        sums = weights[:, n].sum(1)
        assert torch.allclose(sums, (torch.arange(len(rows)) < len(batches)).float())
        assert 0 <= int(rows[:, n].min()) <= int(rows[:, n].max()) < count
