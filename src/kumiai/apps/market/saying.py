"""What other terminals say to a running node: one small file a command, taken in order of names.

A command that is said while no node runs waits in the folder until one does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kumiai.base.errors import InputError, StoreError
from kumiai.nodes.market.record import decode_value, encode_value

COMMAND_BYTES_MAX = 64 * 1024


def leave_command(folder: Path, command: object) -> None:
    """Leave a command for the node of this folder, all or nothing."""
    document = {"type": type(command).__name__, "value": encode_value(command)}
    name = f"{time.time_ns():020d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}"
        partial.write_text(json.dumps(document), encoding="utf-8")
        partial.rename(folder / f"{name}.json")
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}", is_retriable=True) from error


def take_commands(folder: Path, known: Iterable[type]) -> list[tuple[Path, Any]]:
    """Return what was left, oldest first; the caller deletes a file when its command is done.

    A file that is no command is put aside under the name *.bad.
    """
    classes = {wanted.__name__: wanted for wanted in known}
    found: list[tuple[Path, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            if path.stat().st_size > COMMAND_BYTES_MAX:
                raise ValueError("too long")
            document = json.loads(path.read_text(encoding="utf-8"))
            found.append((path, decode_value(classes[document["type"]], document["value"])))
        except (ValueError, KeyError, TypeError, InputError):
            path.rename(path.with_suffix(".bad"))
    return found
