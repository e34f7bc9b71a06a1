"""`export_run`: take one model out of a finished run, whole or not at all, and never over another.

::

    model.safetensors   the tensors of the exported width alone, with where they are from
    model.py            the network in plain PyTorch, and `load_model`
    recipe.py           the task's own recipe file, where it has one
    README.md           the model card, with a hub's front matter; README.ja.md: in Japanese
    model.onnx          with --onnx
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kumiai.apps.export import graph
from kumiai.apps.export.card import write_card
from kumiai.apps.export.facts import Facts, gather_facts
from kumiai.apps.export.network import check_network, write_network
from kumiai.apps.export.subject import Subject, Wanted, choose, open_subject
from kumiai.apps.report.texts import LANGUAGES, load_texts
from kumiai.apps.slugs import slug
from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError, StoreError
from kumiai.learning.slim import extract_width

EXPORTS = Path("exports")
SAMPLES_CHECKED = 3
CARDS = {"en": "README.md", "ja": "README.ja.md"}


@dataclass(frozen=True, slots=True)
class Export:
    """What was written. member: whose model it is, "" for a width of the run's. files: names."""

    folder: Path
    member: str
    width_ppm: int
    files: tuple[str, ...]


def export_run(
    run_dir: Path,
    *,
    member: str | None = None,
    width: str | None = None,
    is_full: bool = False,
    out: Path | None = None,
    onnx: bool = False,
) -> Export:
    """Write the model of `member`, of `width`, or all of it (default) into a new folder.

    out: default `exports/<run>-<who>`. InputError: unknown member or width, one that earned no
    model, an unfinished run, a folder that is taken, a recipe that does not work alone (or, with
    onnx, as a graph). StoreError: a damaged run, or a disk that refuses.
    """
    torch.set_num_threads(1)
    if onnx:
        graph.require_onnx()
    subject = open_subject(run_dir)
    wanted = choose(subject, member, width, is_full)
    target = out if out is not None else EXPORTS / f"{run_dir.resolve().name}-{_label(wanted)}"
    _check_target(target, run_dir)
    facts = gather_facts(subject, wanted)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".kumiai-export-") as place:
            folder = Path(place) / "model"
            folder.mkdir()
            _write_files(folder, subject, facts, onnx)
            if target.exists():
                target.rmdir()  # an empty one: checked above
            os.replace(folder, target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}") from error
    files = tuple(sorted(path.name for path in target.iterdir()))
    return Export(target, wanted.name, wanted.width_ppm, files)


def _write_files(folder: Path, subject: Subject, facts: Facts, has_onnx: bool) -> None:
    wanted = facts.wanted
    width = subject.find_width(wanted.width_ppm)
    tensors = extract_width(subject.recipe, subject.model_P, width)
    inputs = _take_samples(subject)
    title = f"{facts.task.name}: {wanted.name or 'a model'}, width {wanted.width_ppm / PPM:g}"
    write_network(folder, subject.recipe, width, tensors, _list_metadata(facts), title)
    check_network(folder, subject.recipe, width, inputs)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    if has_onnx:
        graph.write_graph(folder, subject.recipe, width, tensors, inputs)
    for language in LANGUAGES:
        card = write_card(facts, load_texts(language), has_onnx)
        (folder / CARDS[language]).write_text(card, encoding="utf-8")


def _list_metadata(facts: Facts) -> dict[str, str]:
    """What the tensors' file says about itself."""
    return {
        "task": facts.task_id,
        "recipe": facts.task.model.recipe,
        "width_ppm": str(facts.wanted.width_ppm),
        "member": facts.wanted.pubkey,
        "certificate": facts.certificate,
        "receipt": facts.receipt,
    }


def _take_samples(subject: Subject) -> Tensor:
    """A few samples to compare outputs with: of the opened hold-outs, else zeros."""
    parts = subject.read_holdouts()
    if parts:
        return torch.cat([x for x, _ in parts])[:SAMPLES_CHECKED].clone()
    return torch.zeros(SAMPLES_CHECKED, *subject.shape)


def _label(wanted: Wanted) -> str:
    if wanted.name:
        return slug(wanted.name, wanted.pubkey)
    return "full" if wanted.width_ppm == PPM else f"width-{wanted.width_ppm / PPM:g}"


def _check_target(target: Path, run_dir: Path) -> None:
    """The folder must be new or empty, and outside the run's: that one is sealed."""
    if target.resolve().is_relative_to(run_dir.resolve()):
        raise InputError("--out", str(target), "the run's folder is sealed: choose one outside it")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("--out", str(target), "it is there already: choose another folder")
