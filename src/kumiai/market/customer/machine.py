"""The customer as one pure machine: inputs in, the next state and effects out.

Guarantee: the same inputs at the same times give the same state; a result for an effect that is not
pending changes nothing; no more is promised than the budget; a work is paid at most once, because
its payment has one key for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kumiai.base.errors import Reject
from kumiai.market.customer import committee, judging, offers, paying, rounds, waking
from kumiai.market.customer.state import (
    Accept,
    Begin,
    Cancel,
    Command,
    CustomerPlan,
    CustomerState,
    Phase,
    Rate,
    Stage,
    Standing,
    Work,
)
from kumiai.market.customer.turn import Turn
from kumiai.market.effects import (
    Combined,
    Effect,
    Failed,
    Fetch,
    Fetched,
    Heard,
    Judged,
    PaymentSeen,
    Published,
    Redeemed,
    Result,
    Stored,
    Ticked,
    TokenMade,
    TokenSigned,
    Unsealed,
    Woken,
    is_final,
)
from kumiai.market.kinds import Code, Kind
from kumiai.market.letters import (
    ContractAccepted,
    FeedbackGiven,
    JudgementGiven,
    Letter,
    OfferMade,
    ResultGiven,
    RulingGiven,
)
from kumiai.market.machine import Outcome
from kumiai.market.nips.nip01 import Filter
from kumiai.market.reading import read_message


@dataclass(frozen=True, slots=True)
class Customer:
    """See `market.machine.Machine`."""

    plan: CustomerPlan

    def begin(self) -> CustomerState:
        """Nothing is posted yet."""
        return CustomerState()

    def step(
        self, state: CustomerState, now_s: int, item: Heard | Ticked | Woken | Result | Command
    ) -> Outcome[CustomerState]:
        """Take one input at that time of the customer's clock."""
        turn = Turn(self.plan, state, now_s)
        if isinstance(item, Heard):
            _on_letter(turn, item.letter)
        elif isinstance(item, Begin | Accept | Cancel | Rate):
            _on_command(turn, item)
        elif isinstance(item, Woken):
            waking.wake(turn, item.missed_s)
        elif not isinstance(item, Ticked):
            _on_result(turn, item)
        _advance(turn)
        return turn.end()

    def get_pending(self, state: CustomerState) -> Mapping[str, Effect]:
        """Return effects without a final result, in the order they were asked for."""
        return state.pending

    def list_filters(self, state: CustomerState) -> tuple[Filter, ...]:
        """Return what is addressed to us, from before the job was posted on."""
        kinds = (
            Kind.OFFER,
            Kind.ACCEPTANCE,
            Kind.RESULT,
            Kind.FEEDBACK,
            Kind.JUDGEMENT,
            Kind.RULING,
        )
        tags = {"p": (self.plan.pubkey,)}
        return (Filter(kinds=tuple(int(kind) for kind in kinds), tags=tags),)


def _on_letter(turn: Turn, letter: Letter) -> None:
    event = letter.event
    if event.pubkey == turn.plan.pubkey:
        return
    message = read_message(letter, turn.now_s)
    if isinstance(message, Reject):
        turn.refuse(message, event)
    elif isinstance(message, OfferMade):
        offers.on_offer(turn, message, event)
    elif isinstance(message, ContractAccepted):
        offers.on_acceptance(turn, message, event)
    elif isinstance(message, FeedbackGiven):
        rounds.on_feedback(turn, message, event)
    elif isinstance(message, ResultGiven):
        rounds.on_result(turn, message, event)
    elif isinstance(message, JudgementGiven):
        committee.on_judgement(turn, message, event)
    elif isinstance(message, RulingGiven):
        committee.on_ruling(turn, message, event)


def _on_command(turn: Turn, command: Command) -> None:
    if isinstance(command, Begin):
        offers.begin(turn)
    elif isinstance(command, Accept):
        if turn.s.phase is Phase.OFFERS:
            offers.choose(turn, command.providers)
            _enter_contracts(turn)
    elif isinstance(command, Cancel):
        paying.cancel(turn)
    else:
        paying.rate(turn, command.provider, command.points, command.sentence)


def _enter_contracts(turn: Turn) -> None:
    if turn.s.members:
        turn.set(round=1, attempt=0)
        turn.enter(Phase.CONTRACTS)


def _on_result(turn: Turn, result: Result) -> None:
    asked = turn.s.pending.get(result.key)
    if asked is None:
        return
    if is_final(result):
        turn.drop(result.key)
    parts = result.key.split("/")
    name = "/".join(parts[:2]) if parts[0] in ("publish", "store") else parts[0]
    if isinstance(result, Failed):
        if not (isinstance(asked, Fetch) and rounds.fetch_longer(turn, asked)):
            _on_failed(turn, name, result)
        return
    work = turn.s.works.get("/".join(parts[2 if "/" in name else 1 :]))
    if isinstance(result, Stored):
        _on_stored(turn, result)
    elif isinstance(result, Published):
        _on_published(turn, name, parts, work, result)
    elif isinstance(result, Judged):
        if parts[1] == "final":
            paying.on_final(turn, result)
        elif turn.s.phase is Phase.JUDGING:
            judging.on_judged(turn, result)
    elif isinstance(result, Combined):
        judging.on_combined(turn, result)
    elif work is not None:
        _on_work(turn, work, result)


def _on_work(turn: Turn, work: Work, result: Result) -> None:
    handlers: dict[type, Callable[[Any], None]] = {
        TokenMade: lambda r: rounds.on_token(turn, work, r),
        Fetched: lambda r: rounds.on_fetched(turn, work),
        PaymentSeen: lambda r: rounds.on_payment(turn, work, r),
        Unsealed: lambda r: rounds.on_opened(turn, work, r),
        Redeemed: lambda r: turn.put_work(replace(work, payment="refunded")),
        TokenSigned: lambda r: paying.on_signed(turn, work, r.signatures),
    }
    handler = handlers.get(type(result))
    if handler is not None:
        handler(result)


def _on_stored(turn: Turn, result: Stored) -> None:
    name = result.key.removeprefix("store/")
    turn.keep("refs", name, result.ref)
    if name.startswith("shard/"):
        offers.send_contract(turn, name.removeprefix("shard/"))
    elif turn.s.phase is Phase.COMBINING and name == f"model/{turn.s.model}":
        judging.go_on(turn)


def _on_published(
    turn: Turn, name: str, parts: list[str], work: Work | None, result: Published
) -> None:
    if name == "publish/job":
        offers.on_posted(turn, result.event)
    elif name == "publish/contract":
        offers.on_contract_sent(turn, parts[2], result.event)
    elif name == "publish/round" and work is not None:
        rounds.on_asked(turn, work, result.event)
    elif name == "publish/verdict" and work is not None:
        turn.put_work(replace(work, verdict=result.event.id))


def _on_failed(turn: Turn, name: str, result: Failed) -> None:
    """A work that cannot go on is closed; anything else that fails for good ends the job."""
    work = turn.s.works.get(result.key.removeprefix(f"{name}/"))
    if work is None:
        if name == "judge" and turn.terms.committee:
            return  # the others may still be enough
        if name in ("judge", "combine", "store/task", "store/code", "store/model", "publish/job"):
            paying.finish(turn, f"{result.key}: {result.detail}")
        return
    if name.startswith("pay"):
        turn.put_work(replace(work, payment="failed"))
        # it may have expired while we were not there
        is_ours = result.code == Code.NOT_PAID or work.grace_s > 0
        if work.is_open and is_ours:
            paying.leave_undecided(turn, turn.s.works[work.key], Code.NOT_PAID)
        elif work.is_open:
            rounds.reject(turn, turn.s.works[work.key], Code.BAD_INVOICE)
        elif work.stage is Stage.ACCEPTED and name == "pay" and result.code != Code.NOT_PAID:
            paying.withdraw(turn, work)  # no invoice as agreed: nothing is owed
        return
    if name == "refund":
        paying.on_not_refunded(turn, work)
    elif name in ("lock", "publish/round"):  # never asked: no fault of the provider's
        turn.put_work(replace(work, stage=Stage.CLOSED, code=Code.CANCELLED))
    elif name in ("fetch", "open") and work.is_open:
        known = {str(code): code for code in Code}
        fallback = Code.NOT_THERE if name == "fetch" else Code.WRONG_HASH
        rounds.reject(turn, work, known.get(result.code, fallback))


def _advance(turn: Turn) -> None:
    """Do what time and the state allow now."""
    phase = turn.s.phase
    if phase is Phase.STORING:
        offers.post(turn)
    elif phase is Phase.OFFERS and turn.plan.is_automatic and offers.is_enough(turn):
        offers.choose(turn)
        _enter_contracts(turn)
        if not turn.s.members:
            paying.finish(turn, "nobody made an offer that could be taken")
    elif phase is Phase.CONTRACTS:
        offers.expire_contracts(turn)
        offers.choose(turn)
        if not _is_waiting(turn):
            rounds.start(turn, turn.s.round, turn.s.attempt)
    elif phase is Phase.ROUND:
        rounds.expire(turn)
        if judging.is_complete(turn):
            judging.judge(turn)
    if turn.s.phase is Phase.JUDGING:
        judging.conclude(turn)
    if turn.s.phase in (Phase.PAYING, Phase.CLOSED):
        paying.take_back(turn)
    if turn.s.phase is Phase.PAYING:
        rounds.expire(turn)
        paying.settle_up(turn)


def _is_waiting(turn: Turn) -> bool:
    waiting = (Standing.CHOSEN, Standing.SENT)
    return any(member.standing in waiting for member in turn.s.members.values())
