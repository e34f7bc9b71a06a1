"""What the repository says about itself is true: links, versions, pins, the claims table."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
STATUSES = {"yes", "partly", "no"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    local = [target for target in targets if not target.startswith(("http:", "https:", "mailto:"))]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert missing == []


def test_every_dependency_is_pinned() -> None:
    pins = {
        _normalise(line.split("==")[0])
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    extras = PROJECT["project"]["optional-dependencies"]
    installed = ("dev", "flower", "onnx", "lm")
    wanted = [*PROJECT["project"]["dependencies"], *chain(*(extras[name] for name in installed))]
    names = {_normalise(re.split(r"[\[<>=!~ ]", item)[0]) for item in wanted}
    assert names - pins == set()


def test_data_packages_are_pinned_alike_everywhere() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    missing = [
        pin for pin in PROJECT["project"]["optional-dependencies"]["demo"] if pin not in makefile
    ]
    assert missing == []


def test_the_changelog_knows_this_version() -> None:
    assert f"## {PROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(
        encoding="utf-8"
    )


def test_claims_have_a_status_and_a_way_to_check() -> None:
    text = (ROOT / "docs" / "CLAIMS.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|---") and "status |" not in line
    ]
    assert len(rows) > 20
    for claim, _module, check, status, _figure in rows:
        assert re.split("[ :]", status)[0] in STATUSES, claim
        if status.startswith("yes"):
            assert "`" in check, f"{claim}: a claim that holds names its test or command"


def test_tests_named_by_claims_exist() -> None:
    text = (ROOT / "docs" / "CLAIMS.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|benchmarks|examples|src)/[^`\s]+)`", text))
    assert [path for path in sorted(named) if not (ROOT / path.split("::")[0]).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "README.ja.md"])
def test_the_readme_lists_the_exit_codes(page: str) -> None:
    errors = (ROOT / "src" / "kumiai" / "base" / "errors.py").read_text(encoding="utf-8")
    codes = {int(code) for code in re.findall(r"exit_code = (\d+)", errors)}
    text = (ROOT / page).read_text(encoding="utf-8")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)}
    assert codes <= listed


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
