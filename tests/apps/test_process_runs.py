"""Whole runs whose order is validator processes, in real time; and what such runs refuse."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from tests.apps.tiny import shrink, write_task

from kumiai.apps import wiring
from kumiai.apps.population import Casting
from kumiai.apps.rundir import RunDir
from kumiai.apps.scenarios import SCENARIOS
from kumiai.apps.verify import verify_path
from kumiai.apps.worlds import TRAIN_MS_LEAST, list_real_time_warnings, suit_processes
from kumiai.base.errors import InputError, RunFailedError

COMMITTEE = {"validation.ordering": "committee"}


def run_processes(folder: Path, progress=lambda event: None, **settings):
    path = write_task(folder)
    overrides = {**COMMITTEE, **settings}
    return wiring.run_task(path, overrides, folder / "run", False, progress, order_processes=True)


def list_validators() -> list[str]:
    return sorted(child.name for child in multiprocessing.active_children())


@pytest.mark.slow
def test_a_run_goes_on_when_its_leader_is_killed_and_verifies(tmp_path):
    """Two epochs; the leader of the first is killed while trainers work on its second round."""
    killed, seen = [], []

    def kill_leader(event) -> None:
        seen.append(list_validators())
        if event.kind == "round" and event.round == 1:
            (leader,) = [c for c in multiprocessing.active_children() if c.name == "validator 0"]
            os.kill(leader.pid, signal.SIGKILL)
            killed.append(leader.pid)

    settings = {
        "training.rounds": "3",
        "validation.epoch_rounds": "2",
        "deadlines.train_ms_min": str(TRAIN_MS_LEAST),
    }
    view = run_processes(tmp_path, kill_leader, **settings)
    assert len(killed) == 1
    assert [f"validator {i}" for i in range(4)] in seen
    assert list_validators() == []
    assert len(view.rounds) == 3
    assert all(0 < row.virtual_ms < 600_000 for row in view.rounds)
    run_dir = RunDir(tmp_path / "run")
    assert run_dir.read_plan()["order_processes"] is True
    assert not run_dir.validators.exists()
    report = verify_path(run_dir.root)
    assert report.is_ok, report.findings
    assert {name: count for name, count, _ in report.checks}["order"] > 10


@pytest.mark.slow
def test_cheats_of_a_scenario_earn_nothing_in_real_time_either(tmp_path):
    """A copier says everything a little later than whom it copies, which nobody blames."""
    scenario = shrink("fast", 2)
    casting = Casting(scenario.name, scenario.people, scenario.victims, scenario.network)
    view = wiring.run_local(
        suit_processes(scenario.make_task(0)),
        casting,
        tmp_path / "run",
        lambda event: None,
        resume=False,
        base_dir=tmp_path,
        order_processes=True,
    )
    earned = {member.name: member.reward for member in view.members}
    assert scenario.victims
    for copier, victim in scenario.victims.items():
        assert earned[copier] == 0
        assert earned[victim] > 0
    assert verify_path(tmp_path / "run").is_ok


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process_and_is_not_taken_up_again(tmp_path):
    def interrupt(event) -> None:
        if event.kind == "round":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_processes(tmp_path, interrupt)
    assert list_validators() == []
    with pytest.raises(InputError, match="its order was made in real time"):
        wiring.run_task(
            tmp_path / "task.toml", COMMITTEE, tmp_path / "run", True, lambda event: None
        )


@pytest.mark.slow
def test_deadlines_shorter_than_the_work_are_named_as_a_cause(tmp_path):
    with pytest.raises(RunFailedError, match=r"\[deadlines\] must be longer than the work takes"):
        run_processes(tmp_path, **{"deadlines.enrol_ms": "1"})
    assert list_validators() == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_demo_has_its_time_for_real_work(name):
    """Its own rounds would teach allowances of a second; a buffer waits as long as it says."""
    task = SCENARIOS[name].make_task(1)
    suited = suit_processes(task)
    assert suited.validation.ordering == "committee"
    terms = suited.deadlines
    if task.training.buffer:
        assert terms == task.deadlines
    else:
        assert TRAIN_MS_LEAST <= terms.train_ms_min <= terms.train_ms_max
    assert list_real_time_warnings(suited) == []


def test_a_task_with_little_time_is_warned_about(tmp_path):
    notes = []
    with pytest.raises(InputError):
        run_processes(
            tmp_path, lambda event: notes.append(event.message), **{"validation.ordering": "single"}
        )
    assert any("deadlines.train_ms_min = 1000: in real time" in note for note in notes)


def test_one_orderer_has_no_processes(tmp_path):
    with pytest.raises(InputError, match=r"validation\.ordering = 'single'.*needs \"committee\""):
        run_processes(tmp_path, **{"validation.ordering": "single"})
    assert not (tmp_path / "run").exists()


def test_a_run_with_processes_is_not_resumed(tmp_path):
    path = write_task(tmp_path)
    with pytest.raises(InputError, match=r"--resume = True: .*start anew"):
        wiring.run_task(
            path, COMMITTEE, tmp_path / "run", True, lambda event: None, order_processes=True
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("scenario", "what"),
    [
        ("byzantine", r"behaviour of .* = 'equivocator': .*choose another scenario"),
        ("crash", r"--scenario = 'crash': its delays and failures exist in simulated time only"),
        ("slow", r"--scenario = 'slow'"),
    ],
)
def test_what_only_a_simulation_plays_is_refused(tmp_path, scenario, what):
    with pytest.raises(InputError, match=what):
        wiring.run_demo(scenario, 1, tmp_path / "run", lambda event: None, order_processes=True)
    assert not (tmp_path / "run").exists()
