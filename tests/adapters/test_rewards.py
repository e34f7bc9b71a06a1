"""The comparison of model rewards: splits, peers and the cell as a whole, on a tiny data set."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kumiai.adapters.data.dataset import Dataset
from kumiai.adapters.sim.rewards.capacity import mask_width
from kumiai.adapters.sim.rewards.cgsv import mask_largest
from kumiai.adapters.sim.rewards.compare import METHODS, TRAINING, Cell, make_recipe, play_cell
from kumiai.adapters.sim.rewards.federation import LastModels
from kumiai.adapters.sim.rewards.members import MemberTrainer
from kumiai.adapters.sim.rewards.splits import SPLITS, deal
from kumiai.apps.bench import aequa
from kumiai.apps.bench.picture import draw
from kumiai.base.errors import InputError
from kumiai.learning.layout import compute_layout
from kumiai.learning.recipe import build_seeded
from kumiai.learning.slim import extract_width


def make_dataset(seed: int = 0) -> Dataset:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 60).astype(np.int64)
    centres = generator.normal(size=(4, 6))
    features = centres[labels] + 0.5 * generator.normal(size=(len(labels), 6))
    return Dataset(features.astype(np.float32), labels, None, 4, (6,))


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("members", [1, 3, 12])
def test_every_sample_has_one_place(kind: str, members: int) -> None:
    dataset = make_dataset()
    split = deal(dataset, kind, members, seed=3)
    assert len(split.shards) == members and min(split.counts) >= 1
    parts = [x for x, _ in (*split.shards, split.validation, split.test)]
    rows = [tuple(row) for row in torch.cat(parts).tolist()]
    assert len(rows) == len(set(rows)) >= len(dataset.labels) - members
    assert set(rows) <= {tuple(row) for row in dataset.features.tolist()}


def test_splits_are_what_they_say() -> None:
    dataset = make_dataset()
    quantity = deal(dataset, "quantity", 4, seed=1).counts
    assert list(quantity) == sorted(quantity) and quantity[-1] > 3 * quantity[0]
    labels = [set(y.tolist()) for _, y in deal(dataset, "label", 3, seed=1).shards]
    assert len(labels[0]) == 2 < len(labels[2])
    with pytest.raises(ValueError, match="'sideways' is unknown"):
        deal(dataset, "sideways", 3, seed=1)
    with pytest.raises(ValueError, match="96 samples cannot be dealt to 97"):
        deal(dataset, "label", 97, seed=1)


def test_equal_members_get_equal_models_and_cost_nothing() -> None:
    dataset = make_dataset()
    trainer = MemberTrainer(make_recipe(dataset), TRAINING)
    split = deal(dataset, "homogeneous", 1, seed=1)
    start = trainer.build_start(1).expand(3, -1).contiguous()
    local_NP = trainer.train(start, [split.shards[0]] * 3, [5, 5, 5])
    assert torch.allclose(local_NP[0], local_NP[1]) and torch.allclose(local_NP[0], local_NP[2])
    assert not torch.allclose(local_NP[0], start[0])


def test_who_diverges_sends_nothing() -> None:
    dataset = make_dataset()
    trainer = MemberTrainer(make_recipe(dataset), replace(TRAINING, learning_rate=1e30))
    split = deal(dataset, "homogeneous", 2, seed=1)
    start = trainer.build_start(1).expand(2, -1).contiguous()
    assert torch.equal(trainer.train(start, split.shards, [1, 2]), start)


def test_a_narrow_iteration_touches_its_own_block_alone() -> None:
    dataset = make_dataset()
    recipe = make_recipe(dataset)
    trainer = MemberTrainer(recipe, TRAINING)
    split = deal(dataset, "homogeneous", 1, seed=1)
    width = recipe.widths[40]
    start = trainer.build_start(1)[None]
    moved_P = (trainer.train(start, split.shards, [1], ((width,),)) - start)[0] != 0
    inside_P = mask_width(recipe, trainer.layout, width)
    assert moved_P.any() and not (moved_P & ~inside_P).any()
    narrow = extract_width(recipe, trainer.build_start(1), width)
    assert int(inside_P.sum()) == sum(t.numel() for t in narrow.values())


def test_masks_keep_the_largest_of_each_tensor() -> None:
    layout = compute_layout(build_seeded(make_recipe(make_dataset()), 1.0, 0))
    update_P = torch.randn(layout.size)
    kept_NP = mask_largest(layout, update_P, torch.tensor([1.0, 0.25]))
    assert torch.equal(kept_NP[0], update_P)
    for offset, size in zip(layout.offsets, layout.sizes, strict=True):
        part, kept = update_P[offset : offset + size], kept_NP[1, offset : offset + size]
        assert int((kept != 0).sum()) == math.ceil(size / 4)
        assert part[kept == 0].abs().max() <= part[kept != 0].abs().min()


def test_last_models_are_the_last_quarter() -> None:
    last = LastModels(8)
    with pytest.raises(ValueError, match="no round from 6"):
        last.compute_mean()
    for number in range(8):
        last.add(number, torch.full((2,), float(number)))
    assert last.compute_mean().tolist() == [6.5, 6.5]


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 4])
def test_a_cell_is_played_by_all(members: int, tmp_path: Path) -> None:
    dataset = make_dataset()
    trainer = MemberTrainer(make_recipe(dataset), TRAINING)
    cell = Cell("made", "quantity", members, 1)
    scores = play_cell(dataset, cell, 6, trainer)
    assert [score.method for score in scores] == list(METHODS)
    ours, average = scores[0], scores[1]
    assert len(set(average.received)) == 1 and average.pearson is None
    assert max(ours.widths) == 1.0  # who gave most has all of it
    order = np.argsort(ours.contributions)
    assert list(np.array(ours.widths)[order]) == sorted(ours.widths)
    results = [(cell, scores)]
    rows = aequa.summarise(results)
    won = aequa.count_won_against_all(rows)
    assert set(won) == set(aequa.MEASURES) and all(0 <= a <= n == 1 for a, n in won.values())
    assert all(sum(v) == 1 for peers in aequa.count_wins(rows).values() for v in peers.values())
    aequa.save(results, 6, tmp_path / "aequa")
    saved = json.loads((tmp_path / "aequa.json").read_text())
    assert saved["cells"][0]["members"] == members
    words = dict.fromkeys(("title", "contribution", "received", *aequa.MEASURES), "a < b")
    svg = draw(results, rows, words)
    assert svg.startswith("<svg") and "a &lt; b" in svg and "a < b" not in svg


def test_bad_numbers_are_named() -> None:
    with pytest.raises(InputError, match="sideways"):
        aequa.list_cells(["digits"], ["sideways"], [5], 1)
    with pytest.raises(InputError, match="at least one member"):
        aequa.list_cells(["digits"], ["label"], [0], 1)
    assert len(aequa.list_cells(["digits", "mnist5k"], list(SPLITS), [5, 10, 50], 3)) == 72


@pytest.mark.parametrize("scale", [20.0, 2_000.0])
def test_who_diverges_keeps_the_model_it_began_with(scale: float) -> None:
    """Finite or not: what a run would refuse must not be averaged into everybody's model."""
    dataset = make_dataset()
    split = deal(dataset, "homogeneous", 5, seed=1)
    trainer = MemberTrainer(make_recipe(dataset), TRAINING)
    start_NP = trainer.build_start(1).expand(5, -1).contiguous()
    (inputs, targets), *others = split.shards
    wild = trainer.train(start_NP, [(scale * inputs, targets), *others], [1, 2, 3, 4, 5])
    tame = trainer.train(start_NP, split.shards, [1, 2, 3, 4, 5])
    assert torch.equal(wild[0], start_NP[0])
    assert torch.equal(wild[1:], tame[1:])
    assert not torch.equal(tame[0], start_NP[0])
