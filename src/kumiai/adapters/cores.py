"""How many cores this process may use: in a container, fewer than the machine has."""

from __future__ import annotations

import os


def count_cores() -> int:
    """Return the cores of this process's affinity where the system tells them, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
