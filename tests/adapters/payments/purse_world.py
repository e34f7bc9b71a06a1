"""A purse at a mint that answers otherwise than it did, for the tests."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.adapters.payments.purse_contract import (
    fill,
)
from tests.services.lying_mint import LyingMint

from kumiai.adapters.payments.cashu.purse import CashuPurse
from kumiai.base.keys import derive_key
from kumiai.nodes.market.errors import WalletError


def run(
    url: str,
    folder: Path,
    check: Callable[[LyingMint, CashuPurse], Awaitable[None]],
    *,
    is_filled: bool = True,
    clock: Callable[[], float] = time.time,
) -> None:
    async def inside() -> None:
        async with LyingMint(url) as liar:
            key = derive_key(str(folder / "me").encode(), "ecash")
            purse = CashuPurse(liar.url, key, folder / "me", clock=clock)
            if is_filled:
                await fill(purse)
            await check(liar, purse)
            await purse.close()

    asyncio.run(inside())


def change(**fields: object) -> Callable[[int, bytes], tuple[int, bytes]]:
    """An alteration that sets these fields of the mint's answer."""

    def alteration(status: int, body: bytes) -> tuple[int, bytes]:
        return status, json.dumps(json.loads(body) | fields).encode()

    return alteration


async def refuse_for_now(call: Awaitable[object], *codes: str) -> None:
    with pytest.raises(WalletError) as caught:
        await call
    assert caught.value.is_retriable and caught.value.code in codes, caught.value
