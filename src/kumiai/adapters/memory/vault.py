"""The vault in memory: the naive twin of a node's private memory."""

from __future__ import annotations

from collections.abc import Mapping

from kumiai.base.errors import StoreError


class MemoryVault:
    """VaultPort without a disk. The simulator keeps the object over a simulated crash."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def put(self, key: str, value: bytes, *, replace: bool = False) -> None:
        """Keep `value` under `key`; another value is refused unless `replace`."""
        self.put_many({key: value}, replace=replace)

    def put_many(self, items: Mapping[str, bytes], *, replace: bool = False) -> None:
        """Keep all of `items` or none; raises StoreError if one would overwrite another value."""
        check_items(items)
        if not replace:
            known = {key: self._values[key] for key in items if key in self._values}
            check_unchanged(known, items)
        self._values.update({key: bytes(value) for key, value in items.items()})

    def get(self, key: str) -> bytes | None:
        """Return what is kept under `key`, or None."""
        check_items({key: b""})
        return self._values.get(key)


def check_items(items: Mapping[str, bytes]) -> None:
    """Raise ValueError unless keys are non-empty text (UTF-8) and values are bytes."""
    for key, value in items.items():
        if not isinstance(key, str) or not key or "\x00" in key:
            raise ValueError(f"vault key {key!r} is not text")
        key.encode()  # a lone surrogate cannot be stored: UnicodeEncodeError is a ValueError
        if not isinstance(value, bytes):
            raise ValueError(f"vault value of {key!r} is {type(value).__name__}, not bytes")


def check_unchanged(known: Mapping[str, bytes], offered: Mapping[str, bytes]) -> None:
    """Raise StoreError if a value already kept differs from the one offered (no value is shown)."""
    for key, value in known.items():
        if offered[key] != value:
            raise StoreError(f"vault key {key!r} already holds another value")
