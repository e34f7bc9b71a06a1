"""The provider as one pure machine: inputs in, the next state and effects out.

Guarantee: the same inputs at the same times give the same state; a request is worked on once; the
key of an update is given only when the contract's policy has bound the customer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kumiai.base.errors import Reject
from kumiai.market.drafts import draft_rating
from kumiai.market.effects import (
    Done,
    Effect,
    Failed,
    Fetched,
    Heard,
    InvoiceMade,
    JobOpened,
    PaymentSeen,
    Publish,
    Published,
    Redeemed,
    Result,
    Stored,
    Ticked,
    Trained,
    Unsealed,
    Woken,
    is_final,
)
from kumiai.market.kinds import TOPIC, Kind
from kumiai.market.letters import (
    Cancelled,
    Closed,
    ContractSent,
    JobPosted,
    Letter,
    OfferMade,
    RoundAsked,
    RulingGiven,
    VerdictGiven,
)
from kumiai.market.machine import Outcome
from kumiai.market.nips.nip01 import Filter
from kumiai.market.provider import announcing, contracts, disputes, jobs, work
from kumiai.market.provider.state import (
    Command,
    Contract,
    Dispute,
    Leave,
    Pause,
    ProviderPolicy,
    ProviderState,
    RateCustomer,
    Stage,
    Start,
    Work,
)
from kumiai.market.provider.turn import Turn
from kumiai.market.reading import read_message


@dataclass(frozen=True, slots=True)
class Provider:
    """See `market.machine.Machine`."""

    policy: ProviderPolicy

    def begin(self) -> ProviderState:
        """Nothing is announced yet."""
        return ProviderState()

    def step(
        self, state: ProviderState, now_s: int, item: Heard | Ticked | Woken | Result | Command
    ) -> Outcome[ProviderState]:
        """Take one input at that time of the provider's clock."""
        turn = Turn(self.policy, state, now_s)
        if isinstance(item, Heard):
            _on_letter(turn, item.letter)
        elif isinstance(item, Start | Leave | Pause | Dispute | RateCustomer):
            _on_command(turn, item)
        elif isinstance(item, Woken):
            contracts.wake(turn, item.missed_s)
        elif isinstance(item, Ticked):
            announcing.beat(turn)
            jobs.forget_expired(turn)
            contracts.expire_contracts(turn)
        else:
            _on_result(turn, item)
        work.expire(turn)
        work.begin_owed(turn)
        work.train_next(turn)
        return turn.end()

    def get_pending(self, state: ProviderState) -> Mapping[str, Effect]:
        """Return effects without a final result, in the order they were asked for."""
        return state.pending

    def list_filters(self, state: ProviderState) -> tuple[Filter, ...]:
        """Return all jobs, what is addressed to us, what our customers withdraw or close."""
        ours = (Kind.CONTRACT, Kind.ROUND_REQUEST, Kind.VERDICT, Kind.RULING)
        filters = [
            Filter(kinds=(int(Kind.JOB),), tags={"t": (TOPIC,)}),
            Filter(kinds=tuple(int(kind) for kind in ours), tags={"p": (self.policy.pubkey,)}),
        ]
        customers = tuple(dict.fromkeys(c.customer for c in state.contracts.values()))
        if customers:
            ends = (int(Kind.CANCEL), int(Kind.CLOSING))
            filters.append(Filter(kinds=ends, authors=customers))
        return tuple(filters)


def _on_letter(turn: Turn, letter: Letter) -> None:
    event = letter.event
    if event.pubkey == turn.policy.pubkey:
        return
    message = read_message(letter, turn.now_s)
    if isinstance(message, Reject):
        turn.refuse_with(message, event)
    elif isinstance(message, JobPosted):
        jobs.on_job(turn, message, event)
    elif isinstance(message, ContractSent):
        if message.provider == turn.policy.pubkey:
            contracts.on_contract(turn, message, event)
    elif isinstance(message, RoundAsked):
        if message.provider == turn.policy.pubkey:
            work.on_round(turn, message, event)
    elif isinstance(message, VerdictGiven):
        work.on_verdict(turn, message, event)
    elif isinstance(message, RulingGiven):
        disputes.on_ruling(turn, message, event)
    elif isinstance(message, Cancelled):
        contracts.on_cancelled(turn, message)
    elif isinstance(message, Closed):
        contracts.on_closed(turn, message)


def _on_command(turn: Turn, command: Command) -> None:
    if isinstance(command, Start):
        turn.set(is_open=True, is_away=False)
        announcing.announce(turn)
    elif isinstance(command, Leave):
        announcing.leave(turn)
    elif isinstance(command, Pause):
        announcing.pause(turn)
    elif isinstance(command, Dispute):
        disputes.dispute(turn, command.request)
    else:
        contract = turn.s.contracts.get(command.contract)
        if contract is not None:
            draft = draft_rating(contract.id, contract.customer, command.points, command.sentence)
            turn.ask(Publish(f"publish/rating/{contract.id}/{turn.now_s}", draft))


def _on_result(turn: Turn, result: Result) -> None:
    if result.key not in turn.s.pending:
        return
    if is_final(result):
        turn.drop(result.key)
    name, _, last = result.key.rpartition("/")
    found = turn.s.works.get(last)
    contract = turn.s.contracts.get(last)
    if isinstance(result, Failed):
        _on_failed(turn, name, found, contract, result)
    elif isinstance(result, Published):
        _on_published(turn, name, last, result)
    elif found is not None:
        _on_work(turn, found, result)
    elif contract is not None:
        _on_contract(turn, contract, result)


def _on_work(turn: Turn, found: Work, result: Result) -> None:
    handlers: dict[type, Callable[[Any], None]] = {
        Done: lambda r: work.start(turn, found),
        Fetched: lambda r: turn.put_work(replace(found, stage=Stage.WAITING)),
        Trained: lambda r: work.on_trained(turn, found, r),
        Stored: lambda r: work.on_stored(turn, found, r),
        InvoiceMade: lambda r: work.on_invoice(turn, found, r),
        PaymentSeen: lambda r: work.on_payment(turn, found, r),
        Redeemed: lambda r: work.on_paid(turn, found, r.amount_msat),
    }
    handler = handlers.get(type(result))
    if handler is not None:
        handler(result)


def _on_contract(turn: Turn, contract: Contract, result: Result) -> None:
    if isinstance(result, JobOpened):
        contracts.on_job_opened(turn, contract, result)
    elif isinstance(result, Fetched):
        contracts.on_fetched(turn, contract, result.key.removeprefix("fetch/"))
    elif isinstance(result, Unsealed):
        contracts.on_unsealed(turn, contract, result)


def _on_published(turn: Turn, name: str, last: str, result: Published) -> None:
    if name == "publish/offer":
        message = read_message(Letter(result.event), 0)
        if isinstance(message, OfferMade) and last in turn.s.jobs:
            jobs.on_offered(turn, last, result.event, message.terms)
    elif name == "publish/accept" and last in turn.s.contracts:
        contracts.on_accepted(turn, turn.s.contracts[last])
    elif name.startswith("publish/dispute/") and last in turn.s.works:
        turn.keep("disputes", result.event.id, last)
    elif name == "publish/result" and last in turn.s.works:
        work.on_delivered(turn, turn.s.works[last], result.event)


def _on_failed(
    turn: Turn, name: str, found: Work | None, contract: Contract | None, result: Failed
) -> None:
    """What cannot be had ends its work or contract; both sides hear why."""
    if found is not None:
        if name in ("check", "fetch/model", "train", "store", "invoice", "publish/result"):
            work.fail(turn, found, result.detail[:200])
        elif name in ("settle", "redeem") and found.stage is not Stage.DISPUTED:
            # a juror's signature that does not fit ends no dispute: others may still come
            turn.put_work(replace(found, stage=Stage.REJECTED, code=result.detail[:200]))
    elif contract is not None:
        contracts.decline(turn, contract, result.detail[:200])
