"""The chain's side of a run: what the contract holds and did is what the log says.

With the embedded chain the run's folder has the whole chain: it is executed again from its first
block into a file of its own, and that one is read, so that nothing in the folder's has to be
believed. Of a node's chain only what the node says can be read (`--rpc`); without one, that is
noted.

Checked: arena and token were made by the code that is shipped; the task's terms there are the
document's; each certificate was settled there with its body's hash, root and amounts; every balance
is what the recomputed ledger has; every transaction that the run names is on the chain and cost
what is said.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.abi import decode_log
from kumiai.adapters.evm.bindings.iarena import calls as arena
from kumiai.adapters.evm.bindings.iarena.errors import ERRORS
from kumiai.adapters.evm.bindings.iarena.events import EVENTS, FinalSettled, RoundSettled
from kumiai.adapters.evm.bindings.iarena.structs import Terms
from kumiai.adapters.evm.books import Desk
from kumiai.adapters.evm.chain.chain import Options
from kumiai.adapters.evm.chain.doors import EmbeddedTransport
from kumiai.adapters.evm.chain.replay import rebuild
from kumiai.adapters.evm.deployment import load_bytecode
from kumiai.adapters.evm.in_process import InProcessTransport
from kumiai.adapters.evm.node import LogFilter, Node
from kumiai.adapters.evm.transport import HttpTransport, Transport
from kumiai.apps.audit.checks import recompute_ledger
from kumiai.apps.audit.subject import Subject
from kumiai.apps.settled import compare_run_books, make_terms, read_record, read_run_books
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
    if record["is_embedded"] != subject.run_dir.chain.exists():
        subject.report.error("chain.json", "is_embedded is not whether chain.sqlite is there")
        return 1
    if record["is_embedded"]:
        return _check_embedded(subject, record)
    if rpc is None:
        subject.report.note("chain", f"not asked: give a node of chain {place.chain_id} by --rpc")
        return 0

    return asyncio.run(_ask(subject, record, HttpTransport(rpc)))


def _check_embedded(subject: Subject, record: Mapping[str, Any]) -> int:
    """Execute the chain again into a new file, then ask that one."""
    with tempfile.TemporaryDirectory(prefix="kumiai-verify-") as folder:
        chain = rebuild(subject.run_dir.chain, Path(folder) / "chain.sqlite", Options(is_dev=True))
        try:
            # Else the contract could stand there from the beginning, with whatever code and books.
            if any(a.code or a.storage or a.nonce for a in chain.genesis.accounts.values()):
                subject.report.error("chain, block 0", "somebody begins with more than coin")
            transport = InProcessTransport(EmbeddedTransport(chain))
            return chain.head.number + 1 + asyncio.run(_ask(subject, record, transport))
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
    first = await _check_code(subject, record, node)
    await _check_terms(subject, record, node)
    count = await _check_settlements(subject, record, node, first)
    desk = Desk(record["arena"], record["token"], state.chain.task_key)
    books = await read_run_books(node, desk, state)
    is_ended = False
    for certificate in state.certificates:
        told = read_body(certificate.body, certificate.body_hash).certificate
        is_ended = is_ended or told.is_final
        if books.roots[certificate.round].payments != told.payments:
            subject.report.error(
                f"chain, round {certificate.round}", "the contract has another root of payments"
            )
    if not is_ended:  # as the log has it: chain.json could say so of any run
        subject.report.note("chain", UNSETTLED)
        return count + len(books.roots)
    accounts = recompute_ledger(subject.replay).accounts()
    for difference in compare_run_books(books, accounts, state):
        subject.report.error("chain", difference)
    return count + len(books.roots) + len(books.stakes) + len(books.lent) + len(books.wallets)


async def _check_code(subject: Subject, record: Mapping[str, Any], node: Node) -> int:
    """Arena and token were made by the code that is shipped, and live where the run says.

    Returns the arena's block.
    """
    rows = [row["hash"] for row in record.get("transactions", []) if row["sort"] == "deploy"]
    blocks = [0]
    for what, name, hashes in (
        ("arena", "Arena", [record["arena_transaction"]]),
        ("token", "Credit", rows),
    ):
        receipts = await node.get_receipts(hashes)
        created = (r for r in receipts if r is not None and r.contract == record[what])
        receipt = next((r for r in created if r.is_success), None)
        if receipt is None:
            subject.report.error(f"chain, {what}", "it was not created by a transaction named")
            continue
        made = await node.get_transaction(receipt.transaction_hash)
        sent = "" if made is None else str(made.get("input", ""))
        if not sent.startswith("0x" + load_bytecode(name).hex()):
            subject.report.error(f"chain, {what}", "its code is not this version of kumiai's")
        if what == "arena":
            blocks.append(receipt.block)
    return blocks[-1]


async def _check_terms(subject: Subject, record: Mapping[str, Any], node: Node) -> None:
    """The task stands there with the document's terms. Guardians' addresses are not in the log."""
    state = subject.replay.state
    assert state.chain is not None and state.task is not None
    (found,) = await node.read([(record["arena"], arena.get_terms(state.chain.task_key))])
    if not isinstance(found, Terms):
        subject.report.error("chain, task", "the contract does not know it")
        return
    wanted = make_terms(state.task, record["token"], found.endsAt, found.guardians)
    for each in fields(Terms):
        given, expected = getattr(found, each.name), getattr(wanted, each.name)
        if given != expected:
            said = f"the contract has {each.name} {_show(given)}, the document {_show(expected)}"
            subject.report.error("chain, task", said)


def _show(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


async def _check_settlements(
    subject: Subject, record: Mapping[str, Any], node: Node, first: int
) -> int:
    """Every transaction of the record is there; every certificate was settled as it says."""
    state, report = subject.replay.state, subject.report
    rows = record.get("transactions", [])
    receipts = await node.get_receipts([row["hash"] for row in rows])
    for row, receipt in zip(rows, receipts, strict=True):
        where = f"chain, {row['sort']} {row['hash'][:12]}"
        if receipt is None or receipt.is_success != row["is_ok"]:
            report.error(where, "this transaction is not on the chain, or ended otherwise there")
        elif (receipt.block, receipt.gas_used) != (row["block"], row["gas"]):
            report.error(where, "it is in another block, or cost other gas, than the run says")
    settled = await _read_settled(node, record, state, first)
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
    node: Node, record: Mapping[str, Any], state: RunState, first: int
) -> dict[int, tuple[object, ...]]:
    """What the contract's events since the block `first` say of this task's rounds, by round."""
    assert state.chain is not None
    wanted = LogFilter((record["arena"],), (RoundSettled.TOPIC, FinalSettled.TOPIC))
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
