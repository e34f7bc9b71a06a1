"""Tiny whole runs on digits: seconds each, everything real but the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps import wiring
from kumiai.apps.population import Casting
from kumiai.apps.scenarios import SCENARIOS, Scenario
from kumiai.apps.view import RunView

TASK = """\
name = "tiny"
seed = 3
[data]
source = "digits"
alpha_ppm = 1000000
trainers = 4
[model]
recipe = "mlp"
options = { hidden = 16 }
[training]
rounds = 2
local_epochs = 2
learning_rate_ppm = 200000
weighting = "samples"
backend = "inline"
[validation]
validators = 4
permutations_max = 10
"""


def write_task(folder: Path, text: str = TASK, name: str = "task.toml") -> Path:
    """Write a task file; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def shrink(name: str, rounds: int = 3) -> Scenario:
    """The menu's scenario with few rounds, a small model and little data."""
    scenario = SCENARIOS[name]
    settings = dict(scenario.settings)
    sections = {
        "training": {"rounds": rounds, "backend": "inline"},
        "validation": {"permutations_max": 12},
    }
    if name == "cooperative":
        sections["data"] = {"options": {"samples": 1500}}
    if name == "text":
        sections["training"] |= {"local_iterations": 25}
    for section, more in sections.items():
        known = settings.get(section, {})
        assert isinstance(known, dict)
        settings[section] = {**known, **more}
    return replace(scenario, settings=settings)


def play(
    scenario: Scenario, out: Path, seed: int = 0, network: NetworkModel | None = None
) -> RunView:
    """Run a scenario into `out`."""
    casting = Casting(scenario.name, scenario.people, scenario.victims, network or scenario.network)
    return wiring.run_local(
        scenario.make_task(seed),
        casting,
        out,
        lambda event: None,
        resume=False,
        base_dir=out.parent,
    )
