"""`kumiai simulate`: table, figures and a page in two languages; a seed gives the same again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kumiai.adapters.sim.economy.conduct import NAMES as STRATEGIES
from kumiai.adapters.sim.economy.findings import Size
from kumiai.adapters.sim.economy.parameters import NAMES, describe, read_overrides
from kumiai.apps.cli import main
from kumiai.apps.cli.simulating import build_tables
from kumiai.apps.cli.terminal import render_plain
from kumiai.apps.economy import study
from kumiai.apps.economy.page import format_plain, format_signed
from kumiai.apps.report.texts import LANGUAGES, Language, load_texts

TINY = ["--set", "trainers=8", "--set", "validators=4", "--set", "delegators=8"]
TINY += ["--set", "task_rounds=4", "--agents", "40", "--rounds", "8", "--seeds", "1"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process and a short sweep: what is tested is what is written."""
    monkeypatch.setenv("KUMIAI_LANG", "en")
    monkeypatch.setattr("kumiai.apps.cli.simulating.count_cores", lambda: 1)
    monkeypatch.setattr(study, "LEVERS", {"audit": (1.0,), "slash_ppm": (1_000_000,)})
    monkeypatch.setattr(study, "FACTS", {"cheats": (0.0,), "capital": (0.1,)})


def test_the_study_is_printed_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *TINY, "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "new" / "simulation.json").read_text(encoding="utf-8"))
    assert [row["strategy"] for row in figures["margins"]] == list(STRATEGIES[1:])
    assert {point["name"] for point in figures["sweep"]} == {
        "audit", "slash_ppm", "cheats", "capital",
    }  # fmt: skip
    assert set(figures["parameters"]) == set(NAMES)
    table = (tmp_path / "new" / "economics.md").read_text(encoding="utf-8")
    assert figures["command"] in table and "whale" in table and "whale" in printed
    assert str(tmp_path) not in table + json.dumps(figures)


def test_the_page_speaks_both_languages_and_loads_nothing(tmp_path: Path) -> None:
    assert main(["simulate", *TINY, "--out", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for language in LANGUAGES:
        words = load_texts(language)
        for key in ("title", "section.remedies", "section.sensitivity", "parameter.slash_ppm"):
            assert words.text(f"simulate.{key}", tasks=2, rounds=4) in page
    assert all(f"chart-{name}" in page for name in ("margins", "conduct", "loss", "cheats", "gini"))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None and "default-src &#39;none&#39;" in policy[1].replace("'", "&#39;")

    class Links(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [v or "" for k, v in attrs if k in ("src", "href")]

    links = Links()
    links.found = []
    links.feed(page)
    assert links.found and all(link.startswith("#") for link in links.found)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main(["simulate", *TINY, "--no-sweep", "--out", str(tmp_path / name)]) == 0
    for name in ("simulation.json", "index.html", "economics.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--agents", "1999"], ("--agents = 1999: not a multiple of the 100 people of one task: "
         "use 1900 or 2000")),
        (["--agents", "3"], "use 100"),
        (["--rounds", "30"], "use 20 or 40"),
        (["--agents", "100", "--rounds", "20", "--seeds", "1"], ("--seeds = 1: one task, played "
         "once, shows nothing: use 2 or more, or --agents 200")),
        (["--seeds", "0"], "--seeds = 0: must lie in 1..1000"),
        (["--seed", "-1"], "--seed = -1: must be 0 or more"),
        (["--set", "slash=1"], "unknown; use one of gamma_ppm"),
        (["--set", "audit=2"], "--set audit = 2.0: must lie in 0..1"),
    ],
)  # fmt: skip
def test_bad_input_names_the_field_the_value_and_the_fix(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *words, "--out", str(tmp_path / "none")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_file_is_no_folder_to_save_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["simulate", *TINY, "--out", str(tmp_path / "taken")]) == 2
    assert "name a folder" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["taken/new", "/proc/none"])
def test_where_nothing_can_be_saved_nothing_is_played(
    place: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr("kumiai.apps.cli.simulating.run_study", None)  # would be an error of ours
    assert main(["simulate", *TINY, "--out", str(tmp_path / place)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("kumiai: --out = ") and "folder" in said


def test_money_that_is_not_all_there_is_never_called_conserved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    play_all = study.play_all
    monkeypatch.setattr(
        study, "play_all", lambda *args: [replace(p, is_balanced=False) for p in play_all(*args)]
    )
    assert main(["simulate", *TINY, "--no-sweep", "--out", str(tmp_path)]) == 70
    assert "do not add up" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_the_shorter_runs_call_settled_is_said_so_in_table_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "find_remedies", lambda *_: [])
    monkeypatch.setattr(study, "list_settled", lambda *_: ["copier"])
    assert main(["simulate", *TINY, "--out", str(tmp_path)]) == 0
    printed, words = capsys.readouterr().out, load_texts("en")
    assert words.text("simulate.remedy.settled")[:40] in printed
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert words.text("simulate.remedy.settled") in page
    assert words.text("simulate.remedy.none_needed") not in page


def test_the_catalogue_says_of_each_parameter_what_the_simulation_says() -> None:
    words = load_texts("en")
    for name in NAMES:
        assert words.text(f"simulate.parameter.{name}") == describe(name)["text"]
    for name in STRATEGIES[1:]:
        assert words.has(f"simulate.strategy.{name}") and words.has(f"simulate.short.{name}")


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [(0.25, "0.250", "+0.250"), (-0.25, "−0.250", "−0.250"), (-0.0004, "0.000", "0.000"),
     (0.0, "0.000", "0.000"), (0.0004, "0.000", "0.000")],
)  # fmt: skip
def test_a_zero_has_no_sign(value: float, plain: str, signed: str) -> None:
    assert (format_plain(value), format_signed(value)) == (plain, signed)


def test_an_interruption_is_said_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kumiai.apps.cli.simulating.run_study", interrupt)
    assert main(["simulate", *TINY, "--out", str(tmp_path)]) == 130
    assert capfd.readouterr().err == "kumiai: interrupted\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_eighty_columns_hold_a_line_for_each_strategy(language: Language) -> None:
    parameters = read_overrides(TINY[1:8:2])
    played = study.run_study(parameters, Size(2, 1, 1, 1), 1, lambda *_: None, is_swept=False)
    (table,) = build_tables(played, load_texts(language), is_narrow=True)
    shown = render_plain([table], 80).splitlines()
    rows = [line for line in shown if re.search(r"± \d", line)]
    assert len(rows) == len(STRATEGIES) - 1 == len(shown) - shown.index(rows[0]) - 1
    assert not any("…" in line for line in shown)
