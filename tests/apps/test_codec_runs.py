"""Whole runs whose updates travel in few bytes: they end, verify, resume, and cost less."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from tests.apps.test_bad_input import Spoiling
from tests.apps.test_resume import KILLS, WAIT_S, count_records, kill_at, start
from tests.apps.tiny import TASK, write_task

import kumiai
from kumiai.apps import wiring
from kumiai.apps.cli import main
from kumiai.apps.verify import verify_path
from kumiai.apps.view import ProgressEvent, RunView, load_view
from kumiai.base.errors import InputError, RunFailedError
from kumiai.learning.codecs import build_codec, cut, for_round
from kumiai.nodes.driver import Driver
from kumiai.rounds.state import RunPhase

SPARSE = "ef|topk:density=0.05|int2"
CODECS = [SPARSE, "ef|powersgd:rank=1|int8:stochastic=1", "dct:chunk=8|int4", "bf16"]


def run(
    folder: Path, codec: str, rounds: int = 2, extra: Mapping[str, str] = MappingProxyType({})
) -> RunView:
    settings = {"training.codec": codec, "training.rounds": str(rounds), **extra}
    return kumiai.run(write_task(folder), folder / "run", settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    """The same run with updates as they are."""
    return run(tmp_path_factory.mktemp("whole"), "dense-fixed")


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_a_run_with_a_codec_ends_verifies_and_sends_less(
    tmp_path: Path, whole: RunView, codec: str
) -> None:
    found = run(tmp_path, codec)
    assert found.phase == "FINISHED"
    report = verify_path(tmp_path / "run")
    assert report.is_ok, report.findings
    for name in ("trainer-1", "trainer-4"):
        # receipts name the payload's own bytes
        assert 0 < found.member(name).bytes_sent <= 0.6 * whole.member(name).bytes_sent
        assert found.member(name).reward > 0
    assert found.totals["bytes"] < whole.totals["bytes"]
    assert not (tmp_path / "run" / "codec").exists()


def test_the_verifier_reads_the_codec_from_the_log(tmp_path: Path) -> None:
    """A blob of one number more in its payload: the certified model no longer follows."""
    run(tmp_path, "ef|sign", rounds=1)
    (tmp_path / "run" / "seal.json").unlink()
    (tmp_path / "run" / "seal.index").unlink()
    paths = [p for p in (tmp_path / "run" / "blobs").rglob("*") if p.is_file()]
    payload = next(p for p in paths if p.read_bytes()[:3] == b"KUC")
    data = bytearray(payload.read_bytes())
    data[-1] ^= 1
    payload.write_bytes(bytes(data))
    assert not verify_path(tmp_path / "run").is_ok


def make_payload(codec: str, size: int, value: float = 0.25) -> bytes:
    update_P = np.full(size, value, dtype=np.float32)
    built = build_codec(codec)
    return built.encode(update_P, built.init(size), 0)[0]


SIZE = 1210  # of the tiny task's network
SPOILT = {
    "cut": make_payload(SPARSE, SIZE)[:-1],
    "of another network": make_payload(SPARSE, SIZE - 1),
    "of another codec": make_payload("ef|topk:density=0.05|int8", SIZE),
    "whole": make_payload("dense-fixed", SIZE),
    "too great for the fixed point": make_payload(SPARSE, SIZE, 300.0),
    "beyond the cap": b"KUC\x01" + bytes(200_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(SPOILT))
def test_a_malformed_payload_earns_nothing_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    honest = wiring.make_compute

    def spoil(task, casting, population, workload, blobs, *rest):  # type: ignore[no-untyped-def]
        assert workload.engine.layout.size == SIZE
        inner = honest(task, casting, population, workload, blobs, *rest)
        return Spoiling(inner, blobs, population.pubkey("trainer-2"), SPOILT[kind])

    monkeypatch.setattr(wiring, "make_compute", spoil)
    found = run(tmp_path, SPARSE, rounds=1)
    assert found.phase == "FINISHED"
    assert next(r.reason_code for r in found.receipts if r.member == "trainer-2") == "malformed"
    assert "trainer-2" not in found.rounds[0].included
    assert len(found.rounds[0].included) >= 2
    assert verify_path(tmp_path / "run").is_ok


@pytest.mark.slow
def test_fragments_cost_their_share_and_another_rounds_fragment_is_malformed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RunView
) -> None:
    """trainer-2 always sends the first of four fragments: it counts in the first round alone."""
    honest = wiring.make_compute
    cut_codec = cut(build_codec("dense-fixed"), 4)
    update_P = np.full(SIZE, 0.01, dtype=np.float32)
    payload = for_round(cut_codec, 1).encode(update_P, cut_codec.init(SIZE), 0)[0]

    def spoil(task, casting, population, workload, *rest):  # type: ignore[no-untyped-def]
        inner = honest(task, casting, population, workload, *rest)
        return Spoiling(inner, rest[0], population.pubkey("trainer-2"), payload)

    monkeypatch.setattr(wiring, "make_compute", spoil)
    settings = {"training.fragments": "4", "training.rounds": "4"}
    found = kumiai.run(write_task(tmp_path), tmp_path / "run", settings)
    assert found.phase == "FINISHED"
    verdicts = [r.reason_code for r in found.receipts if r.member == "trainer-2" and r.round]
    assert verdicts[0] != "malformed"
    assert verdicts[1] == "malformed"
    assert all("trainer-2" not in number.included for number in found.rounds[1:])
    whole_bytes = 2 * whole.member("trainer-1").bytes_sent  # of four rounds
    assert found.member("trainer-1").bytes_sent < 0.27 * whole_bytes
    report = verify_path(tmp_path / "run")
    assert report.is_ok, report.findings


@pytest.mark.slow
@pytest.mark.parametrize("number", range(max(1, KILLS // 3)))
def test_a_killed_run_goes_on_with_what_its_codecs_remember(tmp_path: Path, number: int) -> None:
    extra = {"training.fragments": str(2 - number % 2)}
    settings = ("--set", f"training.codec={SPARSE}", "--set", "training.rounds=4")
    settings += ("--set", f"training.fragments={2 - number % 2}")
    undisturbed = run(tmp_path / "whole", SPARSE, rounds=4, extra=extra)
    last = count_records(tmp_path / "whole" / "run")
    out, task = tmp_path / "run", tmp_path / "whole" / "task.toml"
    # after the first round is certified: its states must be found again
    middle = range(undisturbed.certificates[0].height + 1, undisturbed.certificates[2].height)
    process = start(task, out, settings=settings)
    assert kill_at(process, out, random.Random(f"codec/{number}").choice(middle))
    assert count_records(out) < last
    assert any((out / "codec").rglob("*"))
    process = start(task, out, "--resume", settings=settings)
    _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, complaints.decode()
    resumed = load_view(out)
    assert [c.hash for c in resumed.certificates] == [c.hash for c in undisturbed.certificates]
    assert [r.hash for r in resumed.receipts] == [r.hash for r in undisturbed.receipts]
    assert verify_path(out).is_ok
    assert not (out / "codec").exists()


def test_a_codec_that_the_network_cannot_have_names_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise ValueError("shapes of 7 numbers, the update has 9")

    monkeypatch.setattr("kumiai.adapters.compute.task_work.build_task_codec", refuse)
    with pytest.raises(InputError, match=r"training\.codec.*shapes of 7 numbers"):
        run(tmp_path, "ef|powersgd")
    assert not (tmp_path / "run").exists()


def test_an_unknown_codec_is_one_line_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, TASK + '\n[governance]\nresponsible = "me"\n')
    words = ["--out", str(tmp_path / "run"), "--quiet", "--set", "training.codec=zip"]
    assert main(["run", str(task), *words]) == 2
    message = capsys.readouterr().err
    assert "training.codec" in message
    assert "use one of ef, dct" in message


def test_a_run_that_is_not_over_keeps_what_its_members_remember(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Driver.run
    monkeypatch.setattr(
        Driver, "run", lambda driver: replace(finish(driver), phase=RunPhase.PAUSED)
    )
    path = write_task(tmp_path)
    settings = {"training.rounds": "1", "training.codec": "ef|int8"}
    notes: list[str] = []

    def listen(event: ProgressEvent) -> None:
        if event.kind == "note":
            notes.append(event.message)

    out = tmp_path / "run"
    with pytest.raises(RunFailedError, match="PAUSED"):
        wiring.run_task(path, settings, out, False, listen)
    assert any((out / "codec").glob("??/*"))  # it may be taken up again
    assert notes == ['governance.responsible = "": nobody is on record as answering for the run']
    monkeypatch.undo()
    wiring.run_task(path, settings, out, True, lambda event: None)
    assert not (out / "codec").exists()
