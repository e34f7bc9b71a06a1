"""`kumiai doctor --determinism`: the machine's class, saved, compared, and bad files refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kumiai.adapters.compute.determinism import (
    calibrate,
    check_manifest,
    describe_machine,
    list_differences,
)
from kumiai.apps.cli import main
from kumiai.apps.cli.doctoring import doctor
from kumiai.base import canonical
from kumiai.base.errors import InputError


def test_calibration_is_the_same_every_time_and_whatever_the_threads() -> None:
    device = torch.device("cpu")
    threads = torch.get_num_threads()
    first = calibrate(device)
    torch.set_num_threads(2)
    try:
        assert calibrate(device) == first
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_what_was_saved_compares_as_one_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "here.json"
    doctor(path, None, "en")
    assert str(describe_machine()["class"])[:12] in capsys.readouterr().out
    doctor(None, path, "en")
    assert "One class with" in capsys.readouterr().out
    assert check_manifest(json.loads(path.read_bytes())) == describe_machine()


@pytest.mark.parametrize("part", ["calibration", "build", "processor", "switches"])
def test_any_difference_makes_another_class(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {name: value for name, value in describe_machine().items() if name != "class"}
    value = other[part]
    other[part] = {**value, "more": "1"} if isinstance(value, dict) else "0" * 64
    path = tmp_path / "there.json"
    document = {**other, "class": canonical.hash_document(other)}
    path.write_text(json.dumps(document), encoding="utf-8")
    expected = part if part == "calibration" else f"{part}.more"
    assert list_differences(describe_machine(), document) == [expected]
    doctor(None, path, "en")
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "Another class than" in shown
    assert expected in shown


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense", '{"type":"kumiai/machine/1"}'])
def test_a_file_that_is_no_manifest_is_refused_with_the_fix(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="doctor --determinism --save"):
        doctor(None, path, "en")


def test_a_manifest_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({**describe_machine(), "device": "cuda"}), encoding="utf-8")
    with pytest.raises(InputError, match="is not the hash of what it says"):
        doctor(None, path, "en")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="name a new one"):
        doctor(path, None, "en")
    assert path.read_text(encoding="utf-8") == "mine"


def test_without_a_question_everything_there_is_is_examined(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--lang", "en"]) == 0
    plain = capsys.readouterr().out
    assert main(["doctor", "--determinism", "--lang", "en"]) == 0
    assert capsys.readouterr().out == plain
    assert str(describe_machine()["calibration"])[:12] in plain


@pytest.mark.parametrize("name", ["nowhere.json", "."])
def test_what_cannot_be_read_or_written_is_said_without_jargon(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--compare = .*cannot be read: [A-Z]") as caught:
        doctor(None, tmp_path / name, "en")
    assert "Errno" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        doctor(tmp_path / "no" / "such" / "folder.json", None, "en")


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "endless.json"
    path.symlink_to("/dev/zero")  # its size is 0
    with pytest.raises(InputError, match="bigger than 65536 bytes"):
        doctor(None, path, "en")
