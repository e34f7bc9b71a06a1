"""Evidence: what the own wallet's word means for an intent. Nobody else's word counts.

Money counts as moved only as SETTLED with the agreed amount and a preimage that hashes to the
payment hash. Whatever contradicts itself leaves the intent PENDING, with the contradiction as note:
nothing else is paid for the debt until a person has looked.
"""

from __future__ import annotations

import hashlib
from typing import Final

from kumiai.base.errors import KumiaiError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.intents import Action, Intent, Outcome
from kumiai.nodes.market.ports import Payment, PaymentState

# A payment that the wallet never heard of is dead so long after its invoice can be paid no more.
GRACE_S: Final = 600


def judge(intent: Intent, found: Payment | None, now_s: int) -> Outcome:
    """Say what becomes of an intent by what the wallet told; None: it never heard of it."""
    is_late = bool(intent.expires_at_s) and now_s >= intent.expires_at_s + GRACE_S
    if found is None:
        if is_late:
            note = "the wallet never heard of it, and the invoice has expired"
            return Outcome(PaymentState.EXPIRED, note=note)
        return Outcome(PaymentState.PENDING)
    if note := _find_contradiction(intent, found):
        return Outcome(PaymentState.PENDING, note=note)
    if found.state is PaymentState.SETTLED:
        settled_at_s = found.settled_at_s or now_s
        return Outcome(found.state, found.preimage or "", found.fee_msat, settled_at_s)
    if found.state is PaymentState.ACCEPTED and intent.action in (Action.SETTLE, Action.CANCEL):
        return Outcome(PaymentState.PENDING)  # decided, but the wallet has not done it yet
    if found.state is PaymentState.PENDING and intent.is_incoming and is_late:
        return Outcome(PaymentState.EXPIRED, note="nobody has paid it in time")
    return Outcome(found.state)


def is_paid_elsewhere(error: KumiaiError) -> bool:
    """Tell whether a refusal says that the money did move: it never proves that nothing did."""
    return isinstance(error, WalletError) and error.code == "ALREADY_PAID"


def hash_preimage(preimage: str) -> str:
    """Return the payment hash of a preimage of 32 bytes in hex; "" for any other text."""
    try:
        raw = bytes.fromhex(preimage)
    except ValueError:
        return ""
    return hashlib.sha256(raw).hexdigest() if len(raw) == 32 else ""


def _find_contradiction(intent: Intent, found: Payment) -> str:
    if (found.payment_hash, found.is_incoming) != (intent.payment_hash, intent.is_incoming):
        return "the wallet speaks of another payment"
    if found.state not in (PaymentState.ACCEPTED, PaymentState.SETTLED):
        return ""
    told, agreed = found.amount_msat, intent.amount_msat
    # who pays us may round up
    if told < agreed if intent.is_incoming else told != agreed:
        return f"the wallet says {told} msat, {agreed} were agreed"
    if found.state is PaymentState.SETTLED and (
        found.preimage is None or hash_preimage(found.preimage) != intent.payment_hash
    ):
        return "the wallet says settled, but shows no fitting preimage"
    return ""
