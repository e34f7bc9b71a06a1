"""Network namespaces joined by a bridge: lines that a test cuts and heals, for real processes.

The hub, a namespace of its own, holds two bridges; `cut` puts some places on the second one, where
the others' frames do not come. The machine's own network is not touched; `remove` takes all away,
and with the namespaces everything in them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
PREFIX = "10.77.0"
HUB_HOST, OTHER_HOST = 254, 253


def find_obstacle() -> str:
    """Return why there can be no namespaces here, "" if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    name = f"kumiai-probe-{os.getpid()}"
    try:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "add", "probe", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"the system allows no namespaces or bridges: {error.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def enter(name: str) -> None:
    """Move the calling thread into a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{name}").open("rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {name}")


def run_inside(name: str, work: Callable[[], Any]) -> Any:
    """Do work in a thread of its own within a namespace."""
    with ThreadPoolExecutor(1, initializer=enter, initargs=(name,)) as pool:
        return pool.submit(work).result()


class Net:
    """`size` places, each a namespace with one line to the hub."""

    def __init__(self, size: int) -> None:
        self._tag = f"kumiai-{os.getpid()}"
        self.hub = f"{self._tag}-hub"
        self.names = [f"{self._tag}-{i}" for i in range(size)]

    def build(self) -> None:
        """Make everything; `remove` must follow, also where this fails."""
        for name in (self.hub, *self.names):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for bridge, host in (("one", HUB_HOST), ("two", OTHER_HOST)):
            self._at_hub("link", "add", bridge, "type", "bridge")
            self._at_hub("addr", "add", f"{PREFIX}.{host}/32", "dev", bridge)
            self._at_hub("link", "set", bridge, "up")
        for index, name in enumerate(self.names):
            pair = (f"line{index}", "type", "veth", "peer", "name", "eth0", "netns", name)
            self._at_hub("link", "add", *pair)
            run("ip", "-n", name, "addr", "add", f"{self.get_host(index)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            self._at_hub("link", "set", f"line{index}", "up")
        self.heal()

    def get_host(self, index: int) -> str:
        return f"{PREFIX}.{index + 1}"

    def cut(self, side: Iterable[int]) -> None:
        """Let these hear each other alone, the rest also; who asks from the hub reaches all."""
        for index in side:
            self._attach(index, "two")

    def unplug(self, index: int) -> None:
        """Take one line down."""
        self._at_hub("link", "set", f"line{index}", "down")

    def heal(self) -> None:
        """All lines up, all on one bridge."""
        for index in range(len(self.names)):
            self._attach(index, "one")
            self._at_hub("link", "set", f"line{index}", "up")

    def delay(self, index: int, ms: int) -> None:
        """Delay what leaves a place; raises CalledProcessError where the kernel has no netem."""
        at = ("tc", "-n", self.names[index], "qdisc", "replace", "dev", "eth0", "root")
        run(*at, "netem", "delay", f"{ms}ms", f"{ms // 2}ms")

    def remove(self) -> None:
        """Take away all namespaces, and with them their lines."""
        for name in (*self.names, self.hub):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _attach(self, index: int, bridge: str) -> None:
        source = f"{PREFIX}.{HUB_HOST if bridge == 'one' else OTHER_HOST}"
        self._at_hub("link", "set", f"line{index}", "master", bridge)
        route = (f"{self.get_host(index)}/32", "dev", bridge, "src", source)
        self._at_hub("route", "replace", *route)

    def _at_hub(self, *words: str) -> None:
        run("ip", "-n", self.hub, *words)
