"""`kumiai chain serve`: the embedded chain over HTTP and WebSocket on this machine."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.text import Text

from kumiai.adapters.evm.accounts import Account, encode_checksum, parse_address
from kumiai.adapters.evm.chain.chain import EmbeddedChain, Options, open_chain
from kumiai.adapters.evm.chain.engine import GenesisAccount
from kumiai.adapters.evm.chain.genesis import CHAIN_ID, Genesis
from kumiai.adapters.evm.chain.server import serve as serve_chain
from kumiai.apps.chain.developers import DEV_COIN, DEV_SECRETS
from kumiai.apps.chain.reading import read_amount
from kumiai.apps.cli.entry import get_language
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.errors import InputError

HOST = "127.0.0.1"


def serve(
    port: int, file: Path, chain_id: int | None, fund: Sequence[str], dev: bool, lang: str | None
) -> None:
    """Serve until SIGINT or SIGTERM; then everything is in the file."""
    texts = load_texts(cast(Language, get_language(lang)))
    console = Console(highlight=False)
    is_new = not file.exists()
    if not is_new and fund:
        raise InputError("--fund", fund[0], f"{file} began already: only a new chain is funded")
    genesis = _make_genesis(chain_id or CHAIN_ID, fund) if is_new else None
    chain = open_chain(file, genesis, Options(is_dev=dev))
    try:
        if chain_id is not None and chain.genesis.chain_id != chain_id:
            fix = f"{file} is of chain {chain.genesis.chain_id}: leave it out, or name another file"
            raise InputError("--chain-id", chain_id, fix)
        asyncio.run(_serve(chain, port, console, texts, file, is_new=is_new))
    finally:
        chain.close()
    console.print(Text(texts.text("chain.served", path=str(file))), soft_wrap=True)


async def _serve(
    chain: EmbeddedChain, port: int, console: Console, texts: Texts, file: Path, *, is_new: bool
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, ended.set)
    server = await serve_chain(chain, HOST, port)
    places: dict[str, object] = {
        "url": server.url, "id": chain.genesis.chain_id, "path": str(file),
        "block": f"{chain.head.number:,}", "dev": encode_checksum(Account(DEV_SECRETS[0]).address),
        "coin": f"{DEV_COIN:,}",
    }  # fmt: skip
    lines = ["chain.serving", "chain.begun" if is_new else "chain.goes_on", "chain.dev_account",
             "chain.how_to_end"]  # fmt: skip
    for line in lines:
        style = "bold" if line == "chain.serving" else ""
        console.print(Text(texts.text(line, **places), style), soft_wrap=True)
    try:
        await ended.wait()
    finally:
        await server.close()


def _make_genesis(chain_id: int, fund: Sequence[str]) -> Genesis:
    """A new chain: the developers' public accounts, and whom the user named."""
    wei = {Account(secret).address: DEV_COIN * 10**18 for secret in DEV_SECRETS}
    for item in fund:
        address, equals, amount = item.partition("=")
        if not equals:
            raise InputError("--fund", item, "write ADDRESS=AMOUNT, as 0x...=5ether")
        wei[parse_address("--fund", address)] = read_amount("--fund", amount)
    accounts = {bytes.fromhex(a[2:]): GenesisAccount(balance) for a, balance in wei.items()}
    return Genesis(chain_id=chain_id, accounts=accounts, timestamp=int(time.time()))
