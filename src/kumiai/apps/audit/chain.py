"""The chain's side of a run: what the contract holds and did is what the log says.

With the embedded chain the run's folder has the whole chain: it is executed again from its first
block, so that nothing in the file has to be believed, and then read. Of a node's chain only what
the node says can be read (`--rpc`); without one, that is noted.

Checked: the contract's code is the one that is shipped; each certificate was settled there with its
body's hash, root and amounts; every balance is what the recomputed ledger has; every transaction
that the run names is on the chain and cost what is said.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.abi import decode_log
from kumiai.adapters.evm.bindings.iarena.errors import ERRORS
from kumiai.adapters.evm.bindings.iarena.events import EVENTS, FinalSettled, RoundSettled
from kumiai.adapters.evm.books import Desk
from kumiai.adapters.evm.chain.chain import Options, open_chain
from kumiai.adapters.evm.chain.doors import EmbeddedTransport
from kumiai.adapters.evm.chain.replay import replay
from kumiai.adapters.evm.deployment import load_bytecode
from kumiai.adapters.evm.in_process import InProcessTransport
from kumiai.adapters.evm.node import LogFilter, Node
from kumiai.adapters.evm.transport import HttpTransport, Transport
from kumiai.apps.audit.checks import recompute_ledger
from kumiai.apps.audit.subject import Subject
from kumiai.apps.settled import compare_run_books, read_record, read_run_books
from kumiai.rounds.onchain import read_body
from kumiai.rounds.state import RunState

UNSETTLED = "the run ended early: its end is not settled on the chain"


def check_chain(subject: Subject, rpc: str | None = None) -> int:
    """Compare log and chain; return how many things were compared."""
    state, record = subject.replay.state, read_record(subject.run_dir.chain_record)
    assert state.chain is not None
    place = state.chain.place
    if (record["chain_id"], record["arena"]) != (place.chain_id, place.arena):
        subject.report.error("chain.json", "names another contract than the log")
        return 1
    if record["is_embedded"]:
        return _check_embedded(subject, record)
    if rpc is None:
        subject.report.note("chain", f"not asked: give a node of chain {place.chain_id} by --rpc")
        return 0

    return asyncio.run(_ask(subject, record, HttpTransport(rpc)))


def _check_embedded(subject: Subject, record: Mapping[str, Any]) -> int:
    """Execute a copy again, then ask it: the run's own file is not opened, as that writes."""
    with tempfile.TemporaryDirectory(prefix="kumiai-verify-") as folder:
        copy = Path(folder) / "chain.sqlite"
        shutil.copyfile(subject.run_dir.chain, copy)
        chain = open_chain(copy, None, Options(is_dev=True))
        try:
            blocks = replay(chain).blocks
            transport = InProcessTransport(EmbeddedTransport(chain))
            return blocks + asyncio.run(_ask(subject, record, transport))
        finally:
            chain.close()


async def _ask(
    subject: Subject, record: Mapping[str, Any], transport: HttpTransport | InProcessTransport
) -> int:
    try:
        return await _check_node(subject, record, transport)
    finally:
        await transport.close()


async def _check_node(subject: Subject, record: Mapping[str, Any], transport: Transport) -> int:
    state = subject.replay.state
    assert state.chain is not None
    node = Node(transport, state.chain.place.chain_id, errors=ERRORS)
    await _check_code(subject, record, node)
    count = await _check_settlements(subject, record, node)
    desk = Desk(record["arena"], record["token"], state.chain.task_key)
    books = await read_run_books(node, desk, state)
    for certificate in state.certificates:
        told = read_body(certificate.body, certificate.body_hash).certificate
        if books.roots[certificate.round].payments != told.payments:
            subject.report.error(
                f"chain, round {certificate.round}", "the contract has another root of payments"
            )
    if record.get("unsettled"):
        subject.report.note("chain", UNSETTLED)
        return count + len(books.roots)
    accounts = recompute_ledger(subject.replay).accounts()
    for difference in compare_run_books(books, accounts, state):
        subject.report.error("chain", difference)
    return count + len(books.roots) + len(books.stakes) + len(books.lent)


async def _check_code(subject: Subject, record: Mapping[str, Any], node: Node) -> None:
    """The contract was created by the code that is shipped, and lives where the log says."""
    made = await node.get_transaction(record["arena_transaction"])
    (receipt,) = await node.get_receipts([record["arena_transaction"]])
    if made is None or receipt is None or receipt.contract != record["arena"]:
        subject.report.error("chain, contract", "it was not created by the transaction named")
    elif not str(made.get("input", "")).startswith("0x" + load_bytecode("Arena").hex()):
        subject.report.error("chain, contract", "its code is not the one of this version of kumiai")


async def _check_settlements(subject: Subject, record: Mapping[str, Any], node: Node) -> int:
    """Every transaction of the record is there; every certificate was settled as it says."""
    state, report = subject.replay.state, subject.report
    rows = record.get("transactions", [])
    receipts = await node.get_receipts([row["hash"] for row in rows])
    for row, receipt in zip(rows, receipts, strict=True):
        where = f"chain, {row['sort']} {row['hash'][:12]}"
        if receipt is None or not receipt.is_success:
            report.error(where, "this transaction is not on the chain, or failed")
        elif (receipt.block, receipt.gas_used) != (row["block"], row["gas"]):
            report.error(where, "it is in another block, or cost other gas, than the run says")
    settled = await _read_settled(node, record, state)
    for certificate in state.certificates:
        told = read_body(certificate.body, certificate.body_hash).certificate
        found = settled.pop(certificate.round, None)
        expected = (told.is_final, told.body, told.submissions, told.payments, told.paid)
        if found != (*expected, None if told.is_final else told.locked):
            report.error(
                f"chain, round {certificate.round}",
                "it was not settled" if found is None else "settled otherwise than certified",
            )
    for index in settled:
        report.error(f"chain, round {index}", "settled there, but not certified in the log")
    return len(rows) + len(state.certificates)


async def _read_settled(
    node: Node, record: Mapping[str, Any], state: RunState
) -> dict[int, tuple[object, ...]]:
    """What the contract's events say of this task's rounds, by round."""
    assert state.chain is not None
    wanted = LogFilter((record["arena"],), (RoundSettled.TOPIC, FinalSettled.TOPIC))
    first = min((row["block"] for row in record.get("transactions", [])), default=0)
    logs = await node.get_logs(wanted, first, await node.get_block_number())
    found: dict[int, tuple[object, ...]] = {}
    for log in logs:
        event = decode_log(log, EVENTS)
        if not isinstance(event, RoundSettled | FinalSettled):
            continue
        if event.task != state.chain.task_key:
            continue
        is_final = isinstance(event, FinalSettled)
        locked = None if isinstance(event, FinalSettled) else event.locked
        said = (event.body, event.submissions, event.payments, event.paid)
        found[event.round] = (is_final, *said, locked)
    return found
