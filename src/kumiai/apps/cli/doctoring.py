"""`kumiai doctor`: what class this machine is of, and whether another is of the same one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from rich import box
from rich.console import Console
from rich.table import Table

from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.terminal import clean, safe
from kumiai.apps.report.texts import Language, load_texts
from kumiai.base import canonical
from kumiai.base.errors import InputError

MANIFEST_BYTES_MAX = 64 * 1024


def doctor(save: Path | None, compare: Path | None, lang: str | None) -> None:
    """Show the machine's manifest; InputError for a file that is there already or is none."""
    texts = load_texts(cast(Language, get_language(lang)))
    theirs = None if compare is None else _read(compare)
    if save is not None and save.exists():
        raise InputError("--save", str(save), "there is such a file already: name a new one")
    from kumiai.adapters.compute.determinism import describe_machine, list_differences

    found = describe_machine()
    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.title = texts.text("doctor.title")
    table.add_column()
    table.add_column(overflow="fold")  # a digest is of use only whole
    for key in ("doctor.class", "doctor.calibration", "doctor.device"):
        table.add_row(texts.text(key), str(found[key.removeprefix("doctor.")]))
    for part in ("build", "processor", "switches"):
        entries = found[part]
        assert isinstance(entries, dict)
        for name, value in entries.items():
            table.add_row(safe(f"{part}.{name}"), safe(str(value)))
    console.print(table)
    if save is not None:
        _write(save, found)
        console.print(safe(texts.text("doctor.saved", path=clean(str(save)))))
    if theirs is None:
        return
    differences = list_differences(found, theirs)
    key = "doctor.other" if differences else "doctor.same"
    shown = ", ".join(differences)
    console.print(safe(texts.text(key, path=clean(str(compare)), differences=clean(shown))))


def _write(path: Path, manifest: dict[str, object]) -> None:
    try:
        path.write_bytes(canonical.encode_checked(manifest) + b"\n")
    except OSError as error:
        fix = f"cannot be written: {error.strerror}: name another file"
        raise InputError("--save", str(path), fix) from error


def _read(path: Path) -> dict[str, object]:
    from kumiai.adapters.compute.determinism import check_manifest

    try:
        with path.open("rb") as file:
            data = file.read(MANIFEST_BYTES_MAX + 1)
        if len(data) > MANIFEST_BYTES_MAX:
            raise ValueError(f"it is bigger than {MANIFEST_BYTES_MAX} bytes")
        return check_manifest(json.loads(data))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        problem = "it is not JSON"
    except ValueError as error:
        problem = str(error)
    fix = f"{problem}: give a file that `kumiai doctor --determinism --save` wrote"
    raise InputError("--compare", str(path), fix)
