"""Contracts onto a chain: what is shipped in `artifacts/` is what is deployed, byte for byte."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files


@cache
def load_bytecode(name: str) -> bytes:
    """Return the code that creates the contract called `name`; KeyError if none is shipped."""
    path = files("kumiai.adapters.evm") / "artifacts" / f"{name}.json"
    if not path.is_file():
        raise KeyError(f"no contract named {name!r} is shipped")
    text = json.loads(path.read_text(encoding="utf-8"))["bytecode"]
    return bytes.fromhex(text.removeprefix("0x"))
