"""A market of real processes for tests: relays, a blob server, providers, a customer, one bank.

What runs is a process of its own, started through the command line as its users do; its output goes
to a file. What only looks is called in the test's process.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from kumiai.apps.cli import main

PATIENCE_S = 300  # for anything to happen before a test gives up
LOOK_S = 0.02
JOB = """
name = "{name}"
seed = 1
[model]
recipe = "mlp"
[data]
source = "digits"
trainers = {trainers}
[training]
rounds = {rounds}
local_epochs = {epochs}
batch_size = 32
[market]
bid_sat = 20
budget_sat = 200
offers_s = {offers_s}
offers_enough = {trainers}
train_s = 240
automatic = {automatic}
min_gain_ppm = -1000000000  # all that is whole is taken: who was paid must not depend on luck
peer_margin_ppm = 1000000000
"""


def _hear_interrupts() -> None:
    """A suite that runs in the background hands down that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Town:
    """Starts and stops processes in one folder; `close` ends what still runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *words: str) -> None:
        """Run `kumiai words...` in the background; its output is in `name`.log, from now on."""
        command = [sys.executable, "-m", "kumiai", *words]
        with (self.root / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=self.root,
                stdout=log,
                stderr=log,
                env=make_environment(),
                preexec_fn=_hear_interrupts,  # noqa: PLW1509 - nothing else runs in the child yet
            )

    def run(self, *words: str, code: int = 0) -> str:
        """Run `kumiai words...` to its end in this process; return what it said, if all went well
        on its standard output alone.
        """
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.root),
            mock.patch.dict(os.environ, make_environment(), clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            ended = main(list(words))
        assert ended == code, out.getvalue() + err.getvalue()
        return out.getvalue() if code == 0 else out.getvalue() + err.getvalue()

    def read(self, name: str) -> str:
        """What a background process has said so far."""
        return (self.root / f"{name}.log").read_text(encoding="utf-8")

    def wait(self, name: str, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until a background process has said it so often; it must not end before."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            has_ended = self.running[name].poll() is not None
            found = list(re.finditer(pattern, self.read(name)))
            if len(found) >= count:
                return found[count - 1]
            assert not has_ended, self.read(name)
            time.sleep(LOOK_S)
        raise AssertionError(f"{name} never said {pattern!r}:\n{self.read(name)}")

    def wait_end(self, name: str, code: int = 0) -> str:
        """Wait until a background process ends, with this code; return what it said."""
        assert self.running.pop(name).wait(PATIENCE_S) == code, self.read(name)
        return self.read(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a background process a signal, and wait for its end."""
        process = self.running.pop(name)
        process.send_signal(number)
        process.wait(PATIENCE_S)

    def close(self) -> None:
        for name in list(self.running):
            self.kill(name)

    def start_relay(self, name: str, port: str = "0", *words: str) -> str:
        """Start a relay; return its URL."""
        self.start(name, "relay", "--port", port, *words)
        return self.wait(name, r"relay at (ws://\S+)")[1]

    def start_blobs(self, name: str, port: str = "0") -> str:
        """Start a blob server that keeps its blobs over restarts; return its URL."""
        self.start(name, "blobs", "--port", port, "--folder", "server")
        return self.wait(name, r"blob server at (http://\S+)")[1]

    def start_provider(self, name: str, price: int, places: Sequence[str]) -> None:
        """Start a provider in its own folder, or start it again."""
        words = ["provider", "start", "--folder", name]
        if not (self.root / name).exists():
            words += ["--price", str(price), "--name", name]
            words += ["--wallet", f"embedded:bank.sqlite#{name}", *places]
        self.start(name, *words)
        self.wait(name, "Ctrl-C")

    def post(self, name: str, places: Sequence[str], *words: str, **options: Any) -> None:
        """Write a job file and post it in the background, as a process of the job's name."""
        settings = {"trainers": 2, "rounds": 2, "epochs": 1, "offers_s": 120, "automatic": "true"}
        train_s = options.pop("train_s", 240)
        settings |= options
        text = JOB.format(name=name, **settings).replace("train_s = 240", f"train_s = {train_s}")
        (self.root / f"{name}.toml").write_text(text)
        wallet = ("--wallet", "embedded:bank.sqlite#customer")
        self.start(name, "market", "post", f"{name}.toml", *wallet, *places, *words)

    def get_status(self, job: str) -> dict[str, Any]:
        """What `kumiai market status --json` says of a job."""
        return json.loads(self.run("market", "status", f"jobs/{job}", "--json"))

    def get_msat(self, member: str) -> int:
        """What a member can spend by its own wallet's word; nothing may be locked."""
        said = json.loads(self.run("wallet", "balance", f"embedded:bank.sqlite#{member}", "--json"))
        assert said["held_msat"] == 0
        return int(said["spendable_msat"])

    def check_books(self, folder: str) -> dict[str, Any]:
        """Reconcile a member's intents with its wallet; exit code 3 would be no 0."""
        return json.loads(self.run("wallet", "reconcile", "--folder", folder, "--json"))


def make_environment() -> dict[str, str]:
    """The tests' environment, in English, without settings of whoever runs them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUMIAI_")}
    return {**kept, "KUMIAI_LANG": "en", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def get_port(url: str) -> str:
    """The port of a URL."""
    return url.rsplit(":", 1)[1].rstrip("/")
