"""The library as a notebook uses it: `kumiai.run`, plain objects, `kumiai.load`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.compute.execution import engine
from kumiai.adapters.compute.execution.shards import JoinedShards, Shard, join_shards
from kumiai.apps.view import RunView
from kumiai.base.errors import InputError, StoreError


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunView, Path]:
    folder = tmp_path_factory.mktemp("api")
    return kumiai.run(str(write_task(folder)), out=folder / "run"), folder / "run"


def test_run_returns_members_receipts_and_rounds(finished: tuple[RunView, Path]) -> None:
    run, _ = finished
    assert run.phase == "FINISHED"
    assert {m.role for m in run.members} == {"trainer", "validator", "canary", "customer"}
    assert [r.round for r in run.rounds] == [1, 2]
    assert run.receipts
    assert all(receipt.reason for receipt in run.receipts)


def test_history_is_the_rounds(finished: tuple[RunView, Path]) -> None:
    run, _ = finished
    assert run.history == run.rounds
    assert run.history[-1].accuracy_ppm > 0


def test_rewards_of_the_members_and_the_refund_are_the_budget(
    finished: tuple[RunView, Path],
) -> None:
    run, _ = finished
    assert sum(m.reward for m in run.members) + run.totals["refunded"] == run.totals["funded"]


@pytest.mark.parametrize("name", ["members", "rounds", "flows", "certificates", "receipts"])
def test_records_are_rows_for_a_data_frame(finished: tuple[RunView, Path], name: str) -> None:
    run, _ = finished
    rows = run.records(name)
    assert len(rows) == len(getattr(run, name)) > 0
    assert all(row.keys() == rows[0].keys() for row in rows)
    json.dumps(rows)


def test_unknown_records_are_refused(finished: tuple[RunView, Path]) -> None:
    with pytest.raises(ValueError, match="no records named 'secrets'"):
        finished[0].records("secrets")


def test_load_gives_the_same_run_again(finished: tuple[RunView, Path]) -> None:
    run, out = finished
    assert kumiai.load(out) == run
    assert kumiai.load(str(out)).history == run.history


def test_load_of_anything_else_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not the folder of a finished run"):
        kumiai.load(tmp_path)


def test_a_folder_is_never_used_twice(finished: tuple[RunView, Path]) -> None:
    _, out = finished
    with pytest.raises(InputError, match="holds a run already"):
        kumiai.run(str(out.parent / "task.toml"), out=out)


def test_resuming_a_finished_run_gives_the_same_run(finished: tuple[RunView, Path]) -> None:
    run, out = finished
    again = kumiai.run(str(out.parent / "task.toml"), out=out, resume=True)
    assert again.certificates == run.certificates
    assert again.receipts == run.receipts
    assert again.flows == run.flows
    assert [m.reward for m in again.members] == [m.reward for m in run.members]


def test_progress_hears_every_round(tmp_path: Path) -> None:
    heard: list[str] = []
    task = write_task(tmp_path)
    kumiai.run(
        task, tmp_path / "r", {"training.rounds": "1"}, progress=lambda e: heard.append(e.kind)
    )
    assert heard.count("round") >= 1
    assert heard[-1] == "done"


def test_the_samples_of_a_run_are_laid_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is ready first: worker processes would be forked anew for every other order."""
    joined = []

    def join(shards: Sequence[Shard], **options: bool) -> JoinedShards:
        joined.append(len(shards))
        return join_shards(shards, **options)

    monkeypatch.setattr(engine, "join_shards", join)
    run = kumiai.run(write_task(tmp_path), tmp_path / "run", {"training.rounds": 4})
    assert len(run.certificates) == 5
    assert joined == [4]
