"""A real nutshell mint for tests: on a free port of 127.0.0.1, in a fresh folder, ended by its pid.

::

    with run_mint(folder) as mint:       # skips with a reason where it is not installed
        CashuWallet(mint.url, key, path)

Its Lightning side is nutshell's FakeWallet: every invoice it makes counts as paid.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.services.ports import reserve_port

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-services" / "cashu"
START_SECONDS_MAX = 300.0
INPUT_FEE_PPK = 100  # nutshell's own default


@dataclass(frozen=True)
class Mint:
    """A running mint: its address, its folder and its process."""

    url: str
    folder: Path
    pid: int

    def run_wallet(self, name: str, *arguments: str) -> str:
        """Call nutshell's own wallet at this mint; return what it printed."""
        result = subprocess.run(
            [ENVIRONMENT / "bin" / "cashu", "--host", self.url, "--wallet", name, "--yes",
             *arguments],
            env=_make_environment(self.folder) | {"MINT_URL": self.url},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )  # fmt: skip
        assert result.returncode == 0, f"{arguments}: {result.stdout}{result.stderr}"
        return result.stdout


@contextmanager
def run_mint(
    folder: Path,
    *,
    input_fee_ppk: int = INPUT_FEE_PPK,
    key_number: int = 0,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Mint]:
    """Start a mint and wait until it answers; it is killed at the end.

    key_number: which of its keys are made and used; after `retire_keys` give another.
    settings: of nutshell, by their names in the environment.
    """
    program = ENVIRONMENT / "bin" / "mint"
    if not program.exists():
        pytest.skip("nutshell is not installed: run `make services`")
    folder.mkdir(parents=True, exist_ok=True)
    port = reserve_port()
    with (folder / "mint.log").open("w") as log:
        process = subprocess.Popen(
            [program, "--host", "127.0.0.1", "--port", str(port)],
            env=_make_environment(folder)
            | {
                "MINT_INPUT_FEE_PPK": str(input_fee_ppk),
                "MINT_DERIVATION_PATH": f"m/0'/0'/{key_number}'",
                **(settings or {}),
            },
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/v1/info", process, folder / "mint.log")
        yield Mint(f"http://127.0.0.1:{port}", folder, process.pid)
    finally:
        process.kill()
        process.wait()


def retire_keys(folder: Path) -> None:
    """Let a mint that is not running sign with its keys no more; what they signed stays good."""
    with closing(sqlite3.connect(folder / "mint" / "mint.sqlite3")) as connection:
        assert connection.execute("UPDATE keysets SET active = FALSE").rowcount
        connection.commit()


def _make_environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "CASHU_DIR": str(folder / "cashu"),
        "TOR": "FALSE",
        "DEBUG": "FALSE",
        "MINT_PRIVATE_KEY": "a key for tests",
        "MINT_DATABASE": str(folder / "mint"),
        "MINT_BACKEND_BOLT11_SAT": "FakeWallet",
        "MINT_RATE_LIMIT": "FALSE",
        "FAKEWALLET_BRR": "TRUE",
        "FAKEWALLET_DELAY_INCOMING_PAYMENT": "0",
        "FAKEWALLET_DELAY_OUTGOING_PAYMENT": "0",
    }


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=30):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.1)
    raise AssertionError(f"the mint does not answer: {log.read_text()[-2000:]}")
