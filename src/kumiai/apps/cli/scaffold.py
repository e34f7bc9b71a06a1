"""`kumiai new`: a folder with a task, a small model and a real data set, ready to run and to edit;
`kumiai market new`: one with a job file.

The data are the rows of *palmerpenguins* (Horst, Hill and Gorman 2020, CC0) without gaps, with the
island and season of each as its owner.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from kumiai.base.errors import InputError, StoreError

FILES = ("task.toml", "recipe.py", "data.csv", "README.md")
JOB_FILES = ("job.toml",)
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLACE = "@NAME@"


def create(name: str, parent: Path, names: Sequence[str] = FILES) -> Path:
    """Make `parent/name` with these files.

    InputError if the name is unfit or taken, StoreError if it fails.
    """
    if not NAME_PATTERN.fullmatch(name):
        fix = "use letters, digits, '-', '_' and '.', starting with a letter or digit, at most 64"
        raise InputError("NAME", name, fix)
    folder = parent / name
    if folder.exists():
        raise InputError("NAME", name, f"{folder} is there already; nothing was changed")
    partial = parent / f".{name}.partial"
    source = files("kumiai.apps.cli") / "scaffold_files"
    try:
        partial.mkdir()
        for file in names:
            text = (source / file).read_text(encoding="utf-8").replace(PLACE, name)
            (partial / file).write_text(text, encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StoreError(f"cannot make {folder}: {error.strerror}", is_retriable=True) from error
    return folder


def explain(folder: Path) -> str:
    """What to type next."""
    name = folder.name
    return "\n".join(
        [
            f"Made {name}/ with {', '.join(FILES)}.",
            "",
            f"  cd {name}",
            "  kumiai run task.toml        a few seconds; ends with a table and a report",
            "  edit recipe.py              your model in build(width), your data in load()",
        ]
    )


def explain_job(folder: Path) -> str:
    """What to type next, each server in a terminal of its own."""
    name = folder.name
    return "\n".join(
        [
            f"Made {name}/ with {', '.join(JOB_FILES)}. Next, each in a terminal of its own:",
            "",
            "  kumiai relay                                          where jobs and offers pass",
            "  kumiai blobs                                          where data and models lie",
            "  kumiai wallet fund embedded:bank.sqlite#me 1000sat    play money",
            f"  kumiai market post {name}/job.toml --wallet embedded:bank.sqlite#me",
            "",
            "and for each provider, with a folder and a wallet of its own:",
            "",
            "  kumiai provider start --price 10 --folder one \\",
            "    --wallet embedded:bank.sqlite#one",
        ]
    )
