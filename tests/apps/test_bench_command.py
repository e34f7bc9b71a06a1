"""`kumiai bench aequa`: the table, the picture and all numbers are saved as was asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kumiai.apps.cli import main


@pytest.mark.slow
def test_the_smallest_table_is_printed_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUMIAI_LANG", "en")
    cell = ["--data", "digits", "--splits", "quantity", "--members", "2", "--seeds", "1"]
    words = ["bench", "aequa", *cell, "--rounds", "2", "--out", str(tmp_path)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    saved = json.loads((tmp_path / "aequa.json").read_text(encoding="utf-8"))
    assert saved["rounds"] == 2
    (found,) = saved["cells"]
    assert (found["split"], found["members"]) == ("quantity", 2)
    names = [score["method"] for score in found["scores"]]
    table = (tmp_path / "aequa.md").read_text(encoding="utf-8")
    assert len(names) == 8
    assert all(name in printed and name in table for name in names)
    assert "2 rounds" in table
    assert "url(http" not in (tmp_path / "aequa.svg").read_text(encoding="utf-8")
