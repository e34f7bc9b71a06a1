"""What the market's commands need beside Kumiai itself: the packages of its extra `market`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from kumiai.base.errors import InputError

PACKAGES: Final = ("aiohttp", "bolt11", "granian", "nostr_sdk", "starlette")


def need_extra() -> None:
    """InputError, which says how to install them, unless all are there."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        fix = f"{', '.join(missing)} not installed: pip install 'kumiai[market]'"
        raise InputError("kumiai[market]", "missing", fix)
