"""One round up to the judging: ask, receive sealed updates, lock the money, open.

Source: FEDSTR's "Algorithm 1" as its reference code has it, with what it lacks: who answers is who
was asked, nothing is believed that the provider says of itself, money is tied to acceptance.
"""

from __future__ import annotations

from dataclasses import replace

from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.market.customer import offers, paying
from kumiai.market.customer.state import Member, Phase, Stage, Standing, Work
from kumiai.market.customer.turn import Turn
from kumiai.market.drafts import compute_commitment, draft_round
from kumiai.market.effects import (
    Fetch,
    LockToken,
    Pay,
    PaymentSeen,
    Publish,
    TokenMade,
    Unseal,
    Unsealed,
)
from kumiai.market.fees import compute_fee_max
from kumiai.market.kinds import Code, Policy, Ruling, Status
from kumiai.market.letters import FeedbackGiven, ResultGiven
from kumiai.market.sealing import compute_sealed_bytes_max
from kumiai.market.terms import RoundTerms

_ALIVE = frozenset({Status.PROCESSING, Status.PAYMENT_REQUIRED})  # it waits for our last payment
_FRAUD = frozenset(
    {Code.DUPLICATE, Code.REPLAYED, Code.MALFORMED, Code.BAD_COMMITMENT, Code.WRONG_HASH}
)


def start(turn: Turn, round_number: int, attempt: int) -> None:
    """Ask every member with a contract for its work of this round."""
    active = [m for m in turn.s.members.values() if m.standing is Standing.ACTIVE]
    cost = sum(member.offer.terms.price_msat + _compute_fee_max(turn, member) for member in active)
    if not active:
        paying.finish(turn, "no provider is left")
        return
    if turn.s.spent_msat + turn.s.reserved_msat + cost > turn.plan.budget_msat:
        paying.finish(turn, "the budget does not cover another round")
        return
    turn.set(round=round_number, attempt=attempt)
    turn.enter(Phase.ROUND)
    for member in active:
        _prepare(turn, member)


def _prepare(turn: Turn, member: Member) -> None:
    offer = member.offer.terms
    work = Work(
        round=turn.s.round,
        attempt=turn.s.attempt,
        provider=member.provider,
        stage=Stage.ASKED,
        price_msat=offer.price_msat,
        deadline_s=turn.now_s + turn.terms.train_s,
        model=turn.s.model,
        fee_msat_max=_compute_fee_max(turn, member),
    )
    if offer.payment is Policy.HOLD:
        work = replace(work, preimage=turn.derive(f"preimage/{work.key}"))
    turn.put_work(work)
    if offer.payment is Policy.ESCROW:
        turn.ask(
            LockToken(
                f"lock/{work.key}",
                offer.price_msat,
                offer.ecash,
                turn.terms.arbiter,
                paying.compute_locktime(turn, work),
                paying.name_token(turn, work),
            )
        )
    else:
        _send_request(turn, work, member)


def _compute_fee_max(turn: Turn, member: Member) -> int:
    """What the payment of one round may cost beside the price; ecash is sent without a route."""
    offer = member.offer.terms
    if not turn.plan.has_fees or offer.payment is Policy.ESCROW:
        return 0
    return compute_fee_max(offer.price_msat)


def _send_request(turn: Turn, work: Work, member: Member, token: str = "", ours: str = "") -> None:
    seed = turn.derive(f"seed/{work.round}/{work.attempt}/{member.shard}")
    preimage = bytes.fromhex(work.preimage)
    terms = RoundTerms(
        round=work.round,
        attempt=work.attempt,
        model=turn.s.refs[f"model/{turn.s.model}"],
        seed=int(seed[:16], 16) >> 1,
        deadline_s=work.deadline_s,
        price_msat=work.price_msat,
        payment_hash=sha256_hex(preimage) if preimage else "",
        token=token,
        customer_ecash=ours,
        locktime_s=paying.compute_locktime(turn, work) if token else 0,
    )
    draft = draft_round(turn.job_id, member.contract, work.provider, terms, work.deadline_s)
    turn.ask(Publish(f"publish/round/{work.key}", draft))


def on_token(turn: Turn, work: Work, made: TokenMade) -> None:
    """The ecash is locked: the request that shows it goes out."""
    work = replace(work, token=made.token)
    turn.put_work(work)
    if work.is_open:
        _send_request(turn, work, turn.s.members[work.provider], made.token, made.customer)


def is_unasked(work: Work) -> bool:
    """Tell whether the request of an open work was never signed."""
    return work.stage is Stage.ASKED and not work.request


def ask_anew(turn: Turn, work: Work) -> None:
    """Ask with a new deadline for what was never asked before the old one passed.

    Ecash is bound to the old one: such a work is closed, and comes back after its locktime.
    """
    member = turn.s.members[work.provider]
    if member.offer.terms.payment is Policy.ESCROW:
        _close_unanswered(turn, work)
        return
    turn.drop(f"publish/round/{work.key}")
    work = replace(work, deadline_s=turn.now_s + turn.terms.train_s)
    turn.put_work(work)
    _send_request(turn, work, member)


def on_asked(turn: Turn, work: Work, event: Event) -> None:
    """The request is out; answers are matched by its id."""
    turn.keep("requests", event.id, work.key)
    turn.put_work(replace(work, request=event.id))


def on_feedback(turn: Turn, message: FeedbackGiven, event: Event) -> None:
    """The provider works, gives up, or sends the key of its update."""
    work = turn.s.works.get(turn.s.requests.get(message.request, ""))
    if work is None:
        offers.on_contract_feedback(turn, message, event)
        return
    if work.provider != message.provider:
        _refuse_stranger(turn, message.id, message.provider, event)
    elif message.status in _ALIVE and work.stage is Stage.ASKED:
        turn.put_work(replace(work, stage=Stage.WORKING))
    elif message.status is Status.ERROR and work.stage in (Stage.ASKED, Stage.WORKING):
        close(turn, work, Code.DECLINED)
    elif message.status is Status.PARTIAL and message.key and not work.seal_key:
        work = replace(work, seal_key=message.key)
        turn.put_work(work)
        if work.stage in (Stage.FETCHED, Stage.LOCKED):
            _open(turn, work)


def on_result(turn: Turn, message: ResultGiven, event: Event) -> None:
    """Check an announced update against its request; the first one that fits counts."""
    work = turn.s.works.get(turn.s.requests.get(message.request, ""))
    if work is None or work.provider != message.provider:
        _refuse_stranger(turn, message.id, message.provider, event)
        return
    if work.result is not None:
        if work.result.id != message.id:
            _refuse(turn, "second-result", "this request has its result already", message, event)
        return
    if work.stage not in (Stage.ASKED, Stage.WORKING):
        _refuse(turn, "late", "the round no longer waits for it", message, event)
        if work.stage is Stage.CLOSED and work.code in (Code.NO_REPLY, Code.LATE):
            work = replace(work, result=message)
            turn.put_work(work)
            reject(turn, work, Code.LATE)
        elif work.stage is Stage.CLOSED and work.code is Code.CANCELLED:
            work = replace(work, result=message)
            turn.put_work(work)
            paying.say_verdict(turn, work, Ruling.INCONCLUSIVE, Code.CANCELLED)
        return
    turn.set(arrivals=turn.s.arrivals + 1)
    work = replace(work, result=message, stage=Stage.DELIVERED, order=turn.s.arrivals)
    turn.put_work(work)
    code = _find_fault(turn, work, message)
    if code is not None:
        _refuse(turn, code.value, "the result is not what was asked for", message, event)
        reject(turn, work, code)
        return
    sealed_max = compute_sealed_bytes_max(turn.terms.update_bytes_max)
    turn.put_work(replace(work, price_msat=message.amount_msat, seal_key=message.terms.key))
    until_s = _get_fetch_end(turn, work)
    turn.ask(Fetch(f"fetch/{work.key}", message.terms.update, sealed_max, until_s))


def fetch_longer(turn: Turn, asked: Fetch) -> bool:
    """Ask again for an update that was given up at a time that we slept over; tell if so."""
    work = turn.s.works.get(asked.key.removeprefix("fetch/"))
    if work is None or not work.is_open or asked.deadline_s >= _get_fetch_end(turn, work):
        return False
    turn.ask(replace(asked, deadline_s=_get_fetch_end(turn, work)))
    return True


def _get_fetch_end(turn: Turn, work: Work) -> int:
    return work.until_s + turn.terms.judge_s


def _find_fault(turn: Turn, work: Work, message: ResultGiven) -> Code | None:
    member = turn.s.members[work.provider]
    payment = member.offer.terms.payment
    if turn.now_s > work.until_s:
        return Code.LATE
    place = (message.job, message.contract, message.round)
    if place != (turn.job_id, member.contract, work.round):
        return Code.WRONG_REQUEST
    if message.amount_msat > work.price_msat:
        return Code.BAD_INVOICE
    if payment is Policy.ESCROW and message.amount_msat != work.price_msat:
        return Code.BAD_INVOICE
    if (payment is not Policy.ESCROW) and not message.bolt11:
        return Code.BAD_INVOICE
    if payment in (Policy.INVOICE, Policy.ESCROW) and not message.terms.key:
        return Code.NO_KEY
    if message.terms.update.size_bytes > compute_sealed_bytes_max(turn.terms.update_bytes_max):
        return Code.TOO_BIG
    return _find_copy(turn, work, message, payment)


def _find_copy(turn: Turn, work: Work, message: ResultGiven, payment: Policy) -> Code | None:
    """Is anything of it from an earlier result?

    Two keys with the same sealed bytes or commitment: one of them copied, perhaps the first, whom
    the blob server told. Only the worker can open them and has its name in the commitment, so both
    are opened. With policy fair that costs money: there the later one is turned away.
    """
    for other in turn.s.works.values():
        if other.key == work.key or other.result is None:
            continue
        theirs, ours = other.result.terms, message.terms
        is_same = theirs.update.sha256 == ours.update.sha256 or theirs.commitment == ours.commitment
        if other.provider == work.provider:
            if is_same:
                return Code.REPLAYED
            if message.bolt11 and message.bolt11 == other.result.bolt11:
                return Code.BAD_INVOICE  # paid already, or on its way
        if is_same and payment is Policy.FAIR:
            return Code.DUPLICATE
    return None


def on_fetched(turn: Turn, work: Work) -> None:
    """The sealed bytes are here: lock or pay the money that the policy asks for now."""
    result = work.result
    if result is None or work.stage is not Stage.DELIVERED:
        return
    member = turn.s.members[work.provider]
    work = replace(work, stage=Stage.FETCHED)
    turn.put_work(work)
    payment = member.offer.terms.payment
    if payment in (Policy.HOLD, Policy.FAIR):
        preimage = bytes.fromhex(work.preimage)
        # the key comes with the payment: begun later than this, it comes after the round
        begin_by_s = work.until_s + turn.terms.judge_s if payment is Policy.FAIR else 0
        turn.ask(
            Pay(
                key=f"pay/{work.key}",
                bolt11=result.bolt11,
                amount_msat=work.price_msat,
                payee=member.offer.terms.payee,
                payment_hash=sha256_hex(preimage) if preimage else "",
                job=turn.job_id,
                round=work.round,
                begin_by_s=begin_by_s,
            )
        )
    if work.seal_key and payment is not Policy.FAIR:
        _open(turn, work)


def on_payment(turn: Turn, work: Work, seen: PaymentSeen) -> None:
    """What the own wallet says of a payment of ours."""
    work = replace(work, payment=seen.state, fee_msat=seen.fee_msat)
    member = turn.s.members[work.provider]
    if seen.state == "settled":
        is_fair = member.offer.terms.payment is Policy.FAIR
        is_key = is_fair and work.stage in (Stage.FETCHED, Stage.LOCKED)
        if is_key:
            work = replace(work, seal_key=seen.preimage)
        paying.on_settled(turn, work)
        if is_key:
            _open(turn, work)
        return
    if seen.state == "accepted" and work.stage is Stage.FETCHED:
        key_by = turn.now_s + turn.terms.reveal_s
        work = replace(work, stage=Stage.LOCKED, key_by_s=key_by)
    turn.put_work(work)
    if seen.state in ("failed", "expired", "canceled"):
        paying.on_unpaid(turn, work)


def _open(turn: Turn, work: Work) -> None:
    if work.result is None:
        return
    turn.put_work(replace(work, stage=Stage.OPENING))
    sealed = work.result.terms.update.sha256
    size_max = turn.terms.update_bytes_max
    turn.ask(Unseal(f"open/{work.key}", sealed, work.seal_key, size_max))


def on_opened(turn: Turn, work: Work, opened: Unsealed) -> None:
    """The update is readable: is it what its worker committed to?"""
    result = work.result
    if result is None or work.stage is not Stage.OPENING:
        return
    member = turn.s.members[work.provider]
    commitment = compute_commitment(
        turn.job_id, member.contract, work.round, work.attempt, work.provider, opened.blob
    )
    work = replace(work, update=opened.blob, stage=Stage.OPENED)
    turn.put_work(work)
    if commitment != result.terms.commitment:
        reject(turn, work, Code.BAD_COMMITMENT)


def expire(turn: Turn) -> None:
    """Close what did not come in time, and end the contracts of the silent."""
    for work in list(turn.s.works.values()):
        if not work.is_open:
            continue
        if work.stage is Stage.ASKED and turn.now_s > work.until_s - _get_silence_s(turn):
            _close_unanswered(turn, work)
        elif work.stage is Stage.WORKING and turn.now_s > work.until_s:
            close(turn, work, Code.LATE)
        elif work.stage is Stage.LOCKED:  # its time counts from the lock
            if turn.now_s > work.key_by_s:
                reject(turn, work, Code.NO_KEY)
        elif turn.now_s <= work.until_s + turn.terms.judge_s + turn.terms.reveal_s:
            continue
        elif work.stage is Stage.FETCHED and not work.seal_key:
            paying.leave_undecided(
                turn, work
            )  # our own payment came to nothing: not the provider's fault
        else:
            reject(turn, work, Code.NO_KEY if not work.seal_key else Code.NOT_THERE)


def _get_silence_s(turn: Turn) -> int:
    """Who says nothing in the first quarter of its time does not work."""
    return turn.terms.train_s - turn.terms.train_s // 4


def _close_unanswered(turn: Turn, work: Work) -> None:
    """Who was asked and is silent is gone; whom our own mint kept us from asking is not."""
    if not is_unasked(work):
        close(turn, work, Code.NO_REPLY)
        return
    turn.drop(f"publish/round/{work.key}")
    turn.put_work(replace(work, stage=Stage.CLOSED, code=Code.CANCELLED))


def close(turn: Turn, work: Work, code: Code) -> None:
    """Nothing that could be judged came: no pay, no stain on the stake, and perhaps a successor."""
    for name in ("publish/round", "fetch", "open"):
        turn.drop(f"{name}/{work.key}")
    turn.put_work(replace(work, stage=Stage.CLOSED, code=code))
    paying.count_fault(turn, work.provider, code, is_grave=code is Code.NO_REPLY)


def reject(turn: Turn, work: Work, code: Code) -> None:
    """Judged and not accepted: say why; the money goes back by itself or is never sent."""
    for name in ("publish/round", "fetch", "open"):
        turn.drop(f"{name}/{work.key}")
    work = replace(work, stage=Stage.REJECTED, ruling=Ruling.REJECTED, code=code)
    turn.put_work(work)
    paying.say_verdict(turn, work, Ruling.REJECTED, code)
    paying.count_fault(turn, work.provider, code, is_grave=code in _FRAUD)


def _refuse_stranger(turn: Turn, event_id: str, author: str, event: Event) -> None:
    evidence = {"event": event_id, "author": author}
    detail = "answers a request that this key was never sent"
    turn.refuse(Reject("not-the-provider", detail, evidence), event)


def _refuse(turn: Turn, reason: str, detail: str, message: ResultGiven, event: Event) -> None:
    evidence = {"event": message.id, "author": message.provider, "request": message.request}
    turn.refuse(Reject(reason, detail, evidence), event)
