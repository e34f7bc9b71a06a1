"""Every door takes its seeds and survives thousands of inputs that are nearly right."""

from __future__ import annotations

import random

import pytest
from tests.fuzz.corpus import DOORS
from tests.fuzz.mutate import mutate

COUNT = 3_000
SLOW_COUNT = {"replica": 400}


@pytest.mark.parametrize("name", DOORS)
def test_bad_bytes_are_refused_and_nothing_else_happens(name):
    door = DOORS[name]
    for seed in door.seeds:
        door.knock(seed)
    corpus = list(door.seeds)
    for number in range(SLOW_COUNT.get(name, COUNT)):
        rng = random.Random(f"{name}/{number}")
        data = mutate(rng.choice(corpus), door.seeds, rng)
        try:
            door.knock(data)
        except Exception as error:
            error.add_note(f"door {name}, input {number}: {data[:2_000]!r}")
            raise
        if number % 10 == 0:  # some are changed again
            corpus = [*door.seeds, *corpus[len(door.seeds) :][-50:], data]
