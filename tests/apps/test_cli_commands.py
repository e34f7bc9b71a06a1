"""Every command: help with an example, exit codes, plain messages, the folder it chooses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from kumiai import __version__
from kumiai.apps.cli import main
from kumiai.apps.cli.app import app
from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.running import choose_folder, parse_overrides
from kumiai.apps.view import ProgressEvent, RunView, save_view
from kumiai.base.errors import InputError, InternalError, RunFailedError, StoreError

COMMANDS = (
    "demo",
    "new",
    "run",
    "verify",
    "inspect",
    "export",
    "scenarios",
    "doctor",
    "flower run",
    "bench aequa",
)
Install = Callable[..., list[tuple[object, ...]]]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("KUMIAI_DEBUG", "KUMIAI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, sample_view: RunView) -> Install:
    """Put a fake engine room in place; returns the list of calls it got."""

    def put(error: BaseException | None = None) -> list[tuple[object, ...]]:
        calls: list[tuple[object, ...]] = []

        def work(out: Path, progress: Callable[[ProgressEvent], None]) -> RunView:
            for row in sample_view.rounds:
                progress(
                    ProgressEvent(
                        "round", row.round, 8, "CERTIFIED", row.loss_ppm, row.accuracy_ppm,
                        row.bytes * row.round, row.late, seconds=float(row.round),
                    )
                )  # fmt: skip
            save_view(sample_view, out)
            if error is not None:
                raise error
            progress(ProgressEvent("done", 8, 8, seconds=9.5))
            return sample_view

        def run_demo(
            scenario: str,
            seed: int,
            out: Path,
            progress: object,
            *,
            resume: bool = False,
            is_compared: bool = False,
            order_processes: bool = False,
            settlement: str = "",
            rpc: str | None = None,
        ) -> RunView:
            calls.append((scenario, seed, out, resume))
            return work(out, progress)  # type: ignore[arg-type]

        def run_task(
            path: Path,
            settings: dict[str, str],
            out: Path,
            resume: bool,
            progress: object,
            is_compared: bool = False,
            order_processes: bool = False,
            rpc: str | None = None,
        ) -> RunView:
            calls.append((path, settings, out, resume))
            return work(out, progress)  # type: ignore[arg-type]

        fake = SimpleNamespace(run_demo=run_demo, run_task=run_task)
        monkeypatch.setitem(sys.modules, "kumiai.apps.wiring", fake)  # type: ignore[arg-type]
        monkeypatch.setattr("kumiai.apps.wiring", fake, raising=False)
        return calls

    return put


def fake_verify(
    monkeypatch: pytest.MonkeyPatch,
    findings: list[object],
    is_ok: bool,
    heard: list[object] | None = None,
) -> None:
    report = SimpleNamespace(
        findings=findings, checks=[("log", 412, True), ("money", 9, is_ok)], seconds=1.25
    )

    def verify_path(
        path: Path, progress: object, score_rounds: object, rpc: str | None = None
    ) -> SimpleNamespace:
        if heard is not None:
            heard.append(score_rounds)
        return report

    fake = SimpleNamespace(verify_path=verify_path)
    monkeypatch.setitem(sys.modules, "kumiai.apps.verify", fake)  # type: ignore[arg-type]
    monkeypatch.setattr("kumiai.apps.verify", fake, raising=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"$ kumiai {command}" in result.output or "kumiai new my-task" in result.output
    assert "Examples" in result.output


def test_help_lists_commands_and_exit_codes() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    flat = " ".join(output.split())
    for command in COMMANDS:
        assert f"│ {command.split()[0]} " in output
    assert "0 ok; 1 error; 2 bad input; 3 verification failed; 4 the run failed; 5 storage" in flat
    assert "70 a mistake of ours; 130 interrupted" in flat
    assert "--install-completion" in output


def test_no_command_shows_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: kumiai" in capfd.readouterr().out


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out.startswith("kumiai ")


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "kumiai", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == f"kumiai {__version__}\n"
    wrong = [sys.executable, "-m", "kumiai", "run", "absent.toml"]
    assert subprocess.run(wrong, capture_output=True, check=False).returncode == 2


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from kumiai.apps.cli import main; main(['demo', '--help']); "
        "print(sorted({'torch', 'numpy', 'jinja2', 'sqlalchemy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert result.stdout.strip().endswith("[]")


def test_demo_prints_rounds_table_and_next_steps(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = install()
    assert main(["demo", "--scenario", "fast"]) == 0
    out = capfd.readouterr().out
    assert calls == [("fast", 7, Path("runs/fast-7"), False)]
    assert "round 3/8: loss" in out and "late: Kaito 鋳造" in out and "done in 9.5 s" in out
    assert "Mallory Ltd." in out
    assert "All 1,000,000 points of the budget" in " ".join(out.split())
    assert "kumiai verify runs/fast-7" in out and "runs/fast-7/report.html" in out


def test_demo_in_japanese_also_writes_the_report_in_it(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install()
    assert main(["demo", "--lang", "ja", "--out", "here"]) == 0
    out = capfd.readouterr().out
    assert "ラウンド 3/8" in out and "参加者" in out and "オフラインで検証" in out
    assert 'data-lang="ja" data-auto="no"' in Path("here/report.html").read_text(encoding="utf-8")


def test_quiet_prints_only_the_folder(install: Install, capfd: pytest.CaptureFixture[str]) -> None:
    install()
    assert main(["demo", "--quiet", "--out", "here"]) == 0
    captured = capfd.readouterr()
    assert captured.out == "here\n" and captured.err == ""


def test_run_hands_over_task_and_settings(install: Install) -> None:
    calls = install()
    Path("my").mkdir()
    Path("my/task.toml").write_text("name = 'x'\n")
    words = ["--set", "training.rounds=3", "--set", "model.options.note=a=b"]
    assert main(["run", "my/task.toml", *words, "-q"]) == 0
    settings = {"training.rounds": "3", "model.options.note": "a=b"}
    assert calls == [(Path("my/task.toml"), settings, Path("runs/my"), False)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo", "--scenario", "nope"], "choose one of: cooperative"),
        (["demo", "--seed", "-1"], "--seed"),
        (["run", "absent.toml"], "kumiai new my-task"),
        (["run", "task.toml", "--set", "rounds"], "write FIELD=VALUE"),
        (["run", "task.toml", "--resume"], "no run to resume"),
        (["new", "../up"], "letters, digits"),
        (["demo", "--lang", "fr"], "--lang"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_input_is_2_and_says_the_fix(
    install: Install, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    install()
    Path("task.toml").write_text("")
    assert main(words) == 2
    error = capfd.readouterr().err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RunFailedError("the run is FAILED: quorum lost"), 4, "quorum lost"),
        (StoreError("disk is full"), 5, "disk is full"),
        (OSError(28, "No space left on device", "log.db"), 5, "No space left on device (log.db)"),
        (InternalError("broken promise"), 70, "broken promise"),
        (ZeroDivisionError("oops"), 70, "a mistake of ours: ZeroDivisionError: oops"),
        (
            KeyboardInterrupt(),
            130,
            "kumiai demo --scenario fast --seed 7 --out runs/fast-7 --resume",
        ),
    ],
)
def test_every_fault_has_its_exit_code(
    install: Install,
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    install(error)
    assert main(["demo", "--scenario", "fast"]) == code
    captured = capfd.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) <= 2


@pytest.mark.parametrize("command", [["demo", "--scenario", "fast"], ["run", "task.toml"]])
def test_an_interruption_in_real_time_does_not_offer_to_go_on(
    install: Install, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    Path("task.toml").write_text("")
    install(KeyboardInterrupt())
    assert main([*command, "--order-processes"]) == 130
    told = capfd.readouterr().err
    assert "it cannot be taken up again" in told
    assert "--resume" not in told


def test_a_failed_run_still_shows_who_did_what(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install(RunFailedError("the run is HALTED"))
    assert main(["demo"]) == 4
    assert "Mallory Ltd." in capfd.readouterr().out


def test_debug_shows_the_traceback(
    install: Install, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(ZeroDivisionError("oops"))
    monkeypatch.setenv("KUMIAI_DEBUG", "1")
    assert main(["demo"]) == 70
    assert "Traceback" in capfd.readouterr().err


def test_verify_true_and_false(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_verify(monkeypatch, [], True)
    assert main(["verify", "run"]) == 0
    out = capfd.readouterr().out
    assert "412" in out and "says the truth" in out
    wrong = SimpleNamespace(severity="error", where="receipts/r1.json", what="amount\x1b[2J is 7")
    fake_verify(monkeypatch, [wrong], False)
    assert main(["verify", "run"]) == 3
    captured = capfd.readouterr()
    assert "receipts/r1.json: amount�[2J is 7" in captured.out
    assert "1 problem" in captured.err


@pytest.mark.parametrize("text", ["some", "-1", "1.5", "", "²", "1" * 10])
def test_a_wrong_number_of_scored_rounds_is_named_with_its_fix(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    fake_verify(monkeypatch, [], True)
    assert main(["verify", "run", f"--scores={text}"]) == 2
    assert "--scores" in capfd.readouterr().err


@pytest.mark.parametrize(("text", "expected"), [("all", "all"), ("auto", "auto"), ("3", 3)])
def test_the_number_of_scored_rounds_reaches_the_check(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: object
) -> None:
    heard: list[object] = []
    fake_verify(monkeypatch, [], True, heard)
    assert main(["verify", "run", "--scores", text]) == 0
    assert heard == [expected]


def test_a_failed_check_without_a_finding_is_still_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_verify(monkeypatch, [], False)
    assert main(["verify", "run", "--quiet"]) == 3


def test_folders_are_never_shared_and_resume_takes_the_newest() -> None:
    assert choose_folder("a", None, False) == Path("runs/a")
    for name in ("a", "a-2"):
        Path("runs", name).mkdir(parents=True)
    assert choose_folder("a", None, False) == Path("runs/a-3")
    assert choose_folder("a", None, True) == Path("runs/a-2")
    assert choose_folder("a", Path("x"), False) == Path("x")


def test_overrides_twice_are_refused() -> None:
    with pytest.raises(InputError, match="already set"):
        parse_overrides(["a=1", "a=2"])


def test_language_comes_from_the_option_then_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_language(None) == "en"
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert get_language(None) == "ja"
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert get_language(None) == "en"
    assert get_language("ja") == "ja"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_menu_lists_every_scenario(language: str, capfd: pytest.CaptureFixture[str]) -> None:
    from kumiai.apps.scenarios import SCENARIOS

    assert main(["scenarios", "--lang", language]) == 0
    out = capfd.readouterr().out
    for scenario in SCENARIOS.values():
        assert scenario.name in out
        assert (scenario.title if language == "en" else scenario.title_ja) in out


def test_every_command_is_in_the_readme() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    text = readme.read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"kumiai {command}" in text, f"README.md does not mention `kumiai {command}`"
