"""`kumiai chain claim`: from a run's folder to the money on the members' addresses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kumiai.adapters.evm.accounts import encode_checksum
from kumiai.apps.chain.actions import Action
from kumiai.apps.chain.pay import Claim, Payroll, find_account, find_claims, read_payroll
from kumiai.apps.chain.place import Session
from kumiai.apps.cli.chaining.door import Door
from kumiai.base.errors import InputError, StoreError


def claim(door: Door, run: Path, member: str | None, is_all: bool, proof_out: Path | None) -> None:
    """Claim for one member, for the signer, or for everybody."""
    if is_all and member is not None:
        raise InputError("--member", member, "is one, --all is everybody: name one of them")
    with door.told.status(door.texts.text("chain.replaying")):
        payroll = read_payroll(run)
    if is_all:
        accounts = sorted(set(payroll.names.values()))
    elif member is not None:
        accounts = [find_account(payroll, member)]
    else:
        accounts = [find_account(payroll, door.get_address())]

    async def build(session: Session) -> list[Action]:
        claims = await find_claims(session, payroll, accounts)
        if not claims:
            raise InputError(
                "--member", member or ("--all" if is_all else accounts[0]),
                "nothing is left to claim: all that was certified and is active was claimed",
            )  # fmt: skip
        if proof_out is not None:
            _write_proofs(proof_out, session, payroll, claims)
        return [each.make_action(session, payroll.chain.task_key) for each in claims]

    door.carry_out(build, payroll.chain.place.arena, task="0x" + payroll.chain.task_key.hex())


def _write_proofs(path: Path, session: Session, payroll: Payroll, claims: Sequence[Claim]) -> None:
    """The arguments of `claim`, as any other wallet takes them."""
    body = [
        {
            "arena": encode_checksum(session.arena),
            "task": "0x" + payroll.chain.task_key.hex(),
            "round": each.round,
            "account": encode_checksum(each.account),
            "cumulative": str(each.proof.cumulative),
            "proof": ["0x" + node.hex() for node in each.proof.path],
        }
        for each in claims
    ]
    try:
        path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}", is_retriable=True) from error
