"""A wallet's operations as movements that its owner can read; nothing is asked of the mint."""

from __future__ import annotations

from typing import Final

from kumiai.adapters.payments.cashu import conditions
from kumiai.adapters.payments.cashu.facts import Facts
from kumiai.adapters.payments.cashu.store import Operation
from kumiai.nodes.market.ports import PaymentState
from kumiai.nodes.market.purse import MoveKind, Movement

_STATES: Final = {
    "quoted": PaymentState.PENDING,
    "planned": PaymentState.PENDING,
    "done": PaymentState.SETTLED,
    "refused": PaymentState.FAILED,
    "dropped": PaymentState.FAILED,
    "lapsed": PaymentState.EXPIRED,
}
_KINDS: Final = {"mint": MoveKind.FILLED, "melt": MoveKind.PAID, "redeem": MoveKind.RECEIVED}


def make_movement(operation: Operation, facts: Facts, unit_msat: int, now_s: float) -> Movement:
    """Return what one operation has moved, or was meant to."""
    kind = _KINDS.get(operation.kind) or _find_kind(operation)
    amount, fee = _count(operation, facts)
    state = _STATES[operation.state]
    if operation.state == "quoted" and facts.expires_at_s and now_s >= facts.expires_at_s:
        state = PaymentState.EXPIRED
    if state is not PaymentState.SETTLED:
        fee = 0
    is_token = operation.kind == "lock" and operation.state == "done"
    return Movement(
        key=operation.key,
        kind=kind,
        amount_msat=amount * unit_msat,
        state=state,
        fee_msat=fee * unit_msat,
        fee_msat_max=facts.fee_reserve * unit_msat,
        bolt11=facts.bolt11,
        preimage=facts.preimage,
        token=operation.result if is_token else "",
        expires_at_s=facts.expires_at_s,
        created_at_s=facts.created_at_s,
        ended_at_s=facts.ended_at_s,
    )


def _find_kind(operation: Operation) -> MoveKind:
    secrets = [output.secret for output in operation.outputs if output.is_for_token]
    is_locked = any(conditions.find_kind(secret) for secret in secrets)
    return MoveKind.LOCKED if is_locked else MoveKind.SENT


def _count(operation: Operation, facts: Facts) -> tuple[int, int]:
    """The amount and the fee: a swap's is what its outputs are less than its inputs."""
    if operation.kind == "mint":
        return int(operation.request), 0
    if operation.kind == "melt":
        return facts.amount, facts.fee
    made = sum(output.amount for output in operation.outputs)
    fee = sum(proof.amount for proof in operation.inputs) - made
    if operation.kind == "redeem":
        return made, fee
    return sum(output.amount for output in operation.outputs if output.is_for_token), fee
