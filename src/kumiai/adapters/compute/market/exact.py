"""One piece of the market's numeric work at a time, with the switches that make it repeatable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kumiai.adapters.compute.determinism import reproducible

_TURN = threading.RLock()  # the switches are the process's: two pieces of work would undo them


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Hold the process's turn, on one thread, deterministic: the same order, the same bytes."""
    with _TURN, reproducible(device):
        yield
