"""A member's folder: secrets are whole or not there, and nobody else's to read."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kumiai.apps.market.folder import MarketFolder
from kumiai.base.errors import InputError, StoreError


@contextmanager
def full_disk() -> Iterator[None]:
    """No byte can be written to a file of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_key_that_could_not_be_written_is_not_there(tmp_path: Path) -> None:
    folder = MarketFolder(tmp_path / "member")
    with full_disk(), pytest.raises(StoreError):
        folder.create()
    assert sorted(path.name for path in folder.root.iterdir()) == ["commands"]
    folder.create()
    key = folder.read_key()
    folder.create()  # nobody lives there yet: the key stays
    assert folder.read_key() == key
    assert stat.S_IMODE(folder.key_path.stat().st_mode) == 0o600


def test_a_plan_that_could_not_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    folder = MarketFolder(tmp_path)
    folder.write_plan("provider", {"places": 1})
    with full_disk(), pytest.raises(StoreError):
        folder.write_plan("provider", {"places": 2})
    assert folder.read_plan("provider")["places"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert stat.S_IMODE(folder.plan_path.stat().st_mode) == 0o600


@pytest.mark.parametrize("data", [b"", b"z" * 64 + b"\n" + b"z" * 64, b"\xff" * 40, b"ab\ncd\n"])
def test_a_key_file_that_is_none_is_said(tmp_path: Path, data: bytes) -> None:
    folder = MarketFolder(tmp_path)
    folder.key_path.write_bytes(data)
    with pytest.raises(InputError, match="two secrets"):
        folder.read_key()
