"""Whole runs by another valuation than the default: they end, pay everybody's budget and verify."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.apps.tiny import TASK, write_task

import kumiai
from kumiai.apps.verify import verify_path
from kumiai.base.errors import InputError


@pytest.mark.parametrize("valuation", ["strata", "banzhaf", "cgsv", "class_cosine"])
def test_a_run_by_this_valuation_pays_and_verifies(tmp_path: Path, valuation: str) -> None:
    settings = {"training.rounds": "1", "validation.valuation": valuation}
    run = kumiai.run(write_task(tmp_path), tmp_path / "run", settings)
    trainers = [member for member in run.members if member.role == "trainer"]
    assert any(int(member.reward) > 0 for member in trainers)
    assert {member.verdict for member in trainers} == {"VALID"}
    report = verify_path(tmp_path / "run")
    assert report.is_ok and report.findings == []


def test_a_network_that_the_valuation_cannot_see_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "from torch import nn\n"
        "def build(width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LayerNorm(10))\n",
        encoding="utf-8",
    )
    text = TASK.replace("options = { hidden = 16 }\n", "")
    settings = {"model.recipe": "recipe.py:build", "validation.valuation": "class_cosine"}
    with pytest.raises(InputError, match=r"validation\.valuation.*class_cosine"):
        kumiai.run(write_task(tmp_path, text), tmp_path / "run", settings)
    assert not (tmp_path / "run" / "log.db").exists()
