"""What a command would do, before anything is sent: approvals, gas, cost, or why it cannot be.

Every transaction is first tried by the node without being sent. A token's approval is the one thing
that may be missing then: the arena takes money last, so a trial that fails for it alone says that
all else is well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kumiai.adapters.evm.accounts import encode_checksum
from kumiai.adapters.evm.bindings.iarena.errors import ERRORS as ARENA_ERRORS
from kumiai.adapters.evm.bindings.idisputes.errors import ERRORS as DISPUTES_ERRORS
from kumiai.adapters.evm.bindings.ierc20 import calls as erc20
from kumiai.adapters.evm.errors import FeeCapError, InsufficientFundsError, RevertedError
from kumiai.adapters.evm.fees import FeePolicy, make_offer
from kumiai.apps.chain.actions import Action, Spending
from kumiai.apps.chain.place import Session
from kumiai.base.errors import InputError

GAS_MARGIN_PPM = 200_000
_TOKEN_FAULTS = {"TokenAmountDiffers"}


@dataclass(frozen=True, slots=True)
class Step:
    """A transaction and the gas that the node says it needs; None: only after the one before."""

    action: Action
    gas: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order; wei. `fee`: the most that is offered for a unit of gas now."""

    sender: str
    steps: tuple[Step, ...]
    fee: int
    base_fee: int
    balance: int

    @property
    def gas(self) -> int:
        """What is known of the gas."""
        return sum(step.gas or 0 for step in self.steps)

    @property
    def value(self) -> int:
        return sum(step.action.value for step in self.steps)

    @property
    def is_whole(self) -> bool:
        """Every step's gas is known."""
        return all(step.gas is not None for step in self.steps)


async def make_plan(
    session: Session, sender: str, actions: Sequence[Action], fees: FeePolicy
) -> Plan:
    """Return what sending would do; raises what the contract or the account has against it."""
    now = (await session.node.get_standing(sender)).fees
    offer = make_offer(fees, now.base, now.tip)
    if offer is None:
        raise FeeCapError(f"the base fee is {now.base:,} wei a gas, above {fees.cap:,}")
    steps: list[Step] = []
    for action in actions:
        steps += await _try(session, sender, action)
    balance = await session.node.get_balance(sender)
    plan = Plan(sender, tuple(steps), offer.max_fee, now.base, balance)
    cost = plan.value + plan.gas * (1_000_000 + GAS_MARGIN_PPM) // 1_000_000 * plan.fee
    if balance < cost:
        raise InsufficientFundsError(
            f"{encode_checksum(sender)} has {balance:,} wei, and {cost:,} wei may be needed"
        )
    return plan


async def _try(session: Session, sender: str, action: Action) -> list[Step]:
    """The action's own step, with an approval before it where one is needed."""
    spends = action.spends
    if spends is None:
        return [Step(action, await _estimate(session, sender, action))]
    assert action.to is not None
    balance, allowance = await session.node.read(
        [
            (spends.token, erc20.balance_of(sender)),
            (spends.token, erc20.allowance(sender, action.to)),
        ]
    )
    if isinstance(balance, RevertedError) or isinstance(allowance, RevertedError):
        raise InputError("token", spends.token, "this contract is no ERC-20 token")
    if balance < spends.amount:
        fix = f"{encode_checksum(sender)} has {balance:,} of this token: {spends.token}"
        raise InputError("amount", f"{spends.amount:,}", fix)
    if allowance >= spends.amount:
        return [Step(action, await _estimate(session, sender, action))]
    try:
        await _estimate(session, sender, action)
    except RevertedError as error:
        if _is_of_ours(error):
            raise
    approve = _approve(action, spends)
    return [Step(approve, await _estimate(session, sender, approve)), Step(action, None)]


def _approve(action: Action, spends: Spending) -> Action:
    """Exactly what is needed, no more: what is left to a contract is at risk for ever."""
    assert action.to is not None
    places = {"amount": f"{spends.amount:,}", "token": encode_checksum(spends.token),
              "spender": encode_checksum(action.to)}  # fmt: skip
    data = erc20.approve(action.to, spends.amount).data
    key = f"{action.key}/approve" if action.key else ""
    return replace(action, what="approve", to=spends.token, data=data, places=places,
                   spends=None, key=key)  # fmt: skip


async def _estimate(session: Session, sender: str, action: Action) -> int:
    return await session.node.estimate_gas(sender, action.to, action.value, action.data)


def _is_of_ours(error: RevertedError) -> bool:
    """Is it the arena that refuses, not the token that was not approved yet?"""
    known = {**ARENA_ERRORS, **DISPUTES_ERRORS}
    name = getattr(error.error, "NAME", "")
    return error.data[:4] in known and name not in _TOKEN_FAULTS
