"""NIP-47's words and the market's: what a wallet tells, and what is believed of it."""

from __future__ import annotations

from typing import Final, TypeVar

from kumiai.adapters.payments import bolt11 as invoices
from kumiai.adapters.payments.checks import is_preimage
from kumiai.base.errors import InputError
from kumiai.market.nips import nip47
from kumiai.market.nips.nip47 import Direction, State
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Invoice, Payment, PaymentState

T = TypeVar("T")


def read_transaction(told: nip47.Transaction) -> Payment:
    """Return what the wallet tells of a payment; WalletError where it does not say which way.

    SETTLED only with a preimage that hashes to the hash; without a state it decides.
    """
    if told.direction is None:
        raise WalletError("INTERNAL", "the wallet does not say who paid whom", is_retriable=True)
    is_incoming = told.direction is Direction.INCOMING
    is_proven = is_preimage(told.preimage, told.payment_hash)
    state = _STATES[told.state] if told.state is not None else PaymentState.SETTLED
    if state is PaymentState.SETTLED and not is_proven:
        state = PaymentState.PENDING
    if state is PaymentState.FAILED and is_incoming:
        state = PaymentState.CANCELED
    is_settled = state is PaymentState.SETTLED
    return Payment(
        payment_hash=told.payment_hash,
        is_incoming=is_incoming,
        amount_msat=told.amount_msat,
        state=state,
        fee_msat=told.fees_paid_msat,
        preimage=told.preimage if is_settled else None,
        created_at_s=told.created_at_s,
        settled_at_s=told.settled_at_s if is_settled else None,
        description=told.description,
    )


def read_made(told: nip47.Transaction) -> Invoice:
    """Return the invoice that the wallet made; WalletError where it is not what it says."""
    try:
        invoice = invoices.decode(told.invoice)
    except InputError as error:
        raise WalletError("INTERNAL", f"the wallet made no invoice: {error.fix}") from error
    if invoice.payment_hash != told.payment_hash:
        raise WalletError("INTERNAL", "the wallet confuses two invoices")
    return invoice


def expect(shape: type[T], answer: nip47.Result) -> T:
    """Return the answer, which must be of this sort; WalletError if it is another."""
    if not isinstance(answer, shape):
        raise WalletError("INTERNAL", f"the wallet answered {type(answer).__name__}")
    return answer


_STATES: Final = {
    State.PENDING: PaymentState.PENDING,
    State.SETTLED: PaymentState.SETTLED,
    State.ACCEPTED: PaymentState.ACCEPTED,
    State.EXPIRED: PaymentState.EXPIRED,
    State.FAILED: PaymentState.FAILED,
}
