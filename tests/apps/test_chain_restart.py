"""A node that dies in the middle of a run's settlement and comes back: the run goes on."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import run_anvil
from tests.apps.tiny import write_task

from kumiai.apps import settling, wiring
from kumiai.apps.verify import verify_path
from kumiai.apps.view import ProgressEvent
from kumiai.rounds.state import RunState

pytestmark = pytest.mark.slow


def wait_for_dump(state: Path) -> None:
    """Until the node has just written its whole state: it is not atomic, and would not start."""
    began, deadline = time.time(), time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.05)
        if not state.exists() or not began < state.stat().st_mtime < time.time() - 0.2:
            continue
        with suppress(ValueError):
            json.loads(state.read_bytes())
            return
    raise AssertionError("the node never wrote its state")


@pytest.mark.parametrize("moment", ["in a round", "when all are paid", "when books are read"])
def test_a_node_that_restarts_in_mid_settlement_is_waited_for(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = wiring.read_task(
        write_task(tmp_path), {"settlement.kind": "evm", "training.rounds": "4"}
    )
    state = tmp_path / "state.json"
    options = ("--state", str(state), "--state-interval", "1", "--block-time", "1")
    with run_anvil(*options) as node:
        restarts: list[float] = []

        def restart() -> None:
            # no block after what it writes: one that was settled and is lost is another matter
            node.request("evm_setIntervalMining", 0)
            wait_for_dump(state)
            node.kill()
            restarts.append(time.monotonic())
            time.sleep(1.5)
            node.start()

        worker = threading.Thread(target=restart)

        def start_once() -> None:
            if not worker.ident:
                worker.start()

        def watch(event: ProgressEvent) -> None:
            if moment == "in a round" and event.kind == "round" and event.round == 2:
                start_once()

        def pay_out(run: settling.ChainRun, state: RunState) -> None:
            if moment == "when all are paid":
                start_once()
            paid(run, state)
            if moment == "when books are read":
                start_once()
                while not restarts:  # the questions that follow find nobody
                    time.sleep(0.05)

        paid = settling.ChainRun._pay_out
        monkeypatch.setattr(settling.ChainRun, "_pay_out", pay_out)
        view = wiring.run_local(
            task,
            wiring.cast_locally(task),
            tmp_path / "run",
            watch,
            resume=False,
            base_dir=tmp_path,
            rpc=node.url,
        )
        worker.join()
        assert restarts, "the node was never killed"
        assert view.chain is not None and view.chain.is_even
        assert [row.round for row in view.chain.settlements] == [1, 2, 3, 4, 0]
        report = verify_path(tmp_path / "run", rpc=node.url)
        assert report.is_ok, report.findings
