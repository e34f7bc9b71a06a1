"""One member in several processes: what it refuses, what it survives, what it leaves behind."""

from __future__ import annotations

import ipaddress
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.adapters.test_execution import (
    CONV,
    COUNTS,
    DROPOUT,
    MLP,
    WIDTHS,
    assert_same,
    load,
    make_shards,
    run,
    start_of,
)

from kumiai.adapters.compute.execution import parallel_rank, parallel_step
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.execution.parallel import ParallelBackend
from kumiai.adapters.compute.execution.parallel_rules import pick_device_type
from kumiai.adapters.compute.execution.process import WorkerError
from kumiai.adapters.compute.execution.shards import join_shards
from kumiai.adapters.data.user_file import load_user_recipe
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings, build_local_work
from kumiai.learning.parallel import Parallel
from kumiai.learning.privacy.sgd import PrivacySettings
from kumiai.learning.recipe import build_recipe

MODES = ("ddp", "fsdp")
TRAIN = TrainSettings(batch_size=8, momentum=0.9, local_epochs=2)
LONG = TrainSettings(batch_size=1, local_epochs=50)


def split(recipe, mode, count=2):
    return replace(recipe, parallel=Parallel(mode, count))


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("mode", MODES)
def test_shares_may_be_unequal_and_empty(mode):
    """Three processes, batches of 8, 2 and 1 samples."""
    shards = make_shards(MLP, counts=(10, 1, 16))
    train = replace(TRAIN, is_filled=False)
    with Engine(split(MLP, mode, 3), train) as engine:
        found = engine.train(start_of(engine, MLP), shards, [0, 1, 2])
        assert len(engine._backend.worker_pids) == 3
    assert_same(found, run(MLP, train, "inline", shards))


def test_the_number_is_the_recipes_and_its_sums_are_not_the_cores():
    """Two and three processes round differently: so the machine must not choose the number."""
    shards = make_shards(CONV)
    two, three = (run(split(CONV, "ddp", count), TRAIN, "auto", shards) for count in (2, 3))
    assert not torch.equal(two.updates_NP, three.updates_NP)
    assert_same(two, three)


def test_gradients_may_travel_in_several_buckets(monkeypatch):
    shards = make_shards(CONV)
    expected = run(split(CONV, "ddp"), TRAIN, "auto", shards)
    monkeypatch.setattr(parallel_step, "BUCKET_BYTES_MAX", 64)
    with Engine(split(CONV, "ddp"), TRAIN) as engine:
        tensors = {name: torch.zeros(s) for name, s in zip("abcd", (4, 20, 3, 5), strict=True)}
        assert parallel_step.fill_buckets(tensors) == [["a"], ["b"], ["c", "d"]]
        found = engine.train(start_of(engine, CONV), shards, list(range(len(COUNTS))))
    assert torch.equal(found.updates_NP, expected.updates_NP)


@pytest.mark.parametrize("mode", MODES)
def test_each_process_draws_numbers_of_its_own(mode):
    """Half the batch in each with the same masks would be half the noise."""
    shards = [(torch.ones(8, 10), torch.zeros(8, dtype=torch.int64))]
    shares = []
    for rows in (slice(0, 4), slice(4, 8)):
        x, y = shards[0]
        with Engine(DROPOUT, TrainSettings(batch_size=4), "inline") as engine:
            shares.append(engine.train(start_of(engine, DROPOUT), [(x[rows], y[rows])], [7]))
    same = (shares[0].updates_NP + shares[1].updates_NP) / 2
    found = run(split(DROPOUT, mode), TrainSettings(batch_size=8), "auto", shards, seeds=[7])
    assert (found.updates_NP - same).norm() > 0.01 * same.norm()


def test_a_recipe_file_declares_it():
    recipe = load("shared_out", [1000000])
    assert recipe.parallel == Parallel("fsdp", 2)
    with Engine(recipe, TRAIN, "process") as engine:
        found = engine.train(start_of(engine, MLP), make_shards(MLP), list(range(len(COUNTS))))
        assert engine.reason.startswith("parallel, eager: the recipe's choice; fsdp over 2 proc")
    assert_same(found, run(MLP, TRAIN, "inline", make_shards(MLP)))


def test_a_wrong_declaration_names_the_file(tmp_path):
    (tmp_path / "r.py").write_text("parallel = 'tensor'\ndef build(width): ...\n")
    with pytest.raises(ValueError, match=r"recipe 'r.py:build': parallel = 'tensor'"):
        load_user_recipe("r.py:build", {}, [1000000], tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_tied_frozen_and_overwritten_tensors(mode):
    recipe = load("in_place", [1000000])
    shards = make_shards(MLP)
    expected = run(recipe, TRAIN, "inline", shards)
    assert_same(run(split(recipe, mode), TRAIN, "auto", shards), expected)


def test_the_built_in_transformer_is_cut_by_layers():
    generator = torch.Generator().manual_seed(1)
    shards = [
        tuple(torch.randint(0, 12, (n, 8), generator=generator) for _ in range(2)) for n in (5, 3)
    ]
    train = TrainSettings(batch_size=4, local_epochs=2)
    recipe = build_recipe("transformer", {"parallel": "fsdp"}, WIDTHS, (8,), 12)
    expected = run(replace(recipe, parallel=None), train, "inline", shards)
    assert_same(run(recipe, train, "auto", shards), expected)


@pytest.mark.parametrize("mode", MODES)
def test_started_afresh_they_give_the_same_bytes_as_forked(mode):
    """What GPUs and systems without fork need: the recipe is built again from its file."""
    work = build_local_work(MLP, TRAIN)
    data = join_shards(make_shards(MLP, counts=(9, 4)))
    results = []
    for method in ("fork", "spawn"):
        backend = ParallelBackend(work, Parallel(mode, 2), method=method)
        try:
            with Engine(MLP, TRAIN, "inline") as engine:
                results.append(backend.train(start_of(engine, MLP), data, [1, 2]))
        finally:
            backend.close()
    assert torch.equal(results[0][0], results[1][0])
    nowhere = build_local_work(replace(MLP, origin=None), TRAIN)
    with pytest.raises(InputError, match=r"give it as FILE\.py:function"):
        ParallelBackend(nowhere, Parallel(mode, 2), method="spawn")


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_process_is_a_clear_error_and_the_next_round_works(mode):
    shards = make_shards(MLP, counts=(99, 99))
    with Engine(split(MLP, mode), replace(LONG, local_epochs=1)) as engine:
        start = start_of(engine, MLP)
        expected = engine.train(start, shards, [1, 2])
        backend = engine._backend
        os.kill(backend.worker_pids[0], signal.SIGKILL)  # between two rounds
        with pytest.raises(WorkerError, match=r"ended \(signal 9\) while training member 0"):
            engine.train(start, shards, [1, 2])
        assert backend.worker_pids == ()
        again = engine.train(start, shards, [1, 2])
        assert torch.equal(again.updates_NP, expected.updates_NP)
    with Engine(split(MLP, mode), LONG) as engine:
        engine.train(start, make_shards(MLP, counts=(1, 1)), [1, 2])
        backend, killed = engine._backend, []

        def kill():
            while backend._shown is None or max(backend._shown.counts) < 99:
                time.sleep(0.01)
            time.sleep(1.0)  # in the middle of its work
            killed.extend(backend.worker_pids)
            os.kill(killed[1], signal.SIGKILL)

        threading.Thread(target=kill).start()
        with pytest.raises(WorkerError, match=r"run the round again") as caught:
            engine.train(start, shards, [1, 2])
        assert caught.value.is_retriable
    assert len(killed) == 2
    assert not any(map(is_alive, killed))  # who waited for the dead one is ended, too


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_when_the_engine_ends(mode, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Engine(split(MLP, mode), TRAIN) as engine:
        engine.train(start_of(engine, MLP), make_shards(MLP), list(range(len(COUNTS))))
        pids = engine._backend.worker_pids
        (meeting,) = tmp_path.iterdir()
        assert meeting.stat().st_mode & 0o777 == 0o700
    assert not any(map(is_alive, pids))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's list of sockets")
@pytest.mark.parametrize("mode", MODES)
def test_processes_listen_on_loopback_alone(mode):
    with Engine(split(MLP, mode), TRAIN) as engine:
        engine.train(start_of(engine, MLP), make_shards(MLP), list(range(len(COUNTS))))
        found = [host for pid in engine._backend.worker_pids for host in list_listening(pid)]
    assert found
    assert all(host.is_loopback for host in found), found


def test_the_interface_is_the_one_they_are_told(monkeypatch):
    """Where a machine's own name leads elsewhere than to loopback, this decides."""
    monkeypatch.setattr(parallel_rank, "find_loopback", lambda: "nosuch0")
    with Engine(split(MLP, "ddp"), TRAIN) as engine, pytest.raises(ValueError, match="nosuch0"):
        engine.train(start_of(engine, MLP), make_shards(MLP), list(range(len(COUNTS))))


def list_listening(pid):
    """Addresses on which a process waits for connections, those it was forked with among them."""
    links = [os.readlink(f) for f in Path(f"/proc/{pid}/fd").iterdir() if f.is_symlink()]
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in links:
                host = fields[1].partition(":")[0]
                words = [host[place : place + 8] for place in range(0, len(host), 8)]
                packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
                address = ipaddress.ip_address(packed)
                yield getattr(address, "ipv4_mapped", None) or address


def test_a_recipe_that_fails_while_it_is_taken_apart_says_so():
    """PyTorch shards no single numbers: the error is its own, with nothing left running."""

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.scale = torch.nn.Linear(10, 4), torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.layer(x) * self.scale

    recipe = replace(MLP, name="scaled", build=lambda width: Scaled(), origin=None)
    with Engine(split(recipe, "fsdp"), TRAIN) as engine:
        with pytest.raises(ValueError, match="scalar"):
            engine.train(start_of(engine, recipe), make_shards(MLP), list(range(5)))
        assert engine._backend.worker_pids == ()
    shards = make_shards(MLP)
    expected = run(recipe, TRAIN, "inline", shards)
    assert_same(run(split(recipe, "ddp"), TRAIN, "auto", shards), expected)


@pytest.mark.parametrize(
    ("mode", "changes", "field"),
    [
        ("ddp", {"backend": "ray"}, r"training\.backend = 'ray'"),
        ("ddp", {"privacy": PrivacySettings(1.0, 1.0, 1e-5)}, r"privacy\.mode = 'local'"),
        ("fsdp", {"optimizer": "muon"}, r"training\.optimizer = 'muon'"),
        ("fsdp", {"slim_widths": (0.25,)}, r"training\.slim = True"),
        ("ddp", {"tier": "traced"}, r"tier = 'traced'"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(mode, changes, field, monkeypatch):
    monkeypatch.setattr("kumiai.adapters.compute.execution.engine.check_ray", lambda address: None)
    own = {k: v for k, v in changes.items() if k in ("optimizer", "slim_widths")}
    rest = {k: v for k, v in changes.items() if k not in own}
    with pytest.raises(InputError, match=field + f'.*chose parallel = "{mode}"'):
        Engine(split(MLP, mode), TrainSettings(**own), **rest)


def test_gpus_are_taken_one_a_process_or_not_at_all(monkeypatch):
    two, flop = Parallel("ddp", 2), 10**12
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert pick_device_type(two, None, flop) == "cpu"
    with pytest.raises(InputError, match=r"KUMIAI_DEVICE = 'cuda': .*this machine has 1"):
        pick_device_type(two, torch.device("cuda"), flop)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert pick_device_type(two, None, flop) == "cuda"
    assert pick_device_type(two, None, 10**6) == "cpu"  # too little to do
    assert pick_device_type(two, torch.device("cpu"), flop) == "cpu"
    assert pick_device_type(two, torch.device("cuda"), 10**6) == "cuda"
    with pytest.raises(InputError, match="a GPU each: write cuda"):
        pick_device_type(two, torch.device("cuda:1"), flop)
    with Engine(split(MLP, "ddp"), TRAIN, "process", device="cuda") as engine:
        assert engine._wanted == torch.device("cuda")  # the backend's workers are not asked


def test_without_a_loopback_interface_nothing_is_opened(monkeypatch):
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "eth0"), (2, "lowpan0")])
    with pytest.raises(InputError, match="loopback"):
        parallel_rank.find_loopback()
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "eth0"), (2, "lo0")])
    assert parallel_rank.find_loopback() == "lo0"
