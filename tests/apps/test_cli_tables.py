"""The final table, the live display and the inspection at the widths people have."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from kumiai.apps.cli import main
from kumiai.apps.cli.live import LiveProgress
from kumiai.apps.cli.tables import build_headline_text, build_member_table
from kumiai.apps.cli.terminal import clean, draw_sparkline
from kumiai.apps.inspect import explain_member
from kumiai.apps.report.texts import LANGUAGES, Language, load_texts
from kumiai.apps.view import ProgressEvent, RunView, save_view
from kumiai.base import canonical
from kumiai.base.errors import InputError, StoreError


def draw(item: RenderableType, columns: int) -> str:
    console = Console(width=columns, file=io.StringIO(), color_system=None)
    console.print(item)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("columns", [80, 100, 120, 140, 200])
def test_table_fits_and_says_everything(
    sample_view: RunView, language: Language, columns: int
) -> None:
    texts = load_texts(language)
    out = draw(build_member_table(sample_view, texts, columns), columns)
    assert max(cell_len(line) for line in out.splitlines()) <= columns
    flat = "".join(out.split())
    if columns >= 80:
        for member in sample_view.members:
            assert "".join(member.name.split()) in flat or columns < 100
            if member.reward:
                assert f"{member.reward:,}" in flat
    assert "+0.4126" in flat and "0.0098" in flat and "100%" in flat
    assert texts.text("role.validator") in out and texts.text("verdict.INVALID") in out
    assert "…" not in out  # nothing is cut off


def test_wide_table_has_one_line_for_short_reasons(sample_view: RunView) -> None:
    out = draw(build_member_table(sample_view, load_texts("en"), 140), 140)
    row = next(line for line in out.splitlines() if "佐藤精機" in line)
    assert "trainer" in row and "valid" in row and "+0.4126 ± 0.0098" in row
    assert "100+400" in row and "180,476" in row


def test_table_of_a_crowd_is_cut_and_says_so(sample_view: RunView) -> None:
    crowd = tuple(replace(sample_view.members[0], name=f"m{i}") for i in range(75))
    out = draw(build_member_table(replace(sample_view, members=crowd), load_texts("en"), 100), 100)
    assert "15 more are in the run's folder" in out


def test_names_cannot_move_the_cursor_or_use_markup(sample_view: RunView) -> None:
    evil = replace(sample_view.members[0], name="[red]\x1b[2Jx\u202ey")
    view = replace(sample_view, members=(evil,))
    out = draw(build_member_table(view, load_texts("en"), 140), 140)
    assert "\x1b" not in out and "\u202e" not in out and "[red]" in out
    assert clean("a\nb\tc") == "a�b�c"


def test_headline_shouts_when_money_is_missing(sample_view: RunView) -> None:
    wrong = replace(sample_view, totals={**sample_view.totals, "refunded": 0})
    assert "does NOT add up" in build_headline_text(wrong, load_texts("en")).plain
    assert "All 1,000,000" in build_headline_text(sample_view, load_texts("en")).plain


def test_sparkline_runs_from_low_to_high() -> None:
    assert draw_sparkline([]) == ""
    assert draw_sparkline([5, 5]) == "▄▄"
    assert draw_sparkline([0, 7]) == "▁█"
    assert len(draw_sparkline(range(100))) == 24


def test_live_display_shows_round_phase_figures_and_late() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    live = LiveProgress(console, load_texts("en"), "fast")
    for number in (1, 2):
        live(ProgressEvent("round", number, 8, "CERTIFIED", 900_000 // number, 400_000 * number,
                           2_000_000, seconds=3))  # fmt: skip
    live(
        ProgressEvent(
            "phase", 3, 8, "SCORE", 450_000, 800_000, 2_930_000, ("Elm", "Fuji"), seconds=61
        )
    )
    out = draw(live.render(), 80)
    assert "round 3 of 8" in out and "validators score" in out and "1 min 01 s" in out
    assert "0.450" in out and "80.0%" in out and "█▁" in out and "▁█" in out
    assert "2.93 MB" in out and "Elm, Fuji" in out
    lines = out.splitlines()
    assert len(lines) == 5 and all(cell_len(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines[2:]] == ["loss", "accuracy", "sent"]


def test_without_a_terminal_there_is_one_line_a_round() -> None:
    console = Console(width=80, file=io.StringIO())
    with LiveProgress(console, load_texts("en"), "fast") as live:
        live(ProgressEvent("phase", 1, 2, "TRAIN"))
        live(
            ProgressEvent(
                "round", 1, 2, "CERTIFIED", 450_000, 800_000, 2_930_000, ("Elm",), seconds=2
            )
        )
        live(ProgressEvent("note", message="quorum \x1b[31mlate"))
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert out.splitlines() == [
        "round 1/2: loss 0.450, accuracy 80.0%, 2.93 MB sent, 2.0 s; late: Elm",
        "quorum �[31mlate",
    ]


@pytest.fixture
def run_dir(sample_view: RunView, tmp_path: Path) -> Path:
    """A folder with a view and the receipt files of every member."""
    folder = tmp_path / "run"
    save_view(sample_view, folder)
    (folder / "receipts").mkdir()
    for row in sample_view.receipts:
        gross = row.amount * 10
        receipt = {
            "pool": str(gross * 2), "weight": "1", "weight_total": "2" if gross else "0",
            "gross": str(gross), "gross_alone": "0", "to_backers": "0",
            "locked": str(gross - row.amount), "amount": str(row.amount), "slashed": "0",
            "value_ppm": 12_000, "error_ppm": 900,
        }  # fmt: skip
        document = {
            "format": "kumiai/receipt-file/1", "certificate": {}, "signatures": [], "proof": {},
            "receipt": receipt,
        }  # fmt: skip
        (folder / row.path).write_bytes(canonical.encode(document))
    return folder


def test_account_explains_the_reward(sample_view: RunView, run_dir: Path) -> None:
    account = explain_member(sample_view, run_dir, "佐藤精機")
    assert account.difference == 0 and account.received == account.member.reward
    assert [line.receipt.round for line in account.lines] == [1, 2, 3, 4, 5, 6, 7, 8, 0]
    poorer = replace(
        sample_view,
        members=tuple(replace(m, reward=m.reward + 1) for m in sample_view.members),
    )
    assert explain_member(poorer, run_dir, "佐藤精機").difference == 1


def test_inspect_shows_arithmetic_round_and_everybody(
    run_dir: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["inspect", str(run_dir), "--member", "佐藤精機"]) == 0
    out = capfd.readouterr().out
    assert "rounded down" in out and "locked until the end" in out
    assert "sum of the receipts 180,476 = reward 180,476" in out
    assert main(["inspect", str(run_dir), "--round", "3"]) == 0
    out = capfd.readouterr().out
    assert "round 3: loss" in out and "5 counted, 3 left out" in out and "near-copy" in out
    assert main(["inspect", str(run_dir), "--lang", "ja"]) == 0
    assert "ラウンド 8" in capfd.readouterr().out


def test_inspect_refuses_strangers_gaps_and_other_folders(
    sample_view: RunView, run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(run_dir), "--member", "nobody"]) == 2
    assert main(["inspect", str(run_dir), "--round", "99"]) == 2
    assert "rounds 1 to 8" in capfd.readouterr().err
    row = next(row for row in sample_view.receipts if row.member == "Lumen Tools")
    (run_dir / row.path).write_text(json.dumps({"format": "x"}))
    assert main(["inspect", str(run_dir), "--member", "Lumen Tools"]) == 5
    (run_dir / row.path).unlink()
    with pytest.raises(StoreError, match="is missing"):
        explain_member(sample_view, run_dir, "Lumen Tools")
    outside = replace(sample_view, receipts=(replace(row, path="../../secret.json"),))
    with pytest.raises(StoreError, match="outside its folder"):
        explain_member(outside, run_dir, "Lumen Tools")
    with pytest.raises(InputError, match="there are: 佐藤精機"):
        explain_member(sample_view, run_dir, "nobody")


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "In 2 of 3 rounds: 0 because: "), ("ja", "3 ラウンド中 2 ラウンド")],
)
def test_who_was_refused_later_is_not_told_that_all_was_for_nothing(
    sample_view: RunView, language: Language, said: str
) -> None:
    texts = load_texts(language)
    cheat = next(m for m in sample_view.members if m.verdict == "INVALID")
    assert texts.conclude(replace(cheat, reward=0)) == texts.reason(cheat.reason, cheat.reason_code)
    paid = replace(cheat, reward=7, round_verdicts=("VALID", "INVALID", "INVALID"))
    assert texts.conclude(paid).startswith(said)
