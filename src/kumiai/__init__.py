"""Kumiai: train one AI model together, with every contribution proven, scored and paid.

>>> import kumiai
>>> run = kumiai.run("task.toml")          # doctest: +SKIP
>>> run.members, run.receipts, run.records("rounds")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kumiai.apps.export import Export
    from kumiai.apps.view import RunView
    from kumiai.tasks.document import TaskDocument

__version__ = "0.1.0"
__all__ = ["__version__", "export", "load", "run"]


def run(
    task: str | Path | TaskDocument,
    out: str | Path | None = None,
    overrides: Mapping[str, str] | None = None,
    resume: bool = False,
    progress: Callable[[Any], None] | None = None,
    alone: bool = False,
) -> RunView:
    """Run a task (the path of a task.toml, or a `TaskDocument`) with local members.

    out: the run's folder, default `runs/<task name>`. alone: members also train alone after the
    end, and compare with what they received. Returns the finished run as plain objects: `members`,
    `rounds` (also as `history`), `receipts`, `records(name)` for pandas.
    """
    from kumiai.apps import wiring

    tell = progress or (lambda event: None)
    if isinstance(task, str | Path):
        document = wiring.read_task(Path(task), overrides or {})
        base_dir = Path(task).parent.resolve()
    else:
        document, base_dir = task, Path.cwd()
    target = Path(out) if out is not None else Path("runs") / document.name
    return wiring.run_local(
        document,
        wiring.cast_locally(document),
        target,
        tell,
        resume=resume,
        base_dir=base_dir,
        is_compared=alone,
    )


def load(run_dir: str | Path) -> RunView:
    """Return the view of a finished run's folder."""
    from kumiai.apps.view import load_view

    return load_view(Path(run_dir))


def export(
    run_dir: str | Path,
    member: str | None = None,
    width: float | str | None = None,
    full: bool = False,
    out: str | Path | None = None,
    onnx: bool = False,
) -> Export:
    """Take a model out of a finished run's folder, as files that need PyTorch alone.

    member: whose model (a name or a key); width: one of the task's, such as 0.5; neither: all of
    it. out: a new folder, default in `exports/`. Returns its `folder` and the names of its `files`.
    """
    from kumiai.apps.export import export_run

    return export_run(
        Path(run_dir),
        member=member,
        width=None if width is None else str(width),
        is_full=full,
        out=None if out is None else Path(out),
        onnx=onnx,
    )
