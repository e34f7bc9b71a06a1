"""A real LNbits server with its FakeWallet for tests: a free port, a fresh folder, ended by pid.

::

    def test_something(lnbits_server):  # tests/conftest.py: one for all; skips where not installed
        wallet = lnbits_server.create_wallet("alice", 100_000)   # its two keys, and so many satoshi

`make services` installs it. Its wheel looks for its pages in a folder `lnbits/` below the working
directory, so the folder gets a link there.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.services.ports import reserve_port

VENV = Path(__file__).resolve().parents[2] / ".venv-services" / "lnbits"
START_SECONDS_MAX = 300.0
END_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Keys:
    """The two keys of a wallet: with `invoice` one can ask and look, with `admin` also pay."""

    wallet_id: str
    invoice: str
    admin: str


class Lnbits:
    """A running server: `url`, `pid`, `create_wallet`; `stop` and `start` keep the wallets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        self.port = reserve_port()
        (folder / "lnbits").symlink_to(_find_package())
        self.start()
        self._install()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was ended"
        return self._process.pid

    def start(self) -> None:
        """Start it on its port and wait until it answers."""
        assert self._process is None, "it runs already"
        settings = {
            "LNBITS_DATA_FOLDER": str(self._folder / "data"),
            "LNBITS_EXTENSIONS_PATH": str(self._folder),
            "LNBITS_BACKEND_WALLET_CLASS": "FakeWallet",
            "LNBITS_ADMIN_UI": "true",
            "LNBITS_RATE_LIMIT_NO": "1000000",
            "LNBITS_ALLOW_NEW_ACCOUNTS": "true",
            "AUTH_SECRET_KEY": "only for tests",
        }
        (self._folder / "data").mkdir(exist_ok=True)
        command = [str(VENV / "bin" / "python"), "-m", "uvicorn", "lnbits.__main__:app"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]
        with (self._folder / "said.txt").open("ab") as said:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder), **settings},
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"LNbits did not start: {self._read_said()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the process; its folder stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def create_wallet(self, name: str, amount_sat: int = 0) -> Keys:
        """Make a wallet of the first user and put `amount_sat` into it."""
        made = self._ask("POST", "/api/v1/wallet", {"name": name})
        if amount_sat:
            self.top_up(made["id"], amount_sat)
        return Keys(made["id"], made["inkey"], made["adminkey"])

    def top_up(self, wallet_id: str, amount_sat: int) -> None:
        """Let the operator put money into a wallet, or take it out (negative)."""
        self._ask("PUT", "/users/api/v1/balance", {"id": wallet_id, "amount": amount_sat})

    def _install(self) -> None:
        """Make the first user, who owns the server, and keep its token."""
        password = secrets.token_hex(16)
        who = {"username": "owner", "password": password, "password_repeat": password}
        self._ask("PUT", "/api/v1/auth/first_install", who)
        self._token = self._ask("POST", "/api/v1/auth", who)["access_token"]

    def _ask(self, method: str, path: str, document: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(
            self.url + path, json.dumps(document).encode(), headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read()[:500]!r}") from error

    def _is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/health", timeout=30) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _read_said(self) -> str:
        return (self._folder / "said.txt").read_text(errors="replace")[-2000:]


@contextmanager
def run_lnbits(folder: Path) -> Iterator[Lnbits]:
    """Run a server in the empty `folder` as long as the block lasts; skip where none is there."""
    server = Lnbits(folder)
    try:
        yield server
    finally:
        server.stop()


def _find_package() -> Path:
    found = sorted(VENV.glob("lib/python*/site-packages/lnbits"))
    if not found or not (VENV / "bin" / "uvicorn").exists():
        pytest.skip("LNbits is not installed: run `make services`")
    return found[0]
