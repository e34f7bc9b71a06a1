"""A segment trained again from an opened state gives the same bits, whatever runs beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.adapters.traced_work import EVERY, MEMBERS, World, claim_machine, make_audited_task
from torch import nn

from kumiai.adapters.compute.audited import KeptStates
from kumiai.adapters.compute.determinism import reproducible
from kumiai.adapters.compute.execution.devices import CPU
from kumiai.adapters.compute.execution.shards import join_shards
from kumiai.adapters.compute.execution.traced import TracedWork, run_trace
from kumiai.base.amounts import PPM
from kumiai.learning.recipe import Recipe, compute_class_correct, compute_class_loss
from kumiai.nodes import ports

RULES: dict[str, dict[str, object]] = {
    "sgd": {},
    "momentum": {"momentum_ppm": 900_000},
    "adamw": {"optimizer": "adamw", "learning_rate_ppm": 10_000},
    "muon": {"optimizer": "muon", "learning_rate_ppm": 10_000},
    "fedprox": {"algorithm": "fedprox", "prox_mu_ppm": 500_000},
    "diloco": {"algorithm": "diloco", "learning_rate_ppm": 10_000},
    "scheduled": {"lr_schedule": "cosine", "lr_warmup_rounds": 2},
    "slim": {"slim": True, "slim_distill": True},
}


class Drawing(nn.Module):
    """A network that draws random numbers and keeps running means."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Unflatten(1, (4, 5)),
            nn.BatchNorm1d(4),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(20, 4),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def make_drawing_recipe() -> Recipe:
    return Recipe(
        name="drawing",
        build=lambda width: Drawing(),
        compute_loss=compute_class_loss,
        compute_correct=compute_class_correct,
        widths=(1.0,),
    )


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_segment_is_replayed_bit_for_bit(rule: str) -> None:
    world = World(make_audited_task(training=RULES[rule]))
    assert world.audit_all(MEMBERS[0]) == ("VALID", 0, "")


def test_random_draws_and_running_means_are_part_of_the_state() -> None:
    task = make_audited_task(model={"widths_ppm": [PPM]}, training={"slim": False})
    world = World(task, recipe=make_drawing_recipe())
    assert world.audit_all(MEMBERS[1]) == ("VALID", 0, "")


def test_random_draws_go_on_from_one_segment_to_the_next() -> None:
    """Or dropout would leave out the same numbers in every segment, and k would change the work."""
    task = make_audited_task(model={"widths_ppm": [PPM]}, training={"slim": False})
    updates = set()
    for every in (1, EVERY, 100):
        world = World(task, recipe=make_drawing_recipe())
        job = replace(world.make_job(MEMBERS[1]), checkpoint_every=every)
        updates.add(world.compute.train([job])[0].update)
    assert len(updates) == 1


def test_a_convolution_is_replayed_bit_for_bit() -> None:
    task = make_audited_task(model={"recipe": "cnn", "options": {}})
    world = World(task, shape=(1, 8, 8))
    assert world.audit_all(MEMBERS[2]) == ("VALID", 0, "")


def test_a_member_leaves_the_same_trace_alone_and_in_company() -> None:
    """Stacked members round differently: traced ones must not be."""
    alone, company = World(), World()
    expected = alone.train(MEMBERS[0])[1]
    jobs = [company.make_job(member) for member in MEMBERS]
    assert company.compute.train(jobs)[0] == expected


def test_a_trace_is_one_however_far_its_states_lie_apart() -> None:
    fine = World().train(MEMBERS[0])[1]
    coarse_world = World()
    job = replace(coarse_world.make_job(MEMBERS[0]), checkpoint_every=2 * EVERY)
    coarse = coarse_world.compute.train([job])[0]
    assert coarse.update == fine.update
    assert coarse.trace[:2] == fine.trace[:3:2]


def test_threads_and_switches_are_set_and_put_back() -> None:
    torch.set_num_threads(1)
    before = torch.are_deterministic_algorithms_enabled()
    with reproducible(CPU):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() is before


def test_states_that_were_not_kept_are_trained_again_with_the_same_bits() -> None:
    rich, poor = World(), World(states_bytes_max=0)
    for world in (rich, poor):
        assert world.audit_all(MEMBERS[0]) == ("VALID", 0, "")
    assert poor.train(MEMBERS[0])[1] == rich.train(MEMBERS[0])[1]


def test_kept_states_never_exceed_their_bound() -> None:
    kept = KeptStates(bytes_max=10)
    for index in range(5):
        kept.keep(index, b"four")
    assert kept.size_bytes == 8
    assert kept.get(1) == b"four"
    assert kept.get(2) is None


def test_the_states_of_an_earlier_round_are_dropped() -> None:
    world = World()
    job, _ = world.train(MEMBERS[0])
    first = world.compute._states[MEMBERS[0]][1]
    world.compute.train([world.make_job(MEMBERS[0], number=2)])
    assert first.size_bytes > 0
    assert world.compute._states[MEMBERS[0]][0] != job


def make_traced(world: World) -> TracedWork:
    shard = world.compute._shards[MEMBERS[0]]
    zeros_P = torch.zeros(world.engine.layout.size)
    return TracedWork(world.engine.work, zeros_P, join_shards([shard]), seed=5)


def test_a_state_survives_its_bytes() -> None:
    traced = make_traced(World(make_audited_task(training=RULES["adamw"])))
    with reproducible(CPU), torch.no_grad():
        state, _, _ = traced.run(traced.init(), EVERY)
        again = traced.decode(traced.encode(state), EVERY)
        assert traced.compute_digest(again) == traced.compute_digest(state)
        assert len(traced.encode(state)) <= traced.count_bytes()
        one = traced.compute_digest(traced.run(state, 9)[0])
        assert traced.compute_digest(traced.run(again, 9)[0]) == one


@pytest.mark.parametrize("change", ["short", "long", "iteration", "header", "empty"])
def test_bytes_that_are_no_state_of_this_work_are_refused(change: str) -> None:
    traced = make_traced(World())
    with reproducible(CPU), torch.no_grad():
        data = traced.encode(traced.run(traced.init(), EVERY)[0])
    wrong = {
        "short": data[:-1],
        "long": data + b"\0",
        "iteration": data,
        "header": b"\xff" + data[1:],
        "empty": b"",
    }[change]
    with pytest.raises(ValueError, match="no state of this work"):
        traced.decode(wrong, EVERY + (change == "iteration"))


def test_every_number_of_a_state_changes_its_digest() -> None:
    traced = make_traced(World(make_audited_task(training=RULES["momentum"])))
    with reproducible(CPU), torch.no_grad():
        state, _, _ = traced.run(traced.init(), EVERY)
        digest = traced.compute_digest(state)
        for part in (state.carry.params, state.carry.slots["momentum"]):
            tensor = next(iter(part.values()))
            tensor.view(-1)[0] += 1
            assert traced.compute_digest(state) != digest
            tensor.view(-1)[0] -= 1
        state.random[0][100] ^= 1
        assert traced.compute_digest(state) != digest


def test_the_whole_trace_keeps_what_it_is_asked_to() -> None:
    traced, kept = make_traced(World()), []
    with reproducible(CPU), torch.no_grad():
        _, digests, loss = run_trace(traced, EVERY, lambda index, state: kept.append(index))
    assert kept == [1, 2, 3, 4]
    assert len(digests) == 5
    assert loss > 0


def test_a_different_class_makes_a_difference_inconclusive_and_equality_still_proof() -> None:
    world = World()
    job, result = world.train(MEMBERS[0])
    target = world.open(job, result, [1])
    assert world.replay(claim_machine(target, "f" * 64))[0] == "VALID"
    forged = replace(
        target, leaves=tuple((i, "0" * 64 if i == 2 else digest) for i, digest in target.leaves)
    )
    assert world.replay(forged)[:2] == ("INVALID", 1)
    assert world.replay(claim_machine(forged, "f" * 64))[:2] == ("INCONCLUSIVE", 1)


def test_an_opened_state_that_cannot_be_fetched_is_missing() -> None:
    world = World()
    job, result = world.train(MEMBERS[0])
    target = world.open(job, result, [1])
    del world.blobs._blobs[result.trace[1]]
    assert world.replay(target)[0] == "MISSING"


def test_an_update_that_does_not_follow_from_the_last_state_is_invalid() -> None:
    world = World()
    job, result = world.train(MEMBERS[0])
    target = world.open(job, result, [2])
    assert world.replay(replace(target, update="0" * 64))[:2] == ("INVALID", -2)


def test_claimed_iterations_must_be_those_that_the_assigned_data_give() -> None:
    world = World()
    job, result = world.train(MEMBERS[0])
    target = world.open(job, result, [0])
    assert world.replay(replace(target, iterations=12))[:2] == ("INVALID", -1)


def test_one_process_replays_the_same_thing_once_and_counts_it_for_each() -> None:
    world = World()
    job, result = world.train(MEMBERS[0])
    target = world.open(job, result, [0, 3])
    jobs = [ports.AuditJob(1, name * 64, world.model, (target,)) for name in "de"]
    found = world.compute.audit(jobs)
    assert [one.iterations for one in found] == [EVERY + 2, EVERY + 2]
    assert [one.lines for one in found] == [(("VALID", 0, ""),)] * 2
