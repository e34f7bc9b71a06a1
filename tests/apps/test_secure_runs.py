"""Secure runs on real data: only sums are seen, they verify, and dropouts cost nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.apps.test_resume import WAIT_S, count_records, kill_at, start
from tests.apps.tiny import TASK, write_task

import kumiai
from kumiai.adapters.sim.world import NetworkModel
from kumiai.adapters.store.log import SqliteLog
from kumiai.apps import wiring
from kumiai.apps.population import Casting, Person
from kumiai.apps.report import render_report
from kumiai.apps.rundir import RunDir
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView, load_view
from kumiai.base.errors import InputError
from kumiai.learning import fixed_point
from kumiai.rounds.kinds import Kind
from kumiai.tasks.document import parse_task
from kumiai.tasks.rules import list_warnings

SECURE = (
    TASK.replace('weighting = "samples"\n', "").replace("trainers = 4", "trainers = 6")
    + 'canaries = 0\n[privacy]\nmode = "secure"\n'
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secure")
    return kumiai.run(write_task(folder, SECURE), folder / "run"), folder / "run"


def play(out: Path, network: NetworkModel, *extra: Person) -> RunView:
    task = parse_task(SECURE)
    people = (*wiring.cast_locally(task).people, *extra)
    casting = Casting("", people, {}, network)
    return wiring.run_local(
        task, casting, out, lambda event: None, resume=False, base_dir=out.parent
    )


def test_a_secure_run_ends_verifies_learns_and_leaves_no_secret(finished):
    view, out = finished
    assert view.phase == "FINISHED"
    report = verify_path(out)
    assert report.is_ok, report.findings
    assert ("aggregate", 2, True) in report.checks
    assert ("scores", 8, True) in report.checks
    assert view.rounds[-1].accuracy_ppm > view.rounds[0].accuracy_ppm
    assert not (out / "noise.key").exists()


def test_members_of_a_group_earn_alike_and_groups_differ(finished):
    _, out = finished
    by_group: dict[str, set[str]] = {}
    for path in sorted((out / "receipts").glob("*.json")):
        receipt = json.loads(path.read_text())["receipt"]
        if receipt["role"] == "trainer" and receipt["round"] == 1:
            assert receipt["reason"] == "group-counted"
            by_group.setdefault(receipt["sentence"], set()).add(receipt["value_ppm"])
    assert len(by_group) == 2
    assert all(len(values) == 1 for values in by_group.values())


def test_no_blob_holds_an_open_update(finished):
    """Of all vectors in the folder only the models are small numbers; updates look random."""
    _, out = finished
    masked = 0
    for path in (p for p in (out / "blobs").rglob("*") if p.is_file()):
        data = path.read_bytes()
        if b'"masked"' in data[:200]:
            size = (len(data) - 8 - int.from_bytes(data[:8], "little")) // 8
            words_P = fixed_point.decode_long_vector("masked", data, size)
            assert abs((words_P < 0).mean() - 0.5) < 0.1
            masked += 1
        assert b'"update"' not in data[:200]
    assert masked == 12


def test_a_flipped_byte_of_a_masked_update_is_found(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished[1], out)
    blob = next(
        p for p in (out / "blobs").rglob("*") if p.is_file() and b'"masked"' in p.read_bytes()[:200]
    )
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(bytes(data))
    report = verify_path(out)
    assert not report.is_ok
    failed = {name for name, _, ok in report.checks if not ok}
    assert {"blobs", "aggregate"} <= failed


def test_a_crashed_member_costs_its_group_nothing_and_the_run_verifies(tmp_path):
    crash = NetworkModel(crashes={"trainer-2": ((1_500, 10**9),)})
    view = play(tmp_path / "run", crash)
    assert view.phase == "FINISHED"
    assert verify_path(tmp_path / "run").is_ok
    receipts = [r for r in view.receipts if r.round == 1 and r.member.startswith("trainer")]
    reasons = {r.member: r.reason_code for r in receipts}
    assert reasons.pop("trainer-2") == "no-reply"
    assert set(reasons.values()) == {"group-counted"}


def test_who_sends_what_is_no_masked_update_breaks_its_group_and_nobody_is_blamed(tmp_path):
    view = play(tmp_path / "run", NetworkModel(), Person("mallory", "trainer", "free-rider"))
    assert view.phase == "FINISHED"
    assert verify_path(tmp_path / "run").is_ok
    broken = [r for r in view.receipts if r.reason_code == "group-malformed"]
    by_round = {n: [r.member for r in broken if r.round == n] for n in (1, 2)}
    assert all("mallory" in names and len(names) in (3, 4) for names in by_round.values())
    assert all(m.verdict != "INVALID" for m in view.members)


def test_the_same_secret_gives_the_same_certificates(tmp_path, monkeypatch):
    monkeypatch.setattr(RunDir, "take_noise_key", lambda self: bytes(range(32)))
    heads = []
    for name in ("one", "two"):
        play(tmp_path / name, NetworkModel())
        with SqliteLog.open_readonly(tmp_path / name / "log.db") as log:
            heads.append([r.head for r in log.read() if r.event.kind == Kind.CERTIFY])
    assert heads[0] == heads[1]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_report_says_what_is_hidden_and_what_is_lost(finished, language):
    html = render_report(finished[0], language)
    assert {"en": "Updates were masked", "ja": "マスクが掛けられました"}[language] in html


@pytest.mark.parametrize(
    ("section", "line", "field"),
    [
        ("training", 'aggregator = "median"', "training.aggregator"),
        ("training", 'weighting = "samples"', "training.weighting"),
        ("training", 'codec = "topk:density=0.1"', "training.codec"),
        ("training", 'algorithm = "scaffold"', "training.algorithm"),
        ("training", "fragments = 2", "training.fragments"),
        ("training", 'flower = "app:client"', "training.flower"),
        ("validation", "canaries = 1", "validation.canaries"),
        ("data", "trainers = 2", "data.trainers"),
        ("privacy", "group_size = 7", "privacy.group_size"),
        ("privacy", "group_size = 2", "privacy.group_size"),
    ],
)
def test_the_door_refuses_what_needs_single_updates(section, line, field):
    name = line.split(" ")[0]
    lines = [each for each in SECURE.splitlines() if not each.startswith(f"{name} =")]
    lines.insert(lines.index(f"[{section}]") + 1, line)
    with pytest.raises(InputError) as caught:
        parse_task("\n".join(lines))
    assert field in str(caught.value)


def test_competing_models_cannot_be_masked():
    with pytest.raises(InputError, match="mode"):
        parse_task('mode = "compete"\n' + SECURE)


def test_what_is_lost_is_said_before_the_run():
    assert any("go unnoticed" in warning for warning in list_warnings(parse_task(SECURE)))
    one = SECURE.replace("trainers = 6", "trainers = 5")
    assert any("one group" in warning for warning in list_warnings(parse_task(one)))


@pytest.mark.slow
def test_a_run_killed_twice_ends_as_one_killed_once(finished, tmp_path):
    """Its secrets are drawn by chance, so the same run is what goes on from the same folder."""
    task, once, twice = write_task(tmp_path, SECURE), tmp_path / "once", tmp_path / "twice"
    last = count_records(finished[1])
    assert kill_at(start(task, twice, settings=()), twice, last // 3)
    shutil.copytree(twice, once)
    before = count_records(once)
    process = start(task, twice, "--resume", settings=())
    assert kill_at(process, twice, max(last * 2 // 3, before + 1))
    for out in (once, twice):
        process = start(task, out, "--resume", settings=())
        _, complaints = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, complaints.decode()
        assert verify_path(out).is_ok
    certificates = [[c.hash for c in load_view(out).certificates] for out in (once, twice)]
    assert certificates[0] == certificates[1]
    assert not (twice / "noise.key").exists()
