"""What validators sign about a round, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kumiai.settlement.certificates import ChainCertificate, ChainPlace, ChainSlash


@dataclass(frozen=True, slots=True)
class Vote:
    """A validator's signature under a certificate body."""

    validator: str
    event_id: str
    body_hash: str
    model: str
    server_state: str
    address: str = ""  # where the run settles on a chain: the funds key's, and its signature
    chain_signature: str = ""


@dataclass(frozen=True, slots=True)
class OnChain:
    """Where a run settles: the contract, whose task it is there, and who must sign for it next.

    owner: the customer's address; task_key: the task's id on the chain; committee: addresses,
    ascending, () before the start.
    """

    place: ChainPlace
    owner: str
    task_key: bytes
    committee: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChainRound:
    """What a body says to the contract: certificate, slashes, and whose quorum must sign it."""

    certificate: ChainCertificate
    slashes: tuple[ChainSlash, ...]
    committee: tuple[str, ...]  # addresses, ascending


@dataclass(frozen=True, slots=True)
class Certificate:
    """A round that a quorum has signed: the body, its hash, and who signed it in which event."""

    round: int
    body: Mapping[str, object]
    body_hash: str
    signers: tuple[tuple[str, str], ...]  # (validator, event id)
    # (address, signature for the contract), where the run settles on a chain
    seals: tuple[tuple[str, str], ...] = ()
