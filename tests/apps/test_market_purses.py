"""A member's money is let go whatever happens while it is opened or used."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kumiai.apps.market import purses
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import Places
from kumiai.base.errors import InputError


class Wallet:
    def __init__(self) -> None:
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("ecash", "fault"),
    [("", RuntimeError), ("embedded:{}", RuntimeError), ("gold:bar", InputError)],
)
def test_the_wallet_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ecash: str, fault: type[Exception]
) -> None:
    wallet = Wallet()

    async def open_wallet(*_: Any, **__: Any) -> Wallet:
        return wallet

    monkeypatch.setattr(purses, "open_wallet", open_wallet)
    folder = MarketFolder(tmp_path / "member")
    folder.create()
    places = Places((), (), "embedded:x#y", ecash=ecash.format(tmp_path / "ecash.sqlite"))

    async def use() -> None:
        async with purses.open_purses(places, folder, {}) as (opened, _):
            assert opened is wallet and not wallet.is_closed
            raise RuntimeError("while it is used")

    with pytest.raises(fault):
        asyncio.run(use())
    assert wallet.is_closed
