"""NIP-57: zap receipts, which are claims and never evidence.

Source: nostr-protocol/nips, 57.md, appendices D to F: "The zap receipt is not a proof of payment".
Anybody can make an invoice, pay it to itself or not at all, and sign a receipt. A member believes
its own wallet alone (`nodes.market.ports.Payment`); what is read here may be shown to people and
must not change what is owed. Nothing here makes receipts or requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kumiai.base.events import Event, check_event
from kumiai.market.nips.drafts import check_text, get_needed, read_hash, read_number
from kumiai.market.nips.nip01 import decode_event, get_value, get_values

REQUEST_KIND: Final = 9_734  # goes to an LNURL server, never to relays
RECEIPT_KIND: Final = 9_735
BOLT11_CHARS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class ZapClaim:
    """What the signer of a receipt claims. amount_msat: as the payer's request says, or None."""

    claimed_by: str
    recipient: str
    sender: str
    bolt11: str
    amount_msat: int | None
    event_id: str | None
    request: Event


def read_claim(receipt: Event, provider: str) -> ZapClaim:
    """Read a receipt signed by the recipient's LNURL `provider` (its nostrPubkey).

    ValueError unless it is of that key, names one recipient and holds the payer's signed request
    for the same. Passing proves nothing about money.
    """
    if receipt.kind != RECEIPT_KIND:
        raise ValueError(f"kind {receipt.kind} is not a zap receipt ({RECEIPT_KIND})")
    if receipt.pubkey != provider:
        raise ValueError(f"signed by {receipt.pubkey}, the provider is {provider}")
    recipient = read_hash(get_needed(receipt.tags, "p"), "p")
    request = decode_event(get_needed(receipt.tags, "description"))
    flaw = check_event(request)
    if request.kind != REQUEST_KIND or flaw is not None:
        raise ValueError(f"description: {flaw or f'kind {request.kind} is no zap request'}")
    if get_values(request.tags, "p") != [recipient]:
        raise ValueError("description: the request names another recipient")
    event_id = get_value(request.tags, "e")
    if get_value(receipt.tags, "e") != event_id:
        raise ValueError("description: the request names another event")
    amount = get_value(request.tags, "amount")
    return ZapClaim(
        claimed_by=receipt.pubkey,
        recipient=recipient,
        sender=request.pubkey,
        bolt11=check_text(get_needed(receipt.tags, "bolt11"), "bolt11", BOLT11_CHARS_MAX),
        amount_msat=None if amount is None else read_number(amount, "amount"),
        event_id=None if event_id is None else read_hash(event_id, "e"),
        request=request,
    )
