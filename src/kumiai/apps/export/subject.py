"""The run that a model is taken out of, read from its signed log, and which model is wanted.

What the log says (task, members, widths, certificates, the model's digest) is checked record by
record on the way; only what it does not hold is read from the run's picture (`view.json`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from kumiai.adapters.language.lora import LORA
from kumiai.adapters.store.blobs import SealedBlobs
from kumiai.apps.audit.replay import Replay, replay_log
from kumiai.apps.rundir import RunDir
from kumiai.apps.view import RunView, load_view
from kumiai.apps.workload import load_run_recipe
from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError, RunFailedError, StoreError, VerificationError
from kumiai.learning import fixed_point
from kumiai.learning.layout import compute_layout
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.rounds.state import RunPhase, RunState
from kumiai.tasks.document import TaskDocument

HOLDOUT_BYTES_MAX = 2**31
NAMES_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """The model that is taken out. pubkey and name: of the member who earned it, else empty."""

    width_ppm: int
    pubkey: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A finished run, opened. shape: of one sample; model_P: the certified model, all of it."""

    run_dir: RunDir
    replay: Replay
    view: RunView
    task: TaskDocument
    recipe: Recipe
    shape: tuple[int, ...]
    class_count: int
    model_P: Tensor

    @property
    def state(self) -> RunState:
        """The folded log."""
        return self.replay.state

    def find_width(self, width_ppm: int) -> float:
        """Return a width of the task's grid as the recipe has it."""
        return self.recipe.widths[self.task.model.widths_ppm.index(width_ppm)]

    def read_holdouts(self) -> list[tuple[Tensor, Tensor]]:
        """Return the opened hold-outs, both parts of every validator's; [] where none was."""
        blobs = SealedBlobs(self.run_dir.blobs, {})
        parts = []
        for name in self.state.holdout_blobs:
            tensors = load_tensors(blobs.get(name, HOLDOUT_BYTES_MAX))
            parts += [(tensors["xa"], tensors["ya"]), (tensors["xb"], tensors["yb"])]
        return parts


def open_subject(root: Path) -> Subject:
    """Open a finished run.

    InputError for what is no run or not finished; RunFailedError for one that failed or was
    halted; VerificationError for a log that does not hold.
    """
    run_dir = RunDir(root)
    plan = run_dir.read_plan()
    if not run_dir.log.exists():
        raise StoreError(f"{run_dir.log} is missing: the folder is not complete")
    faults: list[str] = []
    replay = replay_log(run_dir, lambda where, what: faults.append(f"{where}: {what}"))
    state = replay.state
    if state.phase in (RunPhase.FAILED, RunPhase.HALTED):
        raise RunFailedError(f"the run is {state.phase}: it has no final model ({state.reason})")
    is_cut = len(faults) == 1 and faults[0].startswith("log: it ends")
    if is_cut or (not faults and state.phase is not RunPhase.FINISHED):
        fix = f"the run is not finished (it is {state.phase}): continue it first, with --resume"
        raise InputError("run directory", str(root), fix)
    if faults:
        raise VerificationError(f"{faults[0]}: run `kumiai verify {root}`")
    if state.certificates[-1].body["model"] != state.model:
        raise VerificationError("the last certificate names another model than the log ends with")
    assert state.task is not None
    _check_exportable(state.task, run_dir)
    recipe = load_run_recipe(plan, state.task)
    return Subject(
        run_dir=run_dir,
        replay=replay,
        view=load_view(root),
        task=state.task,
        recipe=recipe,
        shape=tuple(plan["shape"]["input"]),
        class_count=int(plan["shape"]["classes"]),
        model_P=_read_model(run_dir, state, recipe),
    )


def choose(subject: Subject, member: str | None, width: str | None, is_full: bool) -> Wanted:
    """Return which model is wanted; all of it where nothing is said. InputError says what there is.

    member: a name, or a key's first 8 digits or more. width: "0.5" or "50%".
    """
    given = [flag for flag, is_on in _flags(member, width, is_full) if is_on]
    if len(given) > 1:
        raise InputError(given[0], member or width or "on", f"not together with {given[1]}")
    if member is not None:
        return _choose_member(subject, member)
    if width is not None:
        return Wanted(_choose_width(subject, width))
    return Wanted(PPM)


def _flags(member: str | None, width: str | None, is_full: bool) -> list[tuple[str, bool]]:
    return [
        ("--member", member is not None),
        ("--width", width is not None),
        ("--full", is_full),
    ]


def _choose_member(subject: Subject, name: str) -> Wanted:
    members = subject.state.members.values()
    found = [m for m in members if name == m.name or (len(name) >= 8 and m.pubkey.startswith(name))]
    owners = [m.name for m in members if subject.state.widths_ppm.get(m.pubkey, 0)]
    listed = _list(owners) or "nobody"
    if not found:
        fix = f"nobody has this name or key; members with a model: {listed}"
        raise InputError("--member", name, fix)
    key = found[0].pubkey
    width_ppm = subject.state.widths_ppm.get(key, 0)
    if not width_ppm:
        fix = f"it earned no model (it is a {found[0].role}); members with a model: {listed}"
        raise InputError("--member", name, fix)
    return Wanted(width_ppm, key, found[0].name)


def _choose_width(subject: Subject, text: str) -> int:
    grid = subject.task.model.widths_ppm
    number, is_percent = (text[:-1], True) if text.endswith("%") else (text, False)
    try:
        width_ppm = Fraction(number.strip()) * PPM / (100 if is_percent else 1)
    except (ValueError, ZeroDivisionError):
        width_ppm = Fraction(0)
    if width_ppm not in grid:
        known = ", ".join(f"{width / PPM:g}" for width in grid)
        raise InputError("--width", text, f"the task's widths are {known}")
    return int(width_ppm)


def _list(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:NAMES_SHOWN_MAX])
    return shown + (", ..." if len(names) > NAMES_SHOWN_MAX else "")


def _check_exportable(task: TaskDocument, run_dir: RunDir) -> None:
    """Raise InputError for adapters: no network by themselves, and delivered already."""
    if task.model.recipe == LORA:
        fix = (
            f"adapters need their base: {run_dir.models}/MEMBER holds each in peft's own format, "
            "for PeftModel.from_pretrained(base, folder)"
        )
        raise InputError("model.recipe", LORA, fix)


def _read_model(run_dir: RunDir, state: RunState, recipe: Recipe) -> Tensor:
    size = compute_layout(build_seeded(recipe, 1.0, 0)).size
    blobs = SealedBlobs(run_dir.blobs, {})
    data = blobs.get(state.model, fixed_point.compute_size_bytes_max(size))
    try:
        return torch.from_numpy(
            fixed_point.dequantise(fixed_point.decode_vector("model", data, size))
        )
    except ValueError as error:
        fix = f"the recipe is not what the run trained, it builds another network ({error})"
        raise InputError("model.recipe", recipe.name, fix) from error
