"""A customer's judgement: measured on its own data, by nothing that a provider says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save
from tests.adapters.market_work.market_jobs import get_world, make_task, make_world

from kumiai.adapters.compute.market import MarketJudge, open_job
from kumiai.adapters.compute.market.customer import CANDIDATES_MAX
from kumiai.adapters.sim.market_work import CopyingWork, GarbageWork, LyingWork
from kumiai.base.errors import InputError, RunFailedError
from kumiai.learning import fixed_point
from kumiai.nodes.market.work import Candidate, CombineOrder, JudgeOrder

NAMES = ("ada", "bea", "cal", "dan", "eva")


def honest_round(world, number: int = 1):
    return [(name, world.train(shard).update, shard) for shard, name in enumerate(NAMES)]


def test_honest_updates_help_and_share_what_the_round_gains():
    world = get_world()
    lines, found = world.judge(*honest_round(world))
    assert [line.provider for line in found.updates] == list(NAMES)
    assert all(line.fault == "" and line.agreement == "" for line in lines.values())
    assert all(line.gain > 0 and line.value > 0 for line in lines.values())
    included = tuple((name, blob, 1) for name, blob, _ in honest_round(world))
    combined = world.customer.combine(
        CombineOrder(1, world.prepared.model, None, None, included, "5e" * 32)
    )
    _, after = world.judge(model=combined.model, previous_model=world.prepared.model, round=2)
    assert after.loss_ppm < found.loss_ppm
    assert after.accuracy_ppm > found.accuracy_ppm
    assert after.updates == ()


def test_the_order_of_commitments_changes_no_value():
    world = get_world()
    updates = honest_round(world)
    lines, _ = world.judge(*updates)
    assert world.judge(*reversed(updates))[0] == lines


def test_gain_is_of_the_whole_update_alone_whoever_else_is_in_the_round():
    world = get_world()
    updates = honest_round(world)
    together, found = world.judge(*updates)
    alone, _ = world.judge(updates[2])
    assert together["cal"].gain == alone["cal"].gain
    first, size = world.prepared.model, world.customer.job.layout.size
    data = world.blobs.get(first, fixed_point.compute_size_bytes_max(size))
    moved = fixed_point.decode_vector("model", data, size) + world.decode(updates[2][1])
    model = world.blobs.put(fixed_point.encode_vector("model", moved))
    _, after = world.judge(model=model)
    # the gain is of the bounded loss: a little less than that of the loss itself
    assert 0 < together["cal"].gain <= found.loss_ppm - after.loss_ppm + 1_000


def test_a_claimed_loss_and_sample_count_change_nothing():
    world = get_world()
    liar = LyingWork(world.provider).train(world.order(0))
    truth = world.train(0)
    assert liar.loss_ppm < truth.loss_ppm // 10
    assert liar.update == truth.update
    lines, _ = world.judge(("liar", liar.update, 0))
    assert lines["liar"].gain == world.judge(("ada", truth.update, 0))[0]["ada"].gain


@pytest.mark.parametrize("span", [0.5, 1.0, 3.0])
def test_random_weights_gain_nothing_while_the_model_still_guesses(span):
    """The bounded loss alone would call them a gain: wrong answers cost no more than the bound."""
    world = get_world()
    size = world.customer.job.layout.size
    for seed in range(3):
        drawn = np.random.default_rng(seed).uniform(-span, span, size)
        update = put_update(world, world.prepared.model, drawn)
        line = world.judge(("guess", update, 0))[0]["guess"]
        assert line.gain < 0


def test_flattening_a_model_that_is_too_sure_gains_nothing():
    """The plain loss alone would call it a gain, though no answer gets better."""
    world = get_world()
    blob = world.prepared.model
    for number in range(1, 4):
        updates = [world.train(s, round=number, model=blob).update for s in range(len(NAMES))]
        included = tuple((name, update, 1) for name, update in zip(NAMES, updates, strict=True))
        order = CombineOrder(number, blob, None, None, included, "5e" * 32)
        blob = world.customer.combine(order).model
    weights = 3 * fixed_point.dequantise(read_model(world, blob))
    sure = world.blobs.put(fixed_point.encode_vector("model", fixed_point.quantise(weights)))
    update = put_update(world, sure, weights * 0.75)
    line = world.judge(("flat", update, 0), model=sure)[0]["flat"]
    assert line.gain <= 0


def read_model(world, blob):
    size = world.customer.job.layout.size
    data = world.blobs.get(blob, fixed_point.compute_size_bytes_max(size))
    return fixed_point.decode_vector("model", data, size)


def put_update(world, model, weights):
    """The update that makes these weights of the model."""
    return world.put_update(fixed_point.quantise(weights) - read_model(world, model))


def test_garbage_is_malformed_or_worth_nothing():
    world = get_world()
    noise = GarbageWork(world.provider, world.blobs, seed=1).train(world.order(0))
    rubbish = GarbageWork(world.provider, world.blobs, is_malformed=True).train(world.order(1))
    others = [(n, b, s) for n, b, s in honest_round(world) if s > 1]
    lines, _ = world.judge(("noisy", noise.update, 0), ("odd", rubbish.update, 1), *others)
    assert lines["odd"].fault == "malformed"
    assert lines["noisy"].gain <= 0
    assert lines["noisy"].value <= 0
    more = [*others, ("ada", world.train(0).update, 0), ("bea", world.train(1).update, 1)]
    assert world.judge(("noisy", noise.update, 0), *more)[0]["noisy"].fault == "uncorrelated"
    assert GarbageWork(world.provider, world.blobs, seed=1).train(world.order(0)) == noise


def test_a_copy_of_another_shards_update_is_named_also_scaled():
    world = get_world()
    (ada, bea, *rest) = honest_round(world)
    take = CopyingWork(world.provider, lambda order: world.train(0))
    copied = take.train(world.order(2))
    scaled = world.put_update(world.decode(bea[1]) // 2)
    lines, _ = world.judge(ada, bea, ("copier", copied.update, 2), ("scaler", scaled, 3), rest[2])
    for copier, original in (("copier", "ada"), ("scaler", "bea")):
        assert lines[copier].fault == "duplicate"
        assert lines[copier].duplicate_of == original
        assert lines[copier].value == 0
    assert all(lines[name].fault == "" for name in ("ada", "bea", "eva"))


def test_empty_replayed_and_diverged_updates_are_told_apart():
    world = get_world()
    included = tuple((name, blob, 1) for name, blob, _ in honest_round(world))
    first = world.prepared.model
    second = world.customer.combine(CombineOrder(1, first, None, None, included, "5e" * 32)).model
    size = world.customer.job.layout.size
    cap = fixed_point.compute_size_bytes_max(size)
    before, after = (
        fixed_point.decode_vector("model", world.blobs.get(m, cap), size) for m in (first, second)
    )
    giant = np.where(after >= 0, 2**31 - 1, -(2**31) + 1)
    fresh = world.train(1, model=second, round=2).update
    lines, _ = world.judge(
        ("idle", world.put_update(np.zeros(size)), 0),
        ("bea", fresh, 1),
        ("parrot", world.put_update(after - before), 2),
        ("giant", world.put_update(giant), 3),
        model=second,
        previous_model=first,
        round=2,
    )
    faults = {name: line.fault for name, line in lines.items()}
    assert faults == {"idle": "empty", "bea": "", "parrot": "replayed", "giant": "diverged"}
    assert lines["giant"].gain == -1_000_000
    assert lines["bea"].gain > 0
    assert lines["bea"].value > 0


@pytest.mark.parametrize("kind", ["missing", "giant", "short", "wrong name", "wrong dtype", "name"])
def test_payloads_that_no_codec_writes_are_malformed_and_disturb_nobody(kind):
    world = get_world()
    size = world.customer.job.layout.size
    blob = {
        "missing": "0" * 64,
        "giant": world.blobs.put(bytes(world.prepared.update_bytes_max + 1)),
        "short": world.blobs.put(b"\0" * 7),
        "wrong name": world.blobs.put(fixed_point.encode_vector("x", np.zeros(size, np.int32))),
        "wrong dtype": world.blobs.put(save({"update": np.full(size, np.nan, np.float32)})),
        "name": "../../etc/passwd",
    }[kind]
    updates = honest_round(world)
    lines, _ = world.judge(("bad", blob, 0), *updates[1:])
    assert lines["bad"] == replace(lines["bad"], gain=0, value=0, error=0, fault="malformed")
    assert all(lines[name].value > 0 for name in NAMES[1:])


def test_a_round_of_nothing_usable_is_judged_too():
    world = get_world()
    lines, found = world.judge(("bad", "0" * 64, 0))
    assert lines["bad"].fault == "malformed"
    assert found.loss_ppm == world.judge()[1].loss_ppm


def test_misuse_is_told_to_our_own_code():
    world = get_world()
    ada = honest_round(world)[0]
    with pytest.raises(ValueError, match="each once"):
        world.judge(ada, ada)
    with pytest.raises(ValueError, match="hex digits"):
        world.judge(ada, seed="")


def test_what_a_customer_sends_a_judge_does_not_end_it():
    """A model that is none, or 300 updates, raised what only our own faults may raise."""
    world = get_world()
    ada = honest_round(world)[0]
    garbage = world.blobs.put(b"garbage")
    short = world.blobs.put(fixed_point.encode_vector("model", np.zeros(3, np.int32)))
    for name in (garbage, short, ada[1]):
        for field in ("model", "previous_model"):
            with pytest.raises(InputError) as found:
                world.judge(ada, **{field: name})
            assert found.value.field_name == "model"
    many = [(f"{number:064x}", *ada[1:]) for number in range(CANDIDATES_MAX + 1)]
    with pytest.raises(InputError, match="at most"):
        world.judge(*many)


def test_nothing_of_the_hold_out_is_published():
    world = make_world()
    rows = {bytes(row.numpy().tobytes()) for row in world.customer.test[0]}
    rows |= {row.numpy().tobytes() for row in world.customer._measure.inputs}
    published = b"".join(world.blobs._blobs.values())
    assert sum(row in published for row in rows) <= 1  # digits has one picture twice
    counts = sum(world.prepared.sample_counts)
    assert counts + len(world.customer.test[1]) + len(world.customer._measure.targets) == 1_797


def test_preparing_again_gives_the_same_blobs_and_a_validator_judges_with_its_own_data():
    world = make_world()
    again = make_world()
    assert again.prepared == world.prepared
    p = world.prepared
    job = open_job(world.blobs, p.task, p.code, p.input_shape, p.class_count)
    validator = MarketJudge(job, world.blobs, world.customer.test)
    update = world.train().update
    order_lines, found = world.judge(("ada", update, 0))
    order = JudgeOrder(1, p.model, None, (Candidate("ada", update, 0),), "5e" * 32)
    theirs = validator.judge(order)
    assert theirs.updates[0].gain > 0
    assert theirs.loss_ppm != found.loss_ppm
    assert order_lines["ada"].gain != theirs.updates[0].gain


@pytest.mark.parametrize("algorithm", ["fedavg", "diloco"])
def test_rounds_combine_bit_exactly_with_server_momentum(algorithm):
    """Two customers with the same accepted updates make the same models and states."""
    task = make_task(training={"algorithm": algorithm, "optimizer": "adamw", "learning_rate": 0.01})
    ends = []
    for _ in range(2):
        world = make_world(task)
        model, previous, state = world.prepared.model, None, None
        losses = []
        for number in (1, 2, 3):
            done = [world.train(s, round=number, model=model) for s in range(3)]
            included = tuple((NAMES[i], d.update, 1) for i, d in enumerate(done))
            combined = world.customer.combine(
                CombineOrder(number, model, state, previous, included, f"{number:064x}")
            )
            previous, model, state = model, combined.model, combined.server_state
            losses.append(world.customer.measure(model, world.customer.test)[0])
        assert losses[-1] < losses[0]
        assert (state is not None) == (algorithm == "diloco")
        ends.append((model, state))
    assert ends[0] == ends[1]


def test_an_empty_round_leaves_the_model_and_a_diverging_one_is_told():
    world = get_world()
    order = CombineOrder(1, world.prepared.model, None, None, (), "5e" * 32)
    assert world.customer.combine(order).model == world.prepared.model
    size = world.customer.job.layout.size
    giant = world.put_update(np.full(size, 2**31 - 1))
    broken = replace(order, included=(("giant", giant, 1),))
    with pytest.raises(RunFailedError, match="diverges"):
        world.customer.combine(broken)


def test_a_customers_own_task_is_checked_like_a_strangers():
    with pytest.raises(InputError) as found:
        make_world(make_task(data={"mode": "private"}))
    assert found.value.field_name == "data.mode"
