"""`kumiai verify`: an honest run passes, and nothing that was changed does."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.apps.tiny import play, shrink, write_task

import kumiai
from kumiai.adapters.store import seal
from kumiai.adapters.store.blobs import SealedBlobs
from kumiai.apps import audit
from kumiai.apps.audit.scores import (
    SAMPLE_ROUNDS_MIN,
    SAMPLE_UPDATES_MAX,
    SCORE_TOLERANCE_PPM,
    choose_rounds,
)
from kumiai.apps.rundir import UNSEALED, RunDir
from kumiai.apps.verify import VerifyReport, verify_path
from kumiai.base import canonical, events
from kumiai.base.errors import InputError, KumiaiError
from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.base.log import GENESIS_HEAD, compute_head
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import RoundState

CHECK_NAMES = ["log", "seal", *audit.CHECKS, "rechecks"]
FLIPS = int(os.environ.get("KUMIAI_FLIPS", "60"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished honest run; tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("verify")
    kumiai.run(write_task(folder), folder / "run", {"training.rounds": "1"})
    return folder / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def unsealed(copy: Path) -> Path:
    """Without its seal: only the meaning of the files can betray a change."""
    (copy / "seal.json").unlink()
    (copy / "seal.index").unlink()
    return copy


def test_an_honest_run_passes_every_check(run: Path) -> None:
    heard: list[str] = []
    report = verify_path(run, heard.append)
    assert report.is_ok
    assert report.findings == []
    assert [name for name, _, _ in report.checks] == heard == CHECK_NAMES
    assert all(ok for _, _, ok in report.checks)
    assert [name for name, count, _ in report.checks if not count] == ["rechecks"]  # no accusation


def test_a_finished_run_without_its_seal_lacks_only_that(unsealed: Path) -> None:
    report = verify_path(unsealed)
    assert [(f.severity, f.where) for f in report.findings] == [("error", "seal.json")]
    assert [name for name, _, ok in report.checks if not ok] == ["seal"]


def test_verifying_changes_nothing(copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    verify_path(copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_what_is_no_run_is_bad_input(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError):
            verify_path(path)


@pytest.mark.slow
@settings(
    max_examples=FLIPS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 2**30), offset=st.integers(0, 2**40), bit=st.integers(0, 7))
def test_any_flipped_bit_of_any_file_is_found(
    run: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    place: int,
    offset: int,
    bit: int,
) -> None:
    """The recomputing checks are left out: seal and log have to find it without them."""
    monkeypatch.setattr(audit, "CHECKS", {})
    names = sorted(p.relative_to(run) for p in run.rglob("*") if _is_sealed(run, p))
    kinds: dict[str, list[Path]] = {}
    for each in names:  # every kind of file as likely as every other: there are many blobs
        kinds.setdefault(each.parts[0], []).append(each)
    group = kinds[sorted(kinds)[place % len(kinds)]]
    name = group[place // len(kinds) % len(group)]
    target = run / name
    honest = target.read_bytes()
    changed = bytearray(honest)
    changed[offset % len(changed)] ^= 1 << bit
    try:
        target.write_bytes(changed)
        assert _refuses(run), f"{name}, byte {offset % len(changed)}, bit {bit}"
    finally:
        target.write_bytes(honest)


def _is_sealed(run: Path, path: Path) -> bool:
    return path.is_file() and path.relative_to(run).parts[0] not in UNSEALED


def _refuses(path: Path) -> bool:
    """An error is found, or the folder is not even taken for a run's."""
    try:
        return not verify_path(path).is_ok
    except KumiaiError:
        return True


def test_a_receipt_alone_proves_itself(run: Path) -> None:
    for path in sorted((run / "receipts").iterdir()):
        report = verify_path(path)
        assert report.is_ok, (path.name, report.findings)
        assert report.checks == [("receipt", 1, True)]


def test_a_receipt_with_any_flipped_byte_is_refused(run: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    receipts = sorted((run / "receipts").iterdir())
    for _ in range(300):
        data = bytearray(rng.choice(receipts).read_bytes())
        place, bit = rng.randrange(len(data)), rng.randrange(8)
        data[place] ^= 1 << bit
        path = tmp_path / "receipt.json"
        path.write_bytes(data)
        assert _refuses(path), (place, bit)


@pytest.mark.parametrize("change", ["one more", "swapped", "none"])
def test_a_receipt_needs_its_quorum(run: Path, tmp_path: Path, change: str) -> None:
    document = json.loads(next((run / "receipts").iterdir()).read_bytes())
    quorum = document["certificate"]["quorum"]
    if change == "one more":  # one signature fewer than needed, one of them twice
        document["signatures"] = [*document["signatures"][: quorum - 1], document["signatures"][0]]
    elif change == "swapped":  # a stranger signs the same content
        first = document["signatures"][0]
        stranger = events.sign_event(
            derive_key(b"x", "stranger"), first["kind"], first["created_at"],
            json.loads(first["content"]),
        )  # fmt: skip
        entry = json.loads(events.encode_event(stranger))
        document["signatures"] = [*document["signatures"][: quorum - 1], entry]
    else:
        document["signatures"] = []
    path = tmp_path / "receipt.json"
    path.write_bytes(canonical.encode(document))
    report = verify_path(path)
    assert any("necessary signatures" in finding.what for finding in report.findings)


def test_a_score_line_signed_by_nobody_is_found(unsealed: Path) -> None:
    """The event's id and the whole chain of heads are made to fit: only the signature cannot."""

    def lie(content: dict[str, object]) -> None:
        lines = content["lines"]
        assert isinstance(lines, list)
        lines[0][0] += 1_000_000

    _rewrite(unsealed, Kind.SCORE_REVEAL, lie)
    report = verify_path(unsealed)
    assert not report.is_ok
    assert any("signature" in f.what for f in _errors(report, "log"))


def test_a_record_moved_to_another_place_is_found(unsealed: Path) -> None:
    with closing(sqlite3.connect(unsealed / "log.db")) as db, db:
        (one,) = db.execute("select event from records where height = 20").fetchone()
        (two,) = db.execute("select event from records where height = 21").fetchone()
        db.execute("update records set event = ? where height = 20", (two,))
        db.execute("update records set event = ? where height = 21", (one,))
    assert _errors(verify_path(unsealed), "log")


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_truncated_log_is_found(unsealed: Path, cut: int) -> None:
    with closing(sqlite3.connect(unsealed / "log.db")) as db, db:
        (top,) = db.execute("select max(height) from records").fetchone()
        db.execute("delete from records where height > ?", (top - cut,))
    report = verify_path(unsealed)
    assert any("cut off" in finding.what for finding in _errors(report, "log"))


def test_a_swapped_update_is_found(unsealed: Path) -> None:
    document = next(
        each
        for path in sorted((unsealed / "receipts").iterdir())
        if (each := json.loads(path.read_bytes())["receipt"])["blob"]
    )
    blobs = {path.name: path for path in (unsealed / "blobs").rglob("*") if path.is_file()}
    target = blobs.pop(document["blob"])
    same_size = next(p for p in blobs.values() if p.stat().st_size == target.stat().st_size)
    target.write_bytes(same_size.read_bytes())
    assert _errors(verify_path(unsealed), "round 1, blob")


def test_a_missing_blob_is_found(unsealed: Path) -> None:
    receipt = json.loads(sorted((unsealed / "receipts").iterdir())[0].read_bytes())
    before = receipt["certificate"]["model_before"]
    next((unsealed / "blobs").rglob(before)).unlink()
    assert _errors(verify_path(unsealed), "round 1, blob")


def test_an_altered_balance_is_found(unsealed: Path) -> None:
    with closing(sqlite3.connect(unsealed / "ledger.db")) as db, db:
        account, amount = db.execute(
            "select account, amount from ledger_balances where account not like '%/%' limit 1"
        ).fetchone()
        db.execute(
            "update ledger_balances set amount = ? where account = ?",
            (str(int(amount) + 1), account),
        )
    assert _errors(verify_path(unsealed), "ledger account")


@pytest.mark.parametrize("field", ["amount", "value_ppm", "sentence", "verdict"])
def test_an_altered_receipt_is_found_in_the_run_and_alone(unsealed: Path, field: str) -> None:
    path = sorted((unsealed / "receipts").iterdir())[0]
    document = json.loads(path.read_bytes())
    document["receipt"][field] = "9" if isinstance(document["receipt"][field], str) else 9
    path.write_bytes(canonical.encode(document))
    assert _errors(verify_path(unsealed), "receipts/")
    assert any("not what was signed" in f.what for f in verify_path(path).findings)


@pytest.mark.parametrize("change", ["missing", "added"])
def test_a_receipt_too_few_or_too_many_is_found(unsealed: Path, change: str) -> None:
    path = sorted((unsealed / "receipts").iterdir())[0]
    if change == "missing":
        path.unlink()
    else:
        shutil.copy(path, path.with_name("r00001-copy.json"))
    assert _errors(verify_path(unsealed), "receipts/")


def test_a_changed_model_is_found(unsealed: Path) -> None:
    paths = sorted(p for p in (unsealed / "models").iterdir() if "customer" not in p.name)
    data = bytearray(paths[0].read_bytes())
    data[-3] ^= 1
    paths[0].write_bytes(data)
    assert _errors(verify_path(unsealed), "models/")


def test_the_customer_s_model_is_checked_too(unsealed: Path) -> None:
    path = next(p for p in (unsealed / "models").iterdir() if "customer" in p.name)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert _errors(verify_path(unsealed), "models/")


def test_a_folder_sealed_anew_by_somebody_else_is_found(copy: Path) -> None:
    """Whoever changes a file may also seal anew and name himself in the plan."""
    thief = derive_key(b"x", "thief")
    plan = json.loads((copy / "plan.json").read_bytes())
    seal.seal_directory(copy, thief, 0, UNSEALED)
    assert _errors(verify_path(copy), "seal")
    plan["orderer"] = thief.pubkey
    (copy / "plan.json").write_bytes(canonical.encode(plan))
    seal.seal_directory(copy, thief, 0, UNSEALED)
    assert _errors(verify_path(copy), "plan.json")


@pytest.mark.parametrize("name", ["task", "customer", "escrow", "people"])
def test_a_plan_that_says_something_else_than_the_log_is_found(unsealed: Path, name: str) -> None:
    plan = json.loads((unsealed / "plan.json").read_bytes())
    if name == "task":
        plan["task"]["rewards"]["budget"] = "1"
    elif name == "people":
        plan["people"][0]["name"] = "somebody else"
    else:
        plan[name] = "ab" * 32
    (unsealed / "plan.json").write_bytes(canonical.encode(plan))
    assert _errors(verify_path(unsealed), "plan.json")


@pytest.mark.slow
def test_a_validator_s_lie_is_noted_with_its_name(tmp_path: Path) -> None:
    play(shrink("lazy-validator", rounds=1), tmp_path / "run")
    report = verify_path(tmp_path / "run")
    assert report.is_ok
    assert [(f.severity, f.where) for f in report.findings] == [("note", "round 1")]
    assert "Nori did not score what its hold-out gives" in report.findings[0].what


@pytest.fixture
def subject(run: Path) -> audit.Subject:
    run_dir = RunDir(run)
    replay = audit.replay_log(run_dir, lambda where, what: pytest.fail(what))
    return audit.Subject(run_dir, replay, VerifyReport(), SealedBlobs(run_dir.blobs, {}))


def test_a_final_value_that_the_second_holdout_does_not_give_is_noted(
    subject: audit.Subject,
) -> None:
    """The validator scored the round rightly and lied only about what the final ranking uses."""
    assert audit.CHECKS["scores"](subject) > 0
    assert subject.report.findings == []  # type: ignore[attr-defined]
    state = subject.replay.state
    part = state.finals[1]
    liar = min(part.values)
    values = part.values[liar]
    lie = {**part.values, liar: (values[0] + 10 * SCORE_TOLERANCE_PPM, *values[1:])}
    subject.replay.state = replace(state, finals={1: replace(part, values=lie)})
    audit.CHECKS["scores"](subject)
    (finding,) = subject.report.findings  # type: ignore[attr-defined]
    assert (finding.severity, finding.where) == ("note", "round 1")
    assert state.members[liar].name in finding.what


@pytest.mark.parametrize(
    ("field", "place"),
    [*(("lines", place) for place in range(5)), ("loss_ppm", 0), ("accuracy_ppm", 0)],
)
def test_whatever_a_sheet_says_wrongly_is_noted(
    subject: audit.Subject, field: str, place: int
) -> None:
    """Errors and the copied update decide verdicts as values do; loss and accuracy are shown."""
    replay = subject.replay
    current = replay.rounds[1]
    liar = min(current.score_sheets)
    sheet = current.score_sheets[liar]
    if field == "lines":
        line = list(sheet.lines[-1])
        line[place] = {3: 1, 4: 0}.get(place, line[place] + 10 * SCORE_TOLERANCE_PPM)
        wrong = replace(sheet, lines=(*sheet.lines[:-1], tuple(line)))
    else:
        wrong = replace(sheet, **{field: getattr(sheet, field) + 10 * SCORE_TOLERANCE_PPM})
    replay.rounds[1] = replace(current, score_sheets={**current.score_sheets, liar: wrong})
    audit.CHECKS["scores"](subject)
    (finding,) = subject.report.findings  # type: ignore[attr-defined]
    assert replay.state.members[liar].name in finding.what


def _rounds(count: int, updates: int) -> list[RoundState]:
    revealed = {str(i): "" for i in range(updates)}
    return [SimpleNamespace(index=i + 1, revealed=revealed) for i in range(count)]  # type: ignore[misc]


@given(count=st.integers(0, 40), updates=st.integers(1, 400), seed=st.integers(0, 99))
def test_a_small_run_s_scores_are_all_checked_and_a_large_one_s_by_a_sample(
    count: int, updates: int, seed: int
) -> None:
    rounds = _rounds(count, updates)
    chosen = choose_rounds(rounds, "auto", random.Random(seed))
    indices = [each.index for each in chosen]
    assert indices == sorted(set(indices))
    least = min(count, SAMPLE_ROUNDS_MIN)
    assert len(chosen) == max(least, min(count, SAMPLE_UPDATES_MAX // updates))
    assert choose_rounds(rounds, "all", random.Random(seed)) == rounds
    assert len(choose_rounds(rounds, 7, random.Random(seed))) == min(7, count)


def test_every_round_may_be_drawn() -> None:
    rounds = _rounds(12, 100)
    drawn = {e.index for s in range(60) for e in choose_rounds(rounds, "auto", random.Random(s))}
    assert drawn == set(range(1, 13))


def test_what_was_not_recomputed_is_said(run: Path) -> None:
    report = verify_path(run, score_rounds=0)
    assert report.is_ok
    assert [(f.severity, f.where) for f in report.findings] == [("note", "scores")]
    assert "0 of 1 rounds" in report.findings[0].what


def _errors(report: VerifyReport, where: str) -> list[object]:
    return [f for f in report.findings if f.severity == "error" and f.where.startswith(where)]


def _rewrite(run: Path, kind: Kind, lie: Callable[[dict[str, object]], None]) -> None:
    """Change the first event of a kind and make ids and heads fit; its signature stays."""
    with closing(sqlite3.connect(run / "log.db")) as db, db:
        rows = db.execute("select height, time_ms, event from records order by height").fetchall()
        head, done = GENESIS_HEAD, False
        for height, time_ms, data in rows:
            event = events.decode_event(data)
            if event.kind == kind and not done:
                event, done = _relabel(event, lie), True
            head = compute_head(head, height, time_ms, event.id)
            db.execute(
                "update records set event = ?, head = ? where height = ?",
                (events.encode_event(event), head, height),
            )
    assert done


def _relabel(event: Event, lie: Callable[[dict[str, object]], None]) -> Event:
    content = dict(events.read_content(event))
    lie(content)
    stranger = derive_key(b"x", "nobody")
    signed = events.sign_event(stranger, event.kind, event.created_at, content, event.tags)
    document: Mapping[str, object] = json.loads(events.encode_event(signed))
    claimed = {**document, "pubkey": event.pubkey, "sig": event.sig}
    array = [0, event.pubkey, event.created_at, event.kind, claimed["tags"], claimed["content"]]
    claimed["id"] = canonical.sha256_hex(
        json.dumps(array, ensure_ascii=False, separators=(",", ":")).encode()
    )
    return events.decode_event(canonical.encode(claimed))
