"""Two real Lightning nodes for tests (LDK in WASM, a made-up chain), in a process of their own.

::

    with run_ldk() as url:               # skips with a reason where it is not installed
        LdkWallet(url, "customer"), LdkWallet(url, "provider")
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "ldk"


@contextmanager
def run_ldk() -> Iterator[str]:
    """Start the nodes with a channel between them; yield their address; they are killed after."""
    if shutil.which("node") is None or not (FOLDER / "node_modules" / "lightningdevkit").is_dir():
        pytest.skip("LDK is not installed: run `make services` (needs npm)")
    process = subprocess.Popen(
        ["node", FOLDER / "node.mjs"],
        cwd=FOLDER,
        stdin=subprocess.PIPE,  # closed with us: the nodes end even if we are killed
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:  # the library greets first
            if line.startswith("{"):
                yield f"http://127.0.0.1:{json.loads(line)['port']}"
                return
        raise AssertionError("the nodes ended before they were ready")
    finally:
        process.kill()
        process.communicate()
