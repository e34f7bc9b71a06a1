"""Claims from a run's folder: what each member may take, with the proof that the contract asks for.

The log is folded anew (nothing in the folder is believed), everybody's cumulative pay after each
certified round becomes the tree that the certificate names, and the tree's root is compared with
what stands on the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.accounts import encode_checksum
from kumiai.adapters.evm.bindings.iarena import calls as arena
from kumiai.apps.audit.replay import Replay, replay_log
from kumiai.apps.chain.actions import Action
from kumiai.apps.chain.place import Session
from kumiai.apps.chain.refusals import show_time
from kumiai.apps.rundir import RunDir
from kumiai.base.errors import InputError, VerificationError
from kumiai.rounds.signed import OnChain
from kumiai.settlement.payroll import PayProof, compute_pay_proofs, compute_pay_root


@dataclass(frozen=True, slots=True)
class Payroll:
    """What the run's log says about pay. names: who is meant, to the address that is paid.

    roots, owed: by round, as certified.
    """

    chain: OnChain
    names: Mapping[str, str]
    roots: Mapping[int, bytes]
    owed: Mapping[int, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Claim:
    """One account's claim at `round`; `due`: beyond what it has claimed already."""

    account: str
    round: int
    proof: PayProof
    due: int

    def make_action(self, session: Session, task: bytes) -> Action:
        call = arena.claim(task, self.round, self.account, self.proof.cumulative, self.proof.path)
        places = {"amount": f"{self.due:,}", "account": encode_checksum(self.account)}
        return Action("claim", session.arena, call.data, places=places)


def read_payroll(run: Path) -> Payroll:
    """Fold a run's log; InputError where it settles on no chain, VerificationError if it lies."""
    run_dir = RunDir(run)
    run_dir.read_plan()  # is it a run's folder?
    faults: list[str] = []
    replay = replay_log(run_dir, lambda where, what: faults.append(f"{where}: {what}"))
    # an unfinished run may claim for the rounds that were certified; any other fault ends it
    grave = [fault for fault in faults if not fault.startswith("log: it ends while")]
    if grave:
        raise VerificationError(f"the run's log does not hold: {grave[0]}")
    chain = replay.state.chain
    if chain is None:
        fix = "this run settles on no chain: its members were paid by its own ledger"
        raise InputError("--run", str(run), fix)
    owed = {c.certificate.round: _list_owed(replay, c.certificate.round) for c in replay.certified}
    roots = {c.certificate.round: _read_root(c.certificate.body) for c in replay.certified}
    for number, amounts in owed.items():
        if compute_pay_root(chain.task_key, amounts) != roots[number]:
            raise VerificationError(f"round {number}: the pay is not what its certificate says")
    members = replay.state.members.values()
    names = {member.name: member.address for member in members}
    names.setdefault("customer", chain.owner)
    return Payroll(chain, names, roots, owed)


def _read_root(body: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(body["chain"]["payments_root"])


def _list_owed(replay: Replay, number: int) -> dict[str, int]:
    payments, state = replay.rounds[number].payments, replay.state
    assert payments is not None and state.chain is not None
    owed: dict[str, int] = {}
    for who, tally in payments.tallies.items():
        if tally.earned:
            address = state.chain.owner if who == state.customer else state.members[who].address
            owed[address] = owed.get(address, 0) + tally.earned
    return owed


def find_account(payroll: Payroll, text: str) -> str:
    """Return the address that a member's name, or an address itself, stands for."""
    if text in payroll.names:
        return payroll.names[text]
    if text.lower() in payroll.names.values():
        return text.lower()
    shown = ", ".join(sorted(payroll.names)[:12])
    raise InputError("--member", text, f"nobody of that name is paid: choose one of {shown}")


async def find_claims(session: Session, payroll: Payroll, accounts: list[str]) -> list[Claim]:
    """Return what these accounts can claim now, from the newest root that pays.

    InputError where the run settles elsewhere or nothing is settled or active yet;
    VerificationError where the chain's root is not the run's.
    """
    place = payroll.chain.place
    if (place.chain_id, place.arena) != (session.chain_id, session.arena):
        fix = f"the run settles on chain {place.chain_id}, arena {place.arena}: name that one"
        raise InputError("--run", f"chain {session.chain_id}, arena {session.arena}", fix)
    key, rounds = payroll.chain.task_key, sorted(payroll.roots)
    answers = await session.node.read([(session.arena, arena.get_root(key, r)) for r in rounds])
    header = await session.node.get_header("latest")
    now = header.timestamp if header is not None else 0
    number, waiting = 0, 0
    for each, (root, active_at, is_disabled) in zip(rounds, answers, strict=True):
        if not active_at or is_disabled:
            continue
        if root != payroll.roots[each]:
            raise VerificationError(f"round {each}: the root on the chain is not the run's")
        if active_at <= now:
            number = each
        else:
            waiting = waiting or active_at
    if not number:
        when = f"the first can be claimed from {show_time(waiting)}" if waiting else (
            "no round of this run was settled on the chain yet")  # fmt: skip
        raise InputError("--run", "nothing to claim", when)
    proofs = compute_pay_proofs(key, payroll.owed[number])
    claimed = await session.node.read(
        [(session.arena, arena.get_claimed(key, account)) for account in accounts]
    )
    return [
        Claim(account, number, proofs[account], proofs[account].cumulative - had)
        for account, had in zip(accounts, claimed, strict=True)
        if account in proofs and proofs[account].cumulative > had
    ]
