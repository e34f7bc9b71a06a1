"""Flower apps shared by several processes: the results of one process, whatever becomes of some."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.adapters.flower_apps import ADD_ONE, SERVER, write_app

pytest.importorskip("flwr", reason="needs the extra flower: pip install 'kumiai[flower]'")

from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.flower import frames, running, worker, workers
from kumiai.adapters.flower.calls import Job, Outcome
from kumiai.adapters.flower.exchange import Exchange
from kumiai.adapters.flower.project import read_project
from kumiai.adapters.flower.running import AppRun, run_app
from kumiai.adapters.flower.sharing import answer_alone, answer_shared, one_thread
from kumiai.adapters.flower.workers import Workers, choose_workers
from kumiai.apps.cli import main
from kumiai.base.errors import InputError, RunFailedError

SENDS_ITSELF = """\
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
"""
READY_SECONDS_MAX = 60.0
COUNT = """\
    import os
    count = context.state.get("n", MetricRecord({"n": 0}))["n"] + 1
    context.state["n"] = MetricRecord({"n": count})
    number = message.content["config"]["server-round"]
    noise = np.random.default_rng((partition, number)).normal(size=3).astype(np.float32)
    values = message.content["arrays"].to_numpy_ndarrays()[0] + noise
    metrics = MetricRecord({
        "num-examples": partition + 1, "count": count, "pid": os.getpid(),
        "copies": float(message.content["config"].get("touched", 0)),
    })
    message.content["config"]["touched"] = 1
"""
REPLY = """\
    content = RecordDict({"arrays": ArrayRecord([values]), "metrics": metrics})
    return Message(content=content, reply_to=message)
"""
DIE = """\
    import os, signal
    if os.getpid() != int(os.environ["GRID_PID"]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


class ReadyWorkers(Workers):
    """Workers that are waited for, so that a short run needs them; remembers their processes."""

    opened: list[subprocess.Popen[bytes]]

    def __init__(self, count: int, *rest: Any) -> None:
        super().__init__(count, *rest)
        end = time.monotonic() + READY_SECONDS_MAX
        while len(self.pids) < len(self._workers):
            assert time.monotonic() < end, "workers do not get ready"
            self.collect(0.1)

    def _start(self) -> None:
        super()._start()
        self.opened.append(self._workers[-1].process)


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """All processes that a test started; none may be left at its end."""
    ReadyWorkers.opened = []
    monkeypatch.setattr(running, "Workers", ReadyWorkers)
    monkeypatch.setenv("GRID_PID", str(os.getpid()))
    return ReadyWorkers.opened


def play(folder: Path, processes: int, nodes: int = 7, lines: list[str] | None = None) -> AppRun:
    tell = [].append if lines is None else lines.append
    project = read_project(folder)
    done = run_app(project, nodes, (), lambda exchange: None, workers=processes, tell=tell)
    assert all(process.poll() is not None for process in ReadyWorkers.opened)
    return done


def show(done: AppRun) -> list[tuple[Any, ...]]:
    """What must not depend on the number of processes."""
    return [
        (
            e.round, e.kind, e.asked, e.answered, e.faults, e.sent_bytes, e.received_bytes,
            {name: value for name, value in e.metrics.items() if name != "pid"},
        )
        for e in done.exchanges
    ]  # fmt: skip


def test_any_number_of_processes_ends_at_the_same_weights_and_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: list[subprocess.Popen[bytes]]
) -> None:
    failing = '    if partition == 2 and number == 2:\n        raise KeyError("no such column")\n'
    # FedAvg asks the nodes in an order that it draws, and adds in the order of replies
    seeded = "    import random; random.seed(5)\n    result ="
    server = SERVER.replace("num_rounds=rounds", "num_rounds=4").replace("    result =", seeded)
    folder = write_app(tmp_path, COUNT + failing + REPLY, server=server)
    found = []
    for processes in (1, 2, 3):
        done = play(folder, processes)
        shared = [e.metrics["pid"] != os.getpid() for e in done.exchanges]
        assert shared == [processes > 1] * 4  # others took part in every round
        assert [e.answered for e in done.exchanges] == [7, 6, 7, 7]
        assert "KeyError: 'no such column' (tiny_app/client_app.py" in done.faults[0].line
        found.append((show(done), capsys.readouterr().out))
    assert found[0] == found[1] == found[2]
    assert found[0][0][3][-1]["count"] == pytest.approx(4 - 3 / 28)  # node 2 has counted once less
    assert all(e[-1]["copies"] == 0 for e in found[0][0])  # each message is its own copy
    assert len(opened) == 1 + 2


def test_a_worker_that_dies_is_an_error_reply_and_the_run_goes_on(
    tmp_path: Path, opened: list[subprocess.Popen[bytes]]
) -> None:
    done = play(write_app(tmp_path, DIE + ADD_ONE), 3)
    first = done.exchanges[0]
    assert first.answered + len(first.faults) == first.asked == 7
    assert len(first.faults) == 2
    pids = {process.pid for process in opened[:2]}
    assert {int(fault.line.split()[3]) for fault in first.faults} == pids
    assert all(
        "died while it handled this (signal 9)" in fault.line and fault.node_id > 1
        for fault in first.faults
    )
    assert 2 < len(opened) <= 2 + workers.REPLACED_MAX  # replaced, but not for ever


def test_what_waited_behind_a_death_is_done_by_another(tmp_path: Path) -> None:
    is_second = DIE.replace(
        "    if os", "    if message.content['config']['server-round'] == 2 and os"
    )
    done = play(write_app(tmp_path, is_second + ADD_ONE), 2, nodes=9)
    assert [e.answered for e in done.exchanges] == [9, 8]  # in round 2, one more was in line


def test_an_app_that_no_worker_can_load_runs_in_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_app(tmp_path)
    with (folder / "tiny_app" / "client_app.py").open("a", encoding="utf-8") as file:
        file.write('import os\nif os.getpid() != int(os.environ["GRID_PID"]):\n')
        file.write('    raise ImportError("one process only")\n')
    lines: list[str] = []
    done = play(folder, 3, 4, lines)
    assert [e.answered for e in done.exchanges] == [4, 4]
    assert len(lines) == 1 and "one process only" in lines[0]
    for lang, words in (("en", "no workers, all nodes"), ("ja", "ワーカーを使えない")):
        options = ["--supernodes", "4", "--workers", "2", "--lang", lang]
        assert main(["flower", "run", str(folder), *options]) == 0
        assert words in capsys.readouterr().out


def test_a_worker_that_ends_while_it_loads_is_told(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    with (folder / "tiny_app" / "client_app.py").open("a", encoding="utf-8") as file:
        file.write('import os\nif os.getpid() != int(os.environ["GRID_PID"]):\n    os._exit(9)\n')
    lines: list[str] = []
    assert [e.answered for e in play(folder, 2, 4, lines).exchanges] == [4, 4]
    assert lines == ["a worker ended while it loaded the app, exit code 9"]


def test_no_worker_outlives_a_run_that_fails(
    tmp_path: Path, opened: list[subprocess.Popen[bytes]]
) -> None:
    folder = write_app(tmp_path / "a", server=SERVER + '    raise RuntimeError("disk full")\n')
    with pytest.raises(RunFailedError, match="disk full"):
        play(folder, 2)

    def interrupt(exchange: Exchange) -> None:
        raise KeyboardInterrupt

    slow = write_app(tmp_path / "b", "    import time; time.sleep(0.2)\n" + ADD_ONE)
    with pytest.raises(KeyboardInterrupt):
        run_app(read_project(slow), 6, (), interrupt, workers=2)
    assert len(opened) == 2 and all(process.poll() is not None for process in opened)


@pytest.fixture
def _can_be_interrupted() -> Iterator[None]:
    """A job that a shell runs in the background ignores interrupts, and hands that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_can_be_interrupted")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_process_that_started_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    body = (
        "    import os, pathlib, time\n"
        "    pathlib.Path(os.environ['PIDS'], str(os.getpid())).touch()\n"
        "    is_worker = pathlib.Path(os.environ['PIDS'], str(os.getppid())).exists()\n"
        "    time.sleep(30.0 if is_worker else 0.5)\n" + ADD_ONE
    )
    server = SERVER.replace("num_rounds=rounds", "num_rounds=100")
    folder = write_app(tmp_path / "app", body, server=server)
    pids = tmp_path / "pids"
    pids.mkdir()
    command = [sys.executable, "-m", "kumiai", "flower", "run", str(folder), "--workers", "2"]
    source = str(Path(workers.__file__).parents[3])
    environment = os.environ | {"PIDS": str(pids), "PYTHONPATH": source}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as run:
        wait_until(lambda: len(list(pids.iterdir())) == 2)
        (child,) = {int(path.name) for path in pids.iterdir()} - {run.pid}
        run.send_signal(how)
        run.wait(READY_SECONDS_MAX)
    wait_until(lambda: not is_alive(child))


def wait_until(is_so: Any, seconds: float = READY_SECONDS_MAX) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended, but whoever inherited it has not asked yet


def test_messages_to_one_node_keep_their_order_and_prints_are_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = (
        SENDS_ITSELF
        + """\
    nodes = list(grid.get_node_ids())[:2]
    asked = [
        Message(RecordDict({"config": ConfigRecord({"place": place})}), node, "train")
        for place in range(5) for node in nodes
    ]
    replies = grid.send_and_receive(asked)
    print("asked", [m.metadata.dst_node_id for m in asked])
    print("order", [m.metadata.src_node_id for m in replies])
    print("seen", [m.content["m"]["seen"] for m in replies])
    print("none", len(list(grid.send_and_receive(asked, timeout=-1.0))))
    some = list(grid.send_and_receive(asked, timeout=0.25))
    print("some", 0 < len(some) < 10, [m.metadata.src_node_id for m in some] == [
        m.metadata.dst_node_id for m in asked[:len(some)]])
"""
    )
    body = """\
    import os, time
    time.sleep(0.05)
    before = context.state.get("s", MetricRecord({"places": [0]}))["places"]
    place = message.content["config"]["place"]
    if os.getpid() != int(os.environ["GRID_PID"]):
        print("printed in a worker")
    context.state["s"] = MetricRecord({"places": [*before, place]})
    seen = MetricRecord({"seen": [*before, place]})
    return Message(content=RecordDict({"m": seen}), reply_to=message)
"""
    play(write_app(tmp_path, body, server=server), 2, 2)
    out = capsys.readouterr().out
    assert "order [2, 3, 2, 3, 2, 3, 2, 3, 2, 3]" in out and "asked [2, 3, 2, 3" in out
    seen = [[0, *range(place + 1)] for place in range(5) for _ in range(2)]
    assert f"seen {seen}" in out
    assert "none 0" in out and "some True True" in out
    assert "printed in a worker" in out


def test_a_content_that_changes_between_exchanges_arrives_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = (
        SENDS_ITSELF
        + """\
    content = RecordDict({"config": ConfigRecord()})
    for number in range(3):
        content["config"]["n"] = number
        asked = [Message(content, node, "train") for node in grid.get_node_ids()]
        print("seen", [m.content["m"]["n"] for m in grid.send_and_receive(asked)])
"""
    )
    body = """\
    number = message.content["config"]["n"]
    return Message(content=RecordDict({"m": MetricRecord({"n": number})}), reply_to=message)
"""
    play(write_app(tmp_path, body, server=server), 3, 4)
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if "seen" in line] == [
        f"seen {[number] * 4}" for number in range(3)
    ]


def test_torch_has_one_thread_while_messages_are_shared() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: set(range(40)), raising=False)
    assert choose_workers(None, 100) == workers.WORKERS_DEFAULT_MAX
    assert choose_workers(None, 3) == choose_workers(8, 3) == 3
    assert choose_workers(1, 3) == 1
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: {0})
    assert choose_workers(None, 100) == 1 and choose_workers(2, 100) == 2
    for wrong in (0, -1, workers.WORKERS_MAX + 1):
        with pytest.raises(InputError, match="--workers"):
            choose_workers(wrong, 10)


def test_frames_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = Pipe()
    frames.send_frames(here, {"a": 1}, b"xy", b"")
    assert frames.receive_frames(there) == ({"a": 1}, [b"xy", b""])
    monkeypatch.setattr(frames, "PART_BYTES_MAX", 1)
    with pytest.raises(ValueError, match="bytes"):
        frames.send_frames(here, {}, b"xy")
    here.send_bytes(b'{"parts": [2]}')
    with pytest.raises(OSError, match="parts"):
        frames.receive_frames(there)


class DumbWorkers:
    """Answers at any time, in any order among workers; some die, as `fates` says."""

    def __init__(self, fates: Sequence[int]) -> None:
        self._fates = deque(fates)
        self._lines: list[deque[Job]] = [deque(), deque()]
        self._returned: list[Job] = []

    def _draw(self) -> int:
        self._fates.rotate(-1)
        return self._fates[-1]

    @property
    def is_busy(self) -> bool:
        return any(self._lines)

    def serves(self, node_id: int) -> bool:
        return any(job.node_id == node_id for line in self._lines for job in line)

    def hand_out(self, job: Job, left: int) -> bool:
        line = self._lines[self._draw() % 2]
        if self._draw() % 3 == 0 or len(line) >= 2:
            return False
        line.append(job)
        return True

    def take_returned(self) -> list[Job]:
        returned, self._returned = self._returned, []
        return returned

    def collect(self, timeout: float | None) -> list[tuple[Job, Outcome]]:
        assert timeout == 0 or self.is_busy, "waits for nothing"
        found = []
        for line in self._lines:
            fate = self._draw()
            if line and (timeout is None or fate % 2):
                found.append((line.popleft(), Outcome(None, "done")))
                if fate % 5 == 0:  # died after it: the next was not begun
                    self._returned += line
                    line.clear()
        return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 5), max_size=20),
    st.lists(st.integers(0, 30), min_size=3, max_size=30),
    st.integers(0, 25),
)
def test_shared_messages_come_back_once_each_and_in_order(
    targets: list[int], fates: list[int], open_for: int
) -> None:
    jobs = [
        Job(str(place), SimpleNamespace(metadata=SimpleNamespace(dst_node_id=target),  # type: ignore[arg-type]
            has_content=lambda: True), SimpleNamespace(state=None))  # type: ignore[arg-type]
        for place, target in enumerate(targets)
    ]  # fmt: skip
    asked: list[str] = []

    def here(job: Job) -> Outcome:
        asked.append(job.identity)
        return Outcome(None, "done")

    twin = list(answer_alone(jobs, here, lambda: True))
    asked.clear()
    shared = list(answer_shared(jobs, here, lambda: True, DumbWorkers(fates)))  # type: ignore[arg-type]
    assert shared == twin and len(set(asked)) == len(asked)
    chances = iter([True] * open_for)
    cut = list(
        answer_shared(jobs, here, lambda: next(chances, False), DumbWorkers(fates))  # type: ignore[arg-type]
    )
    assert cut == twin[: len(cut)] and len(cut) <= open_for


def test_what_an_app_prints_is_bounded() -> None:
    assert worker.PRINTED_CHARS_MAX * 6 < frames.HEAD_BYTES_MAX  # JSON writes "\\u0000" at worst
