"""File names made of members' names."""

from __future__ import annotations

import re


def slug(name: str, pubkey: str) -> str:
    """A file name that any file system takes and that no two members share."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
    return f"{plain or 'member'}-{pubkey[:8]}"
