"""Settling on a chain: what a validator signs for the contract, and the ledger that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from kumiai.base.keys import SigningKey, sign_recoverable
from kumiai.nodes.ports import LedgerPort
from kumiai.rounds.onchain import read_body
from kumiai.rounds.signed import ChainRound
from kumiai.rounds.state import RunState
from kumiai.settlement.certificates import compute_certificate_digest


@runtime_checkable
class ChainLedgerPort(LedgerPort, Protocol):
    """What a ledger on a chain offers beside: it moves a round's money by a quorum's signatures."""

    def seal(self, settled: ChainRound, signatures: Sequence[tuple[str, str]]) -> None:
        """Take what the contract will be shown; the round's own command follows."""
        ...


def sign_for_chain(
    run: RunState, body: Mapping[str, Any], body_hash: str, funds_key: SigningKey
) -> dict[str, str]:
    """Return what CERTIFY carries beside for the contract: nothing in a run without one."""
    if run.chain is None:
        return {}
    certificate = read_body(body, body_hash).certificate
    digest = compute_certificate_digest(certificate, run.chain.place)
    return {"chain": sign_recoverable(funds_key, digest)}
