"""kill -9 at every step of paying, locking, settling, cancelling: nothing twice, nothing lost."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("cashier_kills.py")
ROOT = PROGRAM.parents[3]
MEMORY = Path("/dev/shm")
AMOUNT = 5_000

# act -> steps at least, what the customer has spent and held in the end, states that must be told
ACTS = {
    "invoice": (25, 0, 0, {}),
    "pay": (25, AMOUNT, 0, {}),
    "hold": (25, 0, AMOUNT, {"p pay": "accepted"}),
    "settle": (25, AMOUNT, 0, {"h/settle settle": "settled", "p pay": "settled",
                               "h ask_hold": "settled"}),
    "cancel": (25, 0, 0, {"h/cancel cancel": "canceled", "p pay": "canceled",
                          "h ask_hold": "canceled"}),
}  # fmt: skip


@pytest.mark.parametrize("act", sorted(ACTS))
def test_killed_at_every_step_and_taken_up_again(tmp_path: Path, act: str) -> None:
    steps_min, spent, held, states = ACTS[act]
    # a killed process loses nothing that it wrote, on any file system: the fast one will do
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), folder, act],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )
    told = json.loads(done.stdout)
    assert len(told["after"]) >= steps_min
    for step, result in enumerate([told["whole"], *told["after"]]):
        assert isinstance(result, dict), (step, result)
        assert (result["spent"], result["held"]) == (spent, held), (step, result)
        assert result["received"] == spent, (step, result)
        for name, state in states.items():
            assert result["states"][name] == state, (step, result)
        paid = [it for it in result["states"].items() if it[0].endswith(" pay")]
        assert act == "invoice" or len(paid) >= 1
        assert sum(state == "settled" for _, state in paid) == (spent > 0), (step, result)
