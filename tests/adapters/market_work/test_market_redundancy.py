"""One shard at several providers: equal work is agreement, other work is judged by its gain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.market_work.market_jobs import get_world

from kumiai.adapters.compute.market.redundancy import (
    DIFFERS,
    EQUAL,
    NEAR,
    compare_updates,
    compare_work,
    find_works,
)
from kumiai.adapters.sim.market_work import GarbageWork


def test_providers_of_one_shard_who_agree_are_no_duplicates_and_worth_the_same():
    world = get_world()
    ada, bea = world.train(0).update, world.train(1).update
    lines, _ = world.judge(("a1", ada, 0), ("a2", ada, 0), ("b1", bea, 1))
    assert lines["a1"].agreement == lines["a2"].agreement == EQUAL
    assert lines["b1"].agreement == ""
    assert all(line.fault == "" for line in lines.values())
    assert lines["a1"].value == lines["a2"].value
    alone, _ = world.judge(("a1", ada, 0), ("b1", bea, 1))
    assert alone["a1"].value == lines["a1"].value  # done twice, it is worth no more


def test_the_same_bytes_for_another_shard_are_a_copy():
    world = get_world()
    ada = world.train(0).update
    lines, _ = world.judge(("a1", ada, 0), ("a2", ada, 0), ("thief", ada, 1))
    assert lines["thief"].fault == "duplicate"
    assert lines["thief"].duplicate_of == "a1"
    assert lines["a2"].fault == ""


def test_rounding_between_machines_is_near_and_blames_nobody():
    world = get_world()
    ada = world.train(0).update
    ints_P = world.decode(ada)
    other = world.put_update(ints_P + np.random.default_rng(1).integers(-3, 4, len(ints_P)))
    lines, _ = world.judge(("a1", ada, 0), ("a2", other, 0))
    assert lines["a1"].agreement == lines["a2"].agreement == NEAR
    assert lines["a1"].fault == lines["a2"].fault == ""
    assert lines["a1"].value == lines["a2"].value


def test_whose_update_differs_and_gains_nothing_is_off_whoever_came_first():
    world = get_world()
    ada, bea = world.train(0).update, world.train(1).update
    noise = GarbageWork(world.provider, world.blobs, seed=3).train(world.order(0)).update
    for round_updates in (
        (("cheat", noise, 0), ("a1", ada, 0), ("b1", bea, 1)),
        (("a1", ada, 0), ("b1", bea, 1), ("cheat", noise, 0)),
    ):
        lines, _ = world.judge(*round_updates)
        assert lines["a1"].agreement == lines["cheat"].agreement == DIFFERS
        assert lines["cheat"].fault == "differs"
        assert lines["a1"].fault == ""
        assert lines["a1"].value > 0 >= lines["cheat"].value


def test_honest_work_with_another_seed_differs_and_is_not_blamed():
    world = get_world()
    ada, other = world.train(0).update, world.train(0, seed=99).update
    lines, _ = world.judge(("a1", ada, 0), ("a2", other, 0))
    assert lines["a1"].agreement == lines["a2"].agreement == DIFFERS
    assert lines["a1"].fault == lines["a2"].fault == ""
    assert lines["a1"].gain > 0
    assert lines["a2"].gain > 0


def test_of_one_shard_likeness_is_no_copy():
    """As two kinds of machine drift apart: the same direction, more than rounding away."""
    world = get_world()
    ada, bea = world.train(0).update, world.train(1).update
    longer = world.put_update(np.rint(world.decode(ada) * 1.05))
    lines, _ = world.judge(("a1", ada, 0), ("a2", longer, 0), ("b1", bea, 1))
    assert lines["a1"].agreement == lines["a2"].agreement == DIFFERS
    assert all(line.fault == "" for line in lines.values())
    elsewhere, _ = world.judge(("a1", ada, 0), ("a2", longer, 2), ("b1", bea, 1))
    assert elsewhere["a2"].fault == "duplicate"


def test_a_majority_of_colluders_whose_noise_gains_nothing_blames_nobody_honest():
    world = get_world()
    ada = world.train(0).update
    noise = GarbageWork(world.provider, world.blobs, seed=3).train(world.order(0)).update
    lines, _ = world.judge(("c1", noise, 0), ("c2", noise, 0), ("a1", ada, 0))
    assert lines["a1"].fault == ""
    assert lines["a1"].value > 0
    assert lines["c1"].gain <= 0
    assert lines["c1"].value <= 0


def test_one_who_trains_longer_cannot_blame_an_honest_majority():
    """The reference is the piece that most delivered, however great another's gain."""
    vectors = [np.array([1000, 0]), np.array([1000, 0]), np.array([0, 1000])]
    works = find_works([0, 0, 0], [v.astype(np.int32) for v in vectors])
    found = compare_work(works, [100, 1_000])
    assert [found[i].is_off for i in range(3)] == [False, False, False]
    assert compare_work(works, [1_000, 100])[2].is_off


@given(
    st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=50), st.integers(0, 2**32)
)
def test_near_is_decided_exactly_as_by_big_integers(values, seed):
    one = np.array(values, dtype=np.int32)
    steps = np.random.default_rng(seed).uniform(-0.02, 0.02, len(values))
    other = np.clip(one * (1 + steps), -(2**31) + 1, 2**31 - 1).astype(np.int32)
    apart = sum((int(a) - int(b)) ** 2 for a, b in zip(one, other, strict=True))
    longer = max(sum(int(a) ** 2 for a in one), sum(int(b) ** 2 for b in other))
    wanted = EQUAL if apart == 0 else NEAR if apart * 10_000 <= longer else DIFFERS
    assert compare_updates(one, other) == wanted
    assert compare_updates(other, one) == wanted


@pytest.mark.parametrize("unit", [1, 655, 65_537, 1_234_567, 20_000_001])
def test_near_ends_exactly_at_one_hundredth(unit):
    whole = np.array([100 * unit], dtype=np.int32)
    assert compare_updates(whole, whole - np.int32(unit)) == NEAR
    assert compare_updates(whole, whole - np.int32(unit + 1)) == DIFFERS


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    works = find_works([0] * count, [np.array([1], np.int32)] * count)
    assert [a.state for a in compare_work(works, [5] * count).values()] == [""] * count
