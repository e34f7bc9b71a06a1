"""One round of a provider: check the request, train, seal, deliver, be paid.

Source: docs/nip-training.md, sections 4 to 6. Deviation from FEDSTR's reference code: no work
starts before the request shows that pay is possible (a hash to lock money on, or ecash that is
checked).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from kumiai.base.events import Event
from kumiai.market.drafts import (
    draft_feedback,
)
from kumiai.market.effects import (
    CheckToken,
    Fetch,
    InvoiceMade,
    MakeInvoice,
    PaymentSeen,
    RedeemToken,
    Settle,
    Store,
    Stored,
    Train,
    Trained,
    WatchInvoice,
)
from kumiai.market.escrow import name_work
from kumiai.market.kinds import DISPUTABLE, Policy, Ruling, Status
from kumiai.market.letters import RoundAsked, VerdictGiven
from kumiai.market.provider import answers, disputes, requests
from kumiai.market.provider.contracts import BEFORE_DELIVERY, decline, drop_work
from kumiai.market.provider.state import Stage, Work, name_result
from kumiai.market.provider.turn import Turn


def on_round(turn: Turn, message: RoundAsked, event: Event) -> None:
    """Take a request of a contract of ours, once."""
    if message.id in turn.s.works:
        return
    contract = turn.s.contracts.get(message.contract)
    flaw = requests.find_flaw(turn, contract, message)
    if contract is None or flaw:
        turn.refuse("bad-request", flaw, event)
        return
    losses = requests.count_losses(turn, contract.id)
    if losses >= turn.policy.losses_max:
        decline(turn, contract, f"the last {losses} rounds were rejected")
        return
    work = Work(message, Stage.ASKED, amount_msat=message.terms.price_msat)
    overlong = answers.find_overlong(turn, message)
    if overlong:
        fail(turn, work, overlong)
        return
    turn.put_contract(replace(contract, since_s=turn.now_s))
    unpaid = requests.count_unpaid(turn, contract.id)
    if unpaid < turn.policy.unpaid_max:
        _begin(turn, work)
        return
    turn.put_work(replace(work, stage=Stage.OWED))
    said = f"{unpaid} delivered rounds are neither paid nor rejected"
    draft = draft_feedback(work.key, message.job, message.customer, Status.PAYMENT_REQUIRED, said)
    answers.publish(turn, work, "payment-required", draft)


def begin_owed(turn: Turn) -> None:
    """Take up what waited for the pay of the rounds before."""
    for work in turn.list_open():
        if work.stage is Stage.OWED:
            unpaid = requests.count_unpaid(turn, work.request.contract)
            if unpaid < turn.policy.unpaid_max:
                _begin(turn, replace(work, stage=Stage.ASKED))


def _begin(turn: Turn, work: Work) -> None:
    turn.put_work(work)
    terms = turn.get_terms(work)
    if turn.get_contract(work).terms.payment is Policy.ESCROW:
        turn.put_work(replace(work, stage=Stage.CHECKING))
        request, asked = work.request, work.request.terms
        turn.ask(
            CheckToken(
                f"check/{work.key}",
                asked.token,
                asked.price_msat,
                asked.customer_ecash,
                terms.arbiter,
                asked.locktime_s,
                name_work(request.job, request.contract, asked.round, asked.attempt),
            )
        )
        return
    start(turn, work)


def start(turn: Turn, work: Work) -> None:
    """Say that we work, and fetch the model."""
    request = work.request
    draft = draft_feedback(request.id, request.job, request.customer, Status.PROCESSING)
    answers.publish(turn, work, "processing", draft)
    turn.put_work(replace(work, stage=Stage.FETCHING))
    size_max = turn.get_terms(work).model_bytes
    deadline = request.terms.deadline_s
    turn.ask(Fetch(f"fetch/model/{work.key}", request.terms.model, size_max, deadline))


def train_next(turn: Turn) -> None:
    """Start the oldest waiting work if the machine is free."""
    works = turn.list_open()
    if any(work.stage is Stage.TRAINING for work in works):
        return
    for work in works:
        if work.stage is Stage.WAITING:
            _train(turn, work)
            return


def _train(turn: Turn, work: Work) -> None:
    contract, terms = turn.get_contract(work), turn.get_terms(work)
    turn.put_work(replace(work, stage=Stage.TRAINING))
    turn.ask(
        Train(
            key=f"train/{work.key}",
            round=work.request.terms.round,
            task=terms.task.sha256,
            code=terms.code.sha256 if terms.code is not None else "",
            input_shape=terms.input_shape,
            class_count=terms.class_count,
            model=work.request.terms.model.sha256,
            shard=contract.shard,
            seed=work.request.terms.seed,
            seconds=max(1, work.request.terms.deadline_s - turn.now_s),
        )
    )


def on_trained(turn: Turn, work: Work, trained: Trained) -> None:
    """Seal the update under a key of its own and put it where the customer can fetch it."""
    if trained.size_bytes > turn.get_terms(work).update_bytes_max:
        fail(turn, work, "our update is longer than the job allows")
        return
    turn.put_work(
        replace(
            work,
            stage=Stage.STORING,
            update=trained.update,
            samples=trained.samples,
            iterations=trained.iterations,
            flop=trained.flop,
            loss_ppm=trained.loss_ppm,
        )
    )
    turn.ask(Store(f"store/{work.key}", trained.update, answers.get_seal_key(turn, work)))


def on_stored(turn: Turn, work: Work, stored: Stored) -> None:
    """Ask for the pay, as the contract's policy says."""
    work = replace(work, stage=Stage.INVOICING, sealed=stored.ref)
    turn.put_work(work)
    payment = turn.get_contract(work).terms.payment
    if payment is Policy.ESCROW:
        _deliver(turn, work)
        return
    request = work.request
    turn.ask(
        MakeInvoice(
            key=f"invoice/{work.key}",
            amount_msat=work.amount_msat,
            expiry_s=requests.compute_invoice_life_s(turn.get_terms(work)),
            description=f"training, round {request.terms.round} of job {request.job[:12]}",
            payment_hash=request.terms.payment_hash if payment is Policy.HOLD else "",
            preimage=answers.get_seal_key(turn, work) if payment is Policy.FAIR else "",
        )
    )


def on_invoice(turn: Turn, work: Work, made: InvoiceMade) -> None:
    """The invoice goes with the result."""
    work = replace(work, bolt11=made.bolt11, payment_hash=made.payment_hash)
    turn.put_work(work)
    _deliver(turn, work)


def _deliver(turn: Turn, work: Work) -> None:
    request = work.request
    if turn.now_s > request.terms.deadline_s or work.sealed is None:
        fail(turn, work, "too late")
        return
    answers.publish(turn, work, "result", answers.make_result(turn, work))


def on_delivered(turn: Turn, work: Work, event: Event) -> None:
    """The result is out: watch our own wallet, which alone tells about money."""
    turn.put_work(replace(work, stage=Stage.DELIVERED, result=event.id))
    if work.payment_hash:
        turn.ask(WatchInvoice(f"watch/{work.key}", work.payment_hash))


def on_payment(turn: Turn, work: Work, seen: PaymentSeen) -> None:
    """What our wallet says: locked money releases the key, settled money is pay."""
    work = replace(work, payment=seen.state)
    turn.put_work(work)
    payment = turn.get_contract(work).terms.payment
    if seen.state == "accepted" and payment is Policy.HOLD and work.stage is Stage.DELIVERED:
        turn.put_work(replace(work, stage=Stage.LOCKED))
        request, key = work.request, answers.get_seal_key(turn, work)
        draft = draft_feedback(
            request.id, request.job, request.customer, Status.PARTIAL, "the key", key
        )
        answers.publish(turn, work, "key", draft)
    elif seen.state == "settled":
        on_paid(turn, work, work.amount_msat)


def on_paid(turn: Turn, work: Work, amount_msat: int) -> None:
    """Paid, by our own wallet's word; once."""
    if work.paid_msat:
        return
    for name in ("watch", "settle", "redeem"):
        turn.drop(f"{name}/{work.key}")
    stage = work.stage if work.stage is Stage.REJECTED else Stage.PAID
    turn.put_work(replace(work, stage=stage, paid_msat=amount_msat))
    contract = turn.get_contract(work)
    turn.put_contract(replace(contract, paid_msat=contract.paid_msat + amount_msat))
    request = work.request
    draft = draft_feedback(request.id, request.job, request.customer, Status.SUCCESS, "paid")
    answers.publish(turn, work, "success", draft)


def on_verdict(turn: Turn, message: VerdictGiven, event: Event) -> None:
    """Accepted: take what it releases. Rejected: give the locked money back."""
    work = turn.s.works.get(turn.s.names.get(name_result(message.result), ""))
    if work is None or work.request.customer != message.judge:
        turn.refuse("not-the-judge", "a verdict on no result of ours, or by a stranger", event)
        return
    if work.verdict and not (work.stage is Stage.DISPUTED and message.ruling is Ruling.ACCEPTED):
        return
    payment = turn.get_contract(work).terms.payment
    is_accepted = message.ruling is Ruling.ACCEPTED
    if is_accepted and payment is Policy.HOLD:
        preimage = bytes.fromhex(message.preimage)
        if hashlib.sha256(preimage).hexdigest() != work.payment_hash:
            turn.refuse("wrong-preimage", "an accepting verdict without what it owes", event)
            return  # it decides nothing: one that fits may still come
    is_rejected = message.ruling is Ruling.REJECTED
    has_jury = bool(turn.get_terms(work).jury)
    if is_rejected and has_jury and not answers.has_room_to_dispute(turn, work, event):
        turn.refuse("too-long", "a verdict that no dispute has room for decides nothing", event)
        return
    work = replace(work, verdict=event, code=message.code)
    if not is_accepted:
        stage = work.stage if work.stage is Stage.PAID else Stage.REJECTED
        turn.put_work(replace(work, stage=stage))
        if turn.policy.disputes and message.code in DISPUTABLE and has_jury:
            disputes.dispute(turn, work.key)
        else:
            disputes.give_back(turn, work)
        return
    if work.stage is not Stage.PAID:
        work = replace(work, stage=Stage.ACCEPTED)
    turn.put_work(work)
    if payment is Policy.HOLD:
        turn.ask(Settle(f"settle/{work.key}", message.preimage))
    elif payment is Policy.ESCROW:
        token = work.request.terms.token
        turn.ask(RedeemToken(f"redeem/{work.key}", token, message.signatures))


def fail(turn: Turn, work: Work, reason: str) -> None:
    """We cannot deliver: say so, it costs the round's pay and nothing else."""
    drop_work(turn, work.key)
    turn.put_work(replace(work, stage=Stage.FAILED, code=reason))
    request = work.request
    draft = draft_feedback(request.id, request.job, request.customer, Status.ERROR, reason)
    answers.publish(turn, work, "error", draft)


def expire(turn: Turn) -> None:
    """Work that can no longer be in time is dropped."""
    for work in turn.list_open():
        if work.stage in BEFORE_DELIVERY and turn.now_s > work.request.terms.deadline_s:
            is_unpaid = work.stage is Stage.OWED
            fail(turn, work, "the round before was not paid" if is_unpaid else "too late")
        elif work.stage is Stage.DISPUTED and turn.now_s > disputes.compute_end(turn, work):
            turn.put_work(replace(work, stage=Stage.REJECTED))
            disputes.give_back(turn, work)
