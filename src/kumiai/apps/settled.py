"""What a run that settles on a chain leaves there and behind: terms, chain.json, books, picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.bindings.iarena.structs import Terms
from kumiai.adapters.evm.books import Books, Desk, compare_books, read_books
from kumiai.adapters.evm.chain.genesis import CHAIN_ID
from kumiai.adapters.evm.node import Node
from kumiai.apps.view import ChainView, GasView, SettlementView
from kumiai.base.errors import StoreError
from kumiai.rounds.state import RunState
from kumiai.tasks.document import TaskDocument, compute_task_id

FORMAT = "kumiai/chain/1"
RECORD_BYTES_MAX = 64 * 2**20
_FIELDS = {
    "chain_id": int,
    "node": str,
    "is_embedded": bool,
    "arena": str,
    "arena_transaction": str,
    "token": str,
    "ends_at": int,
}
_ROW_FIELDS = {"sort": str, "round": int, "hash": str, "block": int, "gas": int, "is_ok": bool}
GRACE_SECONDS = 86_400  # after the task's end, until anyone may expire it
DEVELOPMENT_CHAINS = {1337, 31_337, CHAIN_ID}  # ganache's, hardhat's and anvil's, our own


def make_terms(task: TaskDocument, token: str, ends_at: int, guardians: tuple[str, ...]) -> Terms:
    """Return what the contract is told of a task. ends_at: Unix seconds; guardians: ascending."""
    return Terms(
        document=bytes.fromhex(compute_task_id(task)),
        token=token,
        admission="0x" + "00" * 20,
        endsAt=ends_at,
        grace=GRACE_SECONDS,
        activationDelay=compute_window_seconds(task),
        coolDown=compute_window_seconds(task),
        sigmaFreeze=0,
        sigmaMin=0,
        sigmaMax=1_000_000,
        slash=task.rewards.slash_ppm,
        delegationSlash=0,
        slashToTask=False,
        guardiansRequired=task.governance.guardians_required,
        trainerStakeMin=task.rewards.trainer_stake_min,
        validatorStakeMin=task.rewards.validator_stake_min,
        guardians=guardians,
    )


def compute_window_seconds(task: TaskDocument) -> int:
    """Return how long a round can be disputed, in whole seconds."""
    return -(-task.settlement.challenge_window_ms // 1_000)


def list_cumulative(state: RunState) -> dict[str, int]:
    """Return everybody's certified pay by address, as the last certificate's root has it."""
    return {
        state.members[who].address: tally.earned
        for who, tally in state.tallies.items()
        if tally.earned and who in state.members
    }


async def read_run_books(node: Node, desk: Desk, state: RunState) -> Books:
    """Read what the contract holds for a run: members, what was lent, and every certified root."""
    addresses = {key: member.address for key, member in state.members.items()}
    lent = sorted({(addresses[d.delegator], addresses[d.node]) for d in state.delegations})
    rounds = [c.round for c in state.certificates if c.seals]
    return await read_books(node, desk, sorted(addresses.values()), lent, rounds)


def compare_run_books(books: Books, accounts: Mapping[str, int], state: RunState) -> list[str]:
    """Return where the contract's books are not the ledger's `accounts`, a sentence each.

    Wallets too: nobody has other dealings with a run's own token. What was not claimed yet is its
    receiver's in the ledger already.
    """
    addresses = {key: member.address for key, member in state.members.items()}
    cumulative = list_cumulative(state)
    differing = compare_books(books, accounts, state.task_id, addresses, cumulative)
    for name, address in addresses.items():
        open_pay = cumulative.get(address, 0) - books.claimed[address]
        held, expected = books.wallets[address] + open_pay, accounts.get(name, 0)
        if held != expected:
            what = f"what {name[:12]} holds or may claim"
            differing.append(f"{what}: the contract has {held}, the ledger {expected}")
    return differing


def read_record(path: Path) -> dict[str, Any]:
    """Read chain.json; StoreError where it is missing or damaged."""
    try:
        if path.stat().st_size > RECORD_BYTES_MAX:
            raise StoreError(f"{path} is bigger than {RECORD_BYTES_MAX} bytes")
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StoreError(f"{path} is damaged: it is no {FORMAT}")
    if flaw := _find_flaw(record):
        raise StoreError(f"{path} is damaged: {flaw}")
    return record


def _find_flaw(record: Mapping[str, Any]) -> str:
    """Return which field of chain.json is missing or of another type, "" if none."""
    rows = record.get("transactions", [])
    if not isinstance(rows, list):
        return "transactions is no list"
    for where, found, wanted in (
        ("", record, _FIELDS),
        *((f"transactions[{at}].", row, _ROW_FIELDS) for at, row in enumerate(rows)),
    ):
        for name, kind in wanted.items():
            if not isinstance(found, dict) or type(found.get(name)) is not kind:
                return f"{where}{name} is missing or no {kind.__name__}"
    return ""


def make_chain_view(record: Mapping[str, Any], state: RunState) -> ChainView:
    """Return the picture of what `record` says was sent, for a run that ended in `state`."""
    rows = record.get("transactions", [])
    sorts: dict[str, list[int]] = {}
    for row in rows:
        sorts.setdefault(row["sort"], []).append(row["gas"])
    parts = {c.round: c for c in state.certificates if c.seals}
    settlements = []
    for row in rows:
        if row["sort"] in ("settle", "final") and row["is_ok"]:
            certificate = parts[row["round"]]
            told = certificate.body["chain"]
            assert isinstance(told, dict)
            settlements.append(
                SettlementView(
                    round=0 if told["is_final"] else row["round"],
                    transaction=row["hash"],
                    block=row["block"],
                    gas=row["gas"],
                    paid=int(told["paid"]),
                    locked=int(told["locked"]),
                    signers=len(certificate.seals),
                )
            )
    workers = sum(member.role != "delegator" for member in state.members.values())
    rounds = sum(1 for each in settlements if each.round)
    shared = sum(sum(sorts.get(sort, [])) for sort in ("settle", "final", "claim"))
    return ChainView(
        chain_id=record["chain_id"],
        node=record["node"],
        arena=record["arena"],
        token=record["token"],
        task_key=state.chain.task_key.hex() if state.chain is not None else "",
        blocks=max((row["block"] for row in rows), default=0),
        gas_per_share=shared // max(1, workers * rounds),
        is_even=bool(record.get("is_even")),
        is_local=record["chain_id"] in DEVELOPMENT_CHAINS,
        sorts=tuple(GasView(s, len(gas), sum(gas), max(gas)) for s, gas in sorts.items()),
        settlements=tuple(settlements),
    )
