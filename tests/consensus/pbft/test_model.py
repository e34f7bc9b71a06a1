"""The model of the order's agreement holds, and breaks where it is broken on purpose.

Those of models/check.py that take seconds; `make model` runs all. Where spin or a C compiler is not
installed they are left out; .ci/run installs both.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

from kumiai.consensus.pbft import safety, views
from kumiai.consensus.quorum import compute_quorum

MODELS = Path(__file__).resolve().parents[3] / "models"
_spec = importlib.util.spec_from_file_location("kumiai_model_check", MODELS / "check.py")
assert _spec is not None and _spec.loader is not None
check = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = check
_spec.loader.exec_module(check)

TEXT = (MODELS / "pbft.pml").read_text(encoding="utf-8")
FAST = [model for model in (*check.RIGHT, *check.BROKEN) if model.is_fast]
needs_tools = pytest.mark.skipif(
    bool(check.list_missing_tools()) and "CI" not in os.environ,
    reason=f"not installed: {', '.join(check.list_missing_tools())}",
)


@needs_tools
@pytest.mark.slow
@pytest.mark.parametrize(
    "model", FAST, ids=lambda model: f"{model.name} {' '.join(model.switches)}"
)
def test_the_model_holds_and_breaks_where_it_should(model, tmp_path: Path) -> None:
    result = check.check(model, tmp_path)
    assert result.flaw == model.flaw, "\n".join(result.steps)
    assert result.is_complete or model.flaw
    assert bool(result.steps) == bool(model.flaw)


def test_every_property_is_seen_to_break() -> None:
    broken = {model.flaw for model in check.BROKEN}
    assert broken == set(re.findall(r"assert\(!(\w+)\)", TEXT))


def test_every_switch_of_the_model_is_thrown() -> None:
    known = set(re.findall(r"#ifn?def (\w+)", TEXT))
    thrown = {switch.split("=")[0] for m in (*check.RIGHT, *check.BROKEN) for switch in m.switches}
    assert known - thrown == set()
    assert thrown - known == set()


def test_the_quorum_is_that_of_the_code() -> None:
    written = re.search(r"#define QUORUM \((.*)\)   /\*", TEXT)
    assert written is not None
    for size in (4, 5):
        assert eval(written[1].replace("/", "//"), {"N": size}) == compute_quorum(size)


@pytest.mark.parametrize(
    "name", ["_vote", "vote_pre_prepare", "vote_prepare", "vote_commit", "leave_view", "begin_view"]
)
def test_the_rules_of_safety_are_named_where_they_are_modelled(name: str) -> None:
    assert hasattr(safety.Safety, name)
    assert re.search(rf"/\*[^*]*\b{name}\b", TEXT)


def test_the_rules_of_views_are_named_where_they_are_modelled() -> None:
    for name in ("compute_proposals", "find_new_view_flaw"):
        assert hasattr(views, name)
        assert name in TEXT
