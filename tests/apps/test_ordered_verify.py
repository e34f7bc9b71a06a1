"""What a committee decided is checked from the run's folder alone; evidence from its file alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.apps.tiny import play, shrink

from kumiai.apps.rundir import RunDir
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView
from kumiai.base import canonical

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> tuple[Path, RunView]:
    folder = tmp_path_factory.mktemp("byzantine") / "run"
    return folder, play(shrink("byzantine", 2), folder)


@pytest.fixture
def copied(played, tmp_path) -> Path:
    shutil.copytree(played[0], tmp_path / "run")
    return tmp_path / "run"


def test_a_run_with_a_traitor_verifies_and_its_evidence_by_itself(played):
    folder, view = played
    report = verify_path(folder)
    assert report.is_ok, report.findings
    counts = {name: count for name, count, _ in report.checks}
    assert counts["order"] > 10
    (file,) = RunDir(folder).evidence.iterdir()
    judged = verify_path(file)
    assert judged.is_ok
    (traitor,) = [m for m in view.members if m.behaviour == "equivocator"]
    assert traitor.pubkey[:12] in judged.findings[0].what
    reasons = {r.reason_code for r in view.receipts if r.member == traitor.name and not r.round}
    assert reasons == {"final-proven"}
    assert traitor.reward == 0


def test_evidence_that_was_changed_proves_nothing(copied):
    (file,) = RunDir(copied).evidence.iterdir()
    document = canonical.decode(file.read_bytes(), 10**6)
    document["second"] = document["first"]
    file.write_bytes(canonical.encode(document))
    report = verify_path(file)
    assert not report.is_ok
    assert "do not contradict" in report.findings[0].what


def cut_last(lines: list[bytes]) -> list[bytes]:
    return lines[: len(lines) // 2]


def leave_out(lines: list[bytes]) -> list[bytes]:
    return lines[:5] + lines[6:]


def forge(lines: list[bytes]) -> list[bytes]:
    """Another quorum's signatures under the fifth batch."""
    decided, batch, proof = canonical.decode(lines[4].strip(), 10**7)
    proof[3] = canonical.decode(lines[5].strip(), 10**7)[2][3]
    return [*lines[:4], canonical.encode([decided, batch, proof]) + b"\n", *lines[5:]]


def move_time(lines: list[bytes]) -> list[bytes]:
    """One millisecond later, and nobody signed that."""
    decided, batch, proof = canonical.decode(lines[4].strip(), 10**7)
    batch[0] += 1
    return [*lines[:4], canonical.encode([decided, batch, proof]) + b"\n", *lines[5:]]


def spoil(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"{}\n", *lines[5:]]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (cut_last, "no batch has the log's record"),
        (leave_out, "does not follow"),
        (forge, "no quorum of the committee signed it"),
        (move_time, "its batch is not the one that was decided"),
        (spoil, "order.log, line 5"),
        (None, "missing"),
    ],
)
def test_an_order_that_was_changed_is_found(
    copied: Path, change: Callable[[list[bytes]], list[bytes]] | None, what: str
):
    path = RunDir(copied).order
    if change is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    report = verify_path(copied)
    found = [f for f in report.findings if "order" in f.where and "seal" not in f.where]
    assert any(what in f.what for f in found), report.findings
    assert {name: ok for name, _, ok in report.checks}["order"] is False
