"""The exported network as files, the lines that load them, and the proof that they do.

The proof: a fresh Python process in which `import kumiai` fails runs exactly the lines of the card,
and its outputs are compared with the engine's. A folder that fails is not handed out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.func import functional_call

from kumiai.apps.export.source import TENSOR_FILE, write_sources
from kumiai.base.errors import InputError
from kumiai.learning.layout import integer_buffers
from kumiai.learning.recipe import Recipe, build_seeded

LINES = ("from model import load_model", "model = load_model()", "outputs = model(inputs)")
TOLERANCE = 1e-5  # of the outputs; the same numbers on the same machine, but threads may differ
CHECK_SECONDS_MAX = 300

_SCRIPT = """\
import sys
sys.modules["kumiai"] = None  # importing it is an error from here on
sys.path.insert(0, "")
import torch
inputs = torch.load(sys.argv[1])
{lines}
torch.save(outputs.detach(), sys.argv[2])
"""


def write_network(
    folder: Path,
    recipe: Recipe,
    width: float,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    title: str,
) -> None:
    """Write model.safetensors, model.py and, for a user's recipe, recipe.py into `folder`.

    tensors: of the network of `width` alone; its integer counters and tables go with them.
    """
    integers = _find_saved_integers(recipe, width)
    together = {name: t.contiguous().clone() for name, t in {**tensors, **integers}.items()}
    save_file(together, folder / TENSOR_FILE, {"format": "pt", **metadata})
    for name, data in write_sources(recipe, width, title).items():
        (folder / name).write_bytes(data)


def compute_outputs(
    recipe: Recipe, width: float, tensors: Mapping[str, Tensor], inputs: Tensor
) -> Tensor:
    """Return what the engine's own network of `width` says about `inputs`."""
    module = build_seeded(recipe, width, 0).eval()
    with torch.no_grad():
        outputs = functional_call(module, {**tensors, **integer_buffers(module)}, (inputs,))
    if not isinstance(outputs, Tensor):
        fix = f"it returns {type(outputs).__name__}: only a network that returns one tensor exports"
        raise InputError("model.recipe", recipe.name, fix)
    return outputs


def run_lines(folder: Path, inputs: Tensor, lines: Sequence[str] = LINES) -> Tensor:
    """Run the card's lines in `folder`, in a process without Kumiai; return their outputs.

    InputError with the last line of what it complained about.
    """
    script = _SCRIPT.format(lines="\n".join(lines))
    with tempfile.TemporaryDirectory() as place:
        given, found = Path(place) / "inputs.pt", Path(place) / "outputs.pt"
        torch.save(inputs, given)
        command = [sys.executable, "-I", "-B", "-c", script, str(given), str(found)]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True,
                timeout=CHECK_SECONDS_MAX, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            fix = f"loading it alone took more than {CHECK_SECONDS_MAX} s"
            raise InputError("model.recipe", str(folder), fix) from error
        if done.returncode or not found.exists():
            said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
            fix = f"its file does not work alone, without Kumiai and its neighbours ({said})"
            raise InputError("model.recipe", "recipe.py", fix)
        outputs: Tensor = torch.load(found)
    return outputs


def check_network(folder: Path, recipe: Recipe, width: float, inputs: Tensor) -> None:
    """Raise InputError unless the folder, loaded without Kumiai, says what the engine says."""
    tensors = load_file(folder / TENSOR_FILE)
    expected = compute_outputs(recipe, width, tensors, inputs)
    found = run_lines(folder, inputs)
    if found.shape != expected.shape or not torch.allclose(
        found, expected, rtol=TOLERANCE, atol=TOLERANCE
    ):
        fix = "loaded alone it says something else: does it draw numbers that no training changes?"
        raise InputError("model.recipe", recipe.name, fix)


def _find_saved_integers(recipe: Recipe, width: float) -> dict[str, Tensor]:
    module = build_seeded(recipe, width, 0)
    return dict(integer_buffers(module))
