"""Sending what was planned, through the outbox: written down first, never twice.

The outbox's file stands beside the keystore and belongs to one account on one chain. A command that
is interrupted leaves there what it had begun; the next command of the same account finishes it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.evm.accounts import Account
from kumiai.adapters.evm.errors import ChainError, RevertedError
from kumiai.adapters.evm.fees import FeePolicy
from kumiai.adapters.evm.outbox import Outbox
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Request
from kumiai.adapters.evm.shapes import Receipt
from kumiai.apps.chain.actions import Action
from kumiai.apps.chain.place import Session
from kumiai.base.errors import StoreError

POLL_SECONDS = 0.2
TROUBLE_SECONDS = 2.0
GENESIS_DIGITS = 8

OnTrouble = Callable[[ChainError], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that is in a block; wei."""

    action: Action
    hash: str
    block: int
    gas_used: int
    fee: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Failed:
    """One that the contract refused after all."""

    action: Action
    error: RevertedError


async def find_outbox(session: Session, keystore: Path) -> Path:
    """Return the file's path: it says the chain, and which of those with this id (its genesis)."""
    genesis = await session.node.get_header(0)
    mark = genesis.hash[2 : 2 + GENESIS_DIGITS] if genesis is not None else "0" * GENESIS_DIGITS
    return keystore.with_name(f"{keystore.name}.{session.chain_id}-{mark}.outbox")


async def send_all(
    session: Session,
    account: Account,
    path: Path,
    actions: Sequence[Action],
    fees: FeePolicy,
    confirmations: int,
    on_trouble: OnTrouble,
) -> list[Sent | Failed]:
    """Send the actions in their order and wait until each is confirmed; say what became of each.

    Raises ChainError where the chain cannot go on, StoreError where the outbox is in use.
    """
    policy = OutboxPolicy(confirmations=confirmations, poll_seconds=POLL_SECONDS, fees=fees)
    try:
        outbox = Outbox(path, session.node, [account], policy)
    except StoreError as error:
        text = f"{error}. Another command of this account may be running: wait for it to end"
        raise StoreError(text, is_retriable=True) from error
    mark = secrets.token_hex(8)
    keys = [action.key or f"{mark}/{index}" for index, action in enumerate(actions)]
    loop = None
    try:
        requests = [
            Request(key, action.to, action.data, action.value)
            for key, action in zip(keys, actions, strict=True)
        ]
        outbox.submit(account.address, requests)
        loop = asyncio.create_task(outbox.run())
        watch = asyncio.create_task(_watch(outbox, account.address, on_trouble))
        try:
            done: list[Sent | Failed] = []
            for key, action in zip(keys, actions, strict=True):
                done.append(await _wait(session, outbox, key, action))
            return done
        finally:
            watch.cancel()
    finally:
        if loop is not None:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
        outbox.close()


async def _wait(session: Session, outbox: Outbox, key: str, action: Action) -> Sent | Failed:
    try:
        outcome = await outbox.wait(key)
    except RevertedError as error:
        return Failed(action, error)
    assert outcome.hash is not None
    (receipt,) = await session.node.get_receipts([outcome.hash])
    if receipt is None:
        raise StoreError(f"the receipt of {outcome.hash} vanished: run the command again")
    return Sent(action, outcome.hash, receipt.block, receipt.gas_used, receipt.fee, receipt)


async def _watch(outbox: Outbox, sender: str, on_trouble: OnTrouble) -> None:
    """Tell what holds the queue, once each."""
    told = ""
    while True:
        await asyncio.sleep(TROUBLE_SECONDS)
        trouble = outbox.get_trouble(sender)
        if trouble is not None and str(trouble) != told:
            told = str(trouble)
            on_trouble(trouble)
