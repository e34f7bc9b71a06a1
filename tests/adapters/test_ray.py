"""Ray as a back end: the same bytes, what travels, who may listen, and workers that die.

The common test of all back ends is test_execution.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.adapters.recipes.deadly import DEADLY
from tests.conftest import is_of_ray, list_descendants

import kumiai
from kumiai.adapters.compute.execution import ray_cluster as room
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.execution.lowering import has_compiler
from kumiai.adapters.compute.execution.process import WorkerError
from kumiai.adapters.compute.execution.ray_backend import DEATHS_MAX
from kumiai.adapters.compute.execution.ray_worker import (
    RayWorker,
    WorkOrder,
    describe_traits,
    pack,
    pack_shards,
    unpack,
    unpack_shards,
)
from kumiai.adapters.compute.execution.shards import join_shards
from kumiai.adapters.data.user_file import load_user_recipe
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings, build_local_work
from kumiai.learning.layout import flatten
from kumiai.learning.recipe import build_recipe, build_seeded, wrap_recipe

RECIPES = Path(__file__).parent / "recipes"
WIDTHS = [250000, 1000000]
TRAIN = TrainSettings(batch_size=8, momentum=0.9, local_epochs=2, slim_widths=(0.25,))
COUNTS = (20, 9, 1, 16, 20, 7, 33, 12)


def load(name, widths=WIDTHS):
    return load_user_recipe(f"{name}.py:build", {}, widths, RECIPES)


def make_shards(shape=(10,), counts=COUNTS):
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(n, *shape, generator=generator), torch.randint(4, (n,), generator=generator))
        for n in counts
    ]


def start_of(engine, recipe):
    return flatten(engine.layout, build_seeded(recipe, 1.0, seed=3).state_dict()).detach()


def train(recipe, backend, shards, settings=TRAIN, tier="eager", rounds=1, **options):
    """Train rounds of which each starts from the mean of the last."""
    with Engine(recipe, settings, backend, tier=tier, worker_count=2, **options) as engine:
        global_P, results = start_of(engine, recipe), []
        for turn in range(rounds):
            seeds = range(turn, turn + len(shards))
            results.append(engine.train(global_P, shards, seeds))
            global_P = global_P + results[-1].updates_NP.mean(dim=0)
        assert (engine.choice.backend, engine.choice.tier) == (backend, tier)
    return results


def assert_equal(results, expected):
    for one, other in zip(results, expected, strict=True):
        assert torch.equal(one.updates_NP, other.updates_NP)
        assert torch.equal(one.losses_N, other.losses_N)


@pytest.fixture
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra `ray`")
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("ray_cluster", "_one_thread")
class TestWithRay:
    @pytest.mark.parametrize("name", ["mlp", "conv", "weighted"])
    def test_the_bytes_of_the_other_back_ends(self, name):
        shards = make_shards((1, 6, 6) if name == "conv" else (10,))
        expected = train(load(name), "inline", shards, rounds=3)
        assert_equal(train(load(name), "ray", shards, rounds=3), expected)
        assert_equal(train(load(name), "process", shards, rounds=3), expected)

    def test_a_built_in_recipe_is_made_again_by_its_name(self):
        recipe = build_recipe("transformer", {"layers": 1}, [1_000_000], (8,), 12)
        generator = torch.Generator().manual_seed(1)
        shards = [
            tuple(torch.randint(12, (n, 8), generator=generator) for _ in range(2)) for n in (5, 3)
        ]
        settings = TrainSettings(batch_size=4)
        expected = train(recipe, "inline", shards, settings)
        assert_equal(train(recipe, "ray", shards, settings), expected)

    @pytest.mark.slow
    def test_a_compiled_step_gives_the_bytes_of_the_process_back_end(self, tmp_path):
        if not has_compiler():
            pytest.skip("no C++ compiler")
        shards, settings = make_shards(counts=(16, 8, 16)), TrainSettings(batch_size=8)
        options = {"settings": settings, "tier": "compiled", "cache_dir": tmp_path}
        expected = train(load("mlp"), "process", shards, **options)
        assert_equal(train(load("mlp"), "ray", shards, **options), expected)
        assert len(list(tmp_path.glob("*.artefact"))) == 1

    def test_samples_travel_once_and_the_model_once_a_round(self, monkeypatch, ray_cluster):
        puts = []
        put = ray_cluster.ray.put
        monkeypatch.setattr(ray_cluster.ray, "put", lambda x: (puts.append(x), put(x))[1])
        train(load("mlp"), "ray", make_shards(), rounds=4)
        assert [type(x).__name__ for x in puts] == ["PackedShards", *["ndarray"] * 4]

    def test_engines_share_the_workers_and_leave_them_clean(self, ray_cluster):
        before = ray_cluster.worker_pids
        train(load("mlp"), "ray", make_shards())
        assert ray_cluster.worker_pids == before
        assert ray_cluster.leases == 1
        assert all(worker.opened == set() for worker in ray_cluster._workers)

    def test_a_worker_killed_in_mid_round_costs_nothing_but_time(self, ray_cluster):
        """One is killed, then all that are left: their members are trained by others."""
        shards = make_shards(counts=(400,) * 6)
        settings = TrainSettings(batch_size=1, local_epochs=3)
        expected = train(load("mlp"), "inline", shards, settings)
        for count in (1, 2):
            before = set(ray_cluster.worker_pids)
            victims = list(ray_cluster.worker_pids)[:count]
            timer = threading.Timer(0.4, lambda v=victims: [os.kill(p, signal.SIGKILL) for p in v])
            timer.start()
            start = time.monotonic()
            results = train(load("mlp"), "ray", shards, settings)
            assert time.monotonic() - start > 0.4, "the round was over before anybody was killed"
            assert_equal(results, expected)
            assert set(victims).isdisjoint(ray_cluster.worker_pids)
            assert set(ray_cluster.worker_pids) != before

    def test_work_that_kills_every_worker_is_given_up_and_can_be_taken_up_again(self):
        recipe, settings = load("deadly", [1_000_000]), TrainSettings(batch_size=8, shuffle=False)
        shards = make_shards(counts=(60, 60, 60))
        expected = train(recipe, "inline", shards, settings)
        deadly = [(x.clone(), y) for x, y in shards]
        deadly[1][0][50] = DEADLY  # beyond what the probe looks at
        with Engine(recipe, settings, "ray", tier="eager", worker_count=2) as engine:
            start = start_of(engine, recipe)
            message = rf"{DEATHS_MAX + 1} Ray workers died.*members .*1.*--resume"
            with pytest.raises(WorkerError, match=message) as caught:
                engine.train(start, deadly, range(3))
            assert caught.value.exit_code == 4
            assert_equal([engine.train(start, shards, range(3))], expected)

    def test_only_this_machine_can_reach_our_own_ray(self):
        listening = list_listening([os.getpid(), *list_descendants(os.getpid())])
        assert len(listening) >= 4  # head, node, and each worker
        loopback = ("0100007F", "0000000000000000FFFF00000100007F", "0" * 24 + "01000000")
        assert {address for _, address in listening} <= set(loopback)

    def test_nobody_without_the_token_can_send_work(self, ray_cluster):
        address = ray_cluster.ray.get_runtime_context().gcs_address
        code = f"import ray; ray.init('{address}', log_to_driver=False); print('JOINED')"
        done = run_python(code, **{**ray_settings(), "RAY_AUTH_TOKEN": "0" * 64})
        assert "JOINED" not in done.stdout
        assert "token" in done.stderr

    def test_a_cluster_that_is_there_is_joined_and_left_running(self, ray_cluster):
        """Another program trains on this Ray by its address; the same bytes, and Ray goes on."""
        for worker in list(ray_cluster._workers):
            ray_cluster.drop(worker)  # it has two cores only
        address = ray_cluster.ray.get_runtime_context().gcs_address
        code = (
            "import torch; from tests.adapters import test_ray as t; torch.set_num_threads(1)\n"
            f"r = t.train(t.load('mlp'), 'ray', t.make_shards(), ray_address='{address}')\n"
            "print('BYTES', t.sha256_hex(r[0].updates_NP.numpy().tobytes()))"
        )
        done = run_python(code, **ray_settings())
        expected = train(load("mlp"), "inline", make_shards())[0].updates_NP.numpy().tobytes()
        assert f"BYTES {sha256_hex(expected)}" in done.stdout, done.stderr[-2000:]
        assert len(ray_cluster.get_workers(2)) >= 1
        assert_equal(
            train(load("mlp"), "ray", make_shards()), train(load("mlp"), "inline", make_shards())
        )

    def test_one_process_has_one_connection(self):
        with pytest.raises(ValueError, match="one process has one connection"):
            train(load("mlp"), "ray", make_shards(), ray_address="10.0.0.1:6379")

    def test_a_file_that_was_changed_is_refused(self, tmp_path):
        file = tmp_path / "net.py"
        file.write_text((RECIPES / "mlp.py").read_text())
        recipe = load_user_recipe("net.py:build", {}, WIDTHS, tmp_path)
        file.write_text(file.read_text().replace("nn.ReLU", "nn.Tanh"))
        with pytest.raises(InputError, match=r"net.py is not the file that the run was started"):
            train(recipe, "ray", make_shards())
        file.unlink()
        with pytest.raises(InputError, match=r"a Ray worker finds no file .*net.py"):
            train(recipe, "ray", make_shards())


def sha256_hex(data: bytes) -> str:
    from kumiai.base.canonical import sha256_hex

    return sha256_hex(data)


def ray_settings() -> dict[str, str]:
    """The environment in which another program finds our own Ray, if we tell it the token."""
    return {**room.OWN_SETTINGS, "RAY_AUTH_TOKEN": room.TOKEN}


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(Path(kumiai.__file__).parents[1]), str(root)])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def list_listening(pids: list[int]) -> list[tuple[int, str]]:
    """Return (process, address in /proc's notation) of each TCP socket that they listen on."""
    owners = {}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                owners[target[8:-1]] = pid
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in owners:
                found.append((owners[words[9]], words[1].partition(":")[0]))
    return found


# ------------------------------------------------------------------ what needs no Ray


def test_tensors_survive_as_bytes():
    image = torch.randn(3, 2, 5, 5)
    for tensor in (
        image,
        torch.arange(6).view(2, 3),
        torch.ones(4, dtype=torch.bool),
        torch.randn(2, 3).to(torch.bfloat16),
    ):
        again = unpack(pack(tensor))
        assert again.dtype == tensor.dtype and torch.equal(again, tensor)
    joined = join_shards([(image, torch.arange(3))], is_channels_last=True)
    again = unpack_shards(pack_shards(joined))
    assert again.inputs.stride() == joined.inputs.stride() != image.stride()
    assert torch.equal(again.inputs, image) and again.counts == (3,)


@pytest.mark.parametrize("trait", ["kumiai's code", "PyTorch's version", "the network's layout"])
def test_a_worker_that_would_compute_something_else_refuses(trait):
    recipe = load("mlp")
    work = build_local_work(recipe, TRAIN)
    traits = {**describe_traits(work), trait: "another"}
    order = WorkOrder(recipe.origin, TRAIN, "eager", None, traits)
    worker = RayWorker()
    start = flatten(work.layout, build_seeded(recipe, 1.0, seed=3).state_dict()).detach().numpy()
    worker.open("run", order, pack_shards(join_shards(make_shards())), start)
    answer = worker.train("run", start, [0], [1])
    assert answer.kind == "refused"
    assert (
        f"{trait} is {describe_traits(work)[trait]} on a Ray worker and another" in answer.message
    )


def test_a_run_that_could_not_be_opened_is_refused_with_where_to_look():
    start = flatten(
        build_local_work(load("mlp"), TRAIN).layout,
        build_seeded(load("mlp"), 1.0, seed=3).state_dict(),
    )
    answer = RayWorker().train("run", start.detach().numpy(), [0], [1])
    assert answer.kind == "refused"
    assert "could not open the run" in answer.message


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"training.backend = 'ray': .*pip install 'kumiai\[ray\]'"
    ):
        Engine(load("mlp"), TRAIN, "ray")


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "here"])
def test_an_address_of_no_use_is_an_error_with_the_fix(monkeypatch, address):
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(InputError, match=r"KUMIAI_RAY_ADDRESS.*host:port"):
        Engine(load("mlp"), TRAIN, "ray", ray_address=address)


def test_a_function_of_this_process_alone_cannot_reach_a_worker(monkeypatch):
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: name)
    recipe = wrap_recipe("local", lambda width: load("mlp").build(width), WIDTHS)
    with pytest.raises(InputError, match="'local' is a function of this process alone"):
        train(recipe, "ray", make_shards())


def test_a_ray_that_was_there_before_is_used_and_not_shut_down():
    def refuse():
        raise AssertionError("not ours")

    there = SimpleNamespace(
        is_initialized=lambda: True, remote=lambda **_: lambda cls: cls, shutdown=refuse
    )
    cluster = room.RayCluster(there, room.RayOptions())
    cluster.close()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "127.0.0.1:port"])
def test_where_no_ray_is_the_error_comes_at_once(address):
    there = SimpleNamespace(is_initialized=lambda: False)
    with pytest.raises(InputError, match=r"KUMIAI_RAY_ADDRESS = .*no Ray cluster can be joined"):
        room.RayCluster(there, room.RayOptions(address))


def test_a_ray_imported_under_other_settings_is_not_started(monkeypatch):
    monkeypatch.setattr(room.process, "has_own_settings", False)
    with pytest.raises(InputError, match=r"imported Ray before.*ray.init\(\)"):
        room.start_own(SimpleNamespace(), room.RayOptions(), {})


def test_is_of_ray_knows_the_living_from_the_dead():
    assert not is_of_ray(2**22 + 1)
