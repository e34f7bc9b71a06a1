"""Doors at which anybody may hand in bytes: each has seeds and a `knock` that judges one input.

`knock` returns for what the door takes and for what it refuses as documented; whatever else it
raises is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Door:
    """seeds: inputs of every kind that the door takes."""

    name: str
    seeds: tuple[bytes, ...]
    knock: Callable[[bytes], None]
