"""Verdicts and money: what acceptance releases, what stays back, and how a job ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kumiai.market.customer import offers
from kumiai.market.customer.state import Phase, Stage, Standing, Work
from kumiai.market.customer.turn import Turn
from kumiai.market.drafts import draft_cancel, draft_closing, draft_rating, draft_verdict
from kumiai.market.effects import Judge, Judged, Pay, Publish, RedeemToken, SignToken
from kumiai.market.escrow import name_work
from kumiai.market.kinds import Code, Kind, Policy, Ruling

PAYMENT_TRIES_MAX = 3  # after the first
REFUND_TRIES_MAX = 10  # the last one about 17 hours after the locktime
REFUND_WAIT_S = 60  # before the second one; then twice as long each time
CANCELLED_AT_ONCE = 60  # requests that one event withdraws: an event has at most 64 tags
ESCROW_MARGIN_S = 24 * 3600  # for disputes, and for the provider to redeem before the locktime


def compute_locktime(turn: Turn, work: Work) -> int:
    """From when on we may take the ecash of a work back."""
    terms = turn.terms
    return work.deadline_s + 3 * terms.judge_s + terms.reveal_s + ESCROW_MARGIN_S


def name_token(turn: Turn, work: Work) -> str:
    """What the ecash of a work is locked for."""
    contract = turn.s.members[work.provider].contract
    return name_work(turn.job_id, contract, work.round, work.attempt)


def accept(turn: Turn, work: Work) -> None:
    """The update is worth its price: release the money the way the policy says."""
    member = turn.s.members[work.provider]
    turn.put_member(replace(member, accepted=member.accepted + 1))
    work = replace(work, stage=Stage.ACCEPTED, ruling=Ruling.ACCEPTED, code=Code.ACCEPTED)
    turn.put_work(work)
    payment = member.offer.terms.payment
    if payment is Policy.ESCROW:
        turn.ask(SignToken(f"sign/{work.key}", work.token, name_token(turn, work)))
        return
    say_verdict(turn, work, Ruling.ACCEPTED, Code.ACCEPTED)
    if work.payment == "settled":
        on_settled(turn, work)
    elif payment is Policy.INVOICE:
        _pay(turn, work, f"pay/{work.key}")


def _pay(turn: Turn, work: Work, key: str) -> None:
    if work.result is None:
        return
    turn.ask(
        Pay(
            key=key,
            bolt11=work.result.bolt11,
            amount_msat=work.price_msat,
            payee=turn.s.members[work.provider].offer.terms.payee,
            payment_hash="",
            job=turn.job_id,
            round=work.round,
        )
    )


def on_signed(turn: Turn, work: Work, signatures: Sequence[str]) -> None:
    """Our signatures on the ecash travel with the verdict: from then on it is the provider's."""
    say_verdict(turn, work, Ruling.ACCEPTED, Code.ACCEPTED, signatures)
    on_settled(turn, replace(work, payment="settled"))


def say_verdict(
    turn: Turn, work: Work, ruling: Ruling, code: Code, signatures: Sequence[str] = ()
) -> None:
    """Publish what was decided; nobody who delivered is left without a reason."""
    if work.result is None:
        return
    is_released = ruling is Ruling.ACCEPTED
    draft = draft_verdict(
        turn.job_id,
        turn.s.members[work.provider].contract,
        work.result.id,
        work.round,
        work.provider,
        ruling,
        code,
        gain_ppm=work.gain_ppm,
        update=work.update,
        preimage=work.preimage if is_released else "",
        signatures=signatures,
        model=work.model,
    )
    name = "publish/verdict" if not work.verdict else "publish/revised"
    turn.ask(Publish(f"{name}/{work.key}", draft))


def on_settled(turn: Turn, work: Work) -> None:
    """The money has moved, by our own wallet's word: it counts, whatever became of the work."""
    if work.stage is Stage.ACCEPTED:
        work = replace(work, stage=Stage.PAID)
    turn.put_work(work)
    _count_paid(turn, work.provider)


def _count_paid(turn: Turn, provider: str) -> None:
    member = turn.s.members[provider]
    mine = (one for one in turn.s.works.values() if one.provider == provider)
    paid = sum(one.price_msat for one in mine if one.is_spent)
    turn.put_member(replace(member, paid_msat=paid))


def on_unpaid(turn: Turn, work: Work) -> None:
    """A payment ended without moving money: an unopened work is closed, and says why.

    What was accepted is owed: it is paid again under a new key, as the old one moved nothing and
    never will.
    """
    if work.stage is Stage.ACCEPTED and work.payment in ("failed", "expired"):
        payment = turn.s.members[work.provider].offer.terms.payment
        if payment is Policy.INVOICE and work.tries < PAYMENT_TRIES_MAX:
            work = replace(work, tries=work.tries + 1, payment="")
            turn.put_work(work)
            _pay(turn, work, f"pay{work.tries}/{work.key}")
        return
    if not work.is_open:
        return
    # an invoice as agreed that our wallet could not pay, or that ended while we were not there
    if work.payment == "failed" or work.grace_s:
        leave_undecided(turn, work)
        return
    turn.put_work(replace(work, stage=Stage.REJECTED, code=Code.BAD_INVOICE))
    say_verdict(turn, turn.s.works[work.key], Ruling.INCONCLUSIVE, Code.BAD_INVOICE)
    count_fault(turn, work.provider, Code.BAD_INVOICE, is_grave=False)


def withdraw(turn: Turn, work: Work) -> None:
    """Accepted, but its invoice is not what the contract says: nothing is owed, and it counts."""
    turn.put_work(replace(work, payment="failed", stage=Stage.CLOSED, code=Code.BAD_INVOICE))
    member = turn.s.members[work.provider]
    turn.put_member(replace(member, accepted=member.accepted - 1))
    count_fault(turn, work.provider, Code.BAD_INVOICE, is_grave=True)


def leave_undecided(turn: Turn, work: Work, code: Code = Code.NOT_JUDGED) -> None:
    """Nobody judged it in time: no pay, and no stain on the provider."""
    work = replace(work, stage=Stage.REJECTED, ruling=Ruling.INCONCLUSIVE, code=code)
    turn.put_work(work)
    say_verdict(turn, work, Ruling.INCONCLUSIVE, code)


def count_fault(turn: Turn, provider: str, code: Code, *, is_grave: bool) -> None:
    """End a contract after fraud or silence at once, after other faults when they repeat."""
    member = turn.s.members[provider]
    is_rejected = code not in (Code.NO_REPLY, Code.LATE, Code.DECLINED, Code.CANCELLED)
    member = replace(member, faults=member.faults + 1, rejected=member.rejected + int(is_rejected))
    if is_grave or member.faults >= turn.plan.faults_max:
        member = replace(member, standing=Standing.ENDED, reason=str(code))
    turn.put_member(member)


def cancel(turn: Turn) -> None:
    """Withdraw what is open; what was delivered is judged and paid."""
    if turn.s.is_cancelled or turn.s.phase in (Phase.PAYING, Phase.CLOSED):
        return
    turn.set(is_cancelled=True)
    turn.drop("publish/job")  # what is not out never will be
    requests = [(turn.job_id, Kind.JOB)] if turn.s.job is not None else []
    requests += [(contract, Kind.CONTRACT) for contract in turn.s.contracts]
    for at in range(0, len(requests), CANCELLED_AT_ONCE):
        draft = draft_cancel(requests[at : at + CANCELLED_AT_ONCE], "cancelled by the customer")
        turn.ask(Publish(f"publish/cancel/{at}", draft))
    for work in list(turn.s.works.values()):
        if work.stage in (Stage.ASKED, Stage.WORKING):
            turn.drop(f"publish/round/{work.key}")
            turn.put_work(replace(work, stage=Stage.CLOSED, code=Code.CANCELLED))
    if turn.s.phase not in (Phase.ROUND, Phase.JUDGING, Phase.COMBINING):
        finish(turn, "cancelled by the customer")


def finish(turn: Turn, outcome: str) -> None:
    """No further round: measure the final model once, and wait for money under way."""
    if turn.s.phase in (Phase.PAYING, Phase.CLOSED):
        return
    turn.set(outcome=outcome)
    turn.enter(Phase.PAYING)
    for member in list(turn.s.members.values()):
        if member.standing is not Standing.ENDED:
            offers.end_member(turn, member, outcome)
    for work in list(turn.s.works.values()):
        if work.stage is Stage.OPENED:  # our judge failed
            leave_undecided(turn, work)
    if turn.s.history:
        seed = turn.derive("beacon/final")
        turn.ask(
            Judge("judge/final", turn.s.round + 1, turn.s.model, turn.s.previous_model, (), seed)
        )


def on_final(turn: Turn, judged: Judged) -> None:
    """How good the model is that the customer keeps."""
    turn.set(final_loss_ppm=judged.loss_ppm, final_accuracy_ppm=judged.accuracy_ppm)


def settle_up(turn: Turn) -> None:
    """Close the job when no money moves any more, or the patience for it is over."""
    owed = [work for work in turn.s.works.values() if work.stage is Stage.ACCEPTED]
    is_waiting = not all(work.is_accepted_unpaid for work in owed)
    is_waiting = is_waiting or "judge/final" in turn.s.pending or _may_be_disputed(turn)
    is_waiting = is_waiting or any(turn.s.is_being_paid(work) for work in turn.s.works.values())
    if is_waiting and turn.now_s < turn.s.phase_since_s + turn.plan.payment_s:
        return
    turn.enter(Phase.CLOSED)
    if turn.s.job is None:
        return
    members = [(m.provider, m.accepted, m.rejected, m.paid_msat) for m in turn.s.members.values()]
    rounds = len({done.round for done in turn.s.history if done.accepted})
    draft = draft_closing(turn.job_id, rounds, turn.s.model, members)
    turn.ask(Publish("publish/closing", draft))


def _may_be_disputed(turn: Turn) -> bool:
    """A jury has the time of a judgement to hear about what was rejected, and as long to rule."""
    if not turn.terms.jury or turn.now_s > turn.s.phase_since_s + 2 * turn.terms.judge_s:
        return False
    rejected = [w for w in turn.s.works.values() if w.stage is Stage.REJECTED and w.verdict]
    return any(work.key not in turn.s.rulings for work in rejected)


def take_back(turn: Turn) -> None:
    """Ask for the refund of ecash that was not earned, once its locktime has passed."""
    for work in list(turn.s.works.values()):
        if not work.token or work.stage in (Stage.PAID, Stage.ACCEPTED) or work.payment:
            continue
        wait_s = REFUND_WAIT_S * (2**work.tries - 1)
        if turn.now_s > compute_locktime(turn, work) + wait_s:
            turn.put_work(replace(work, payment="refunding"))
            turn.ask(RedeemToken(f"refund/{work.key}", work.token, ()))


def on_not_refunded(turn: Turn, work: Work) -> None:
    """The mint refused, perhaps because its clock is behind ours: ask again, later and later."""
    tries = work.tries + 1
    payment = "" if tries < REFUND_TRIES_MAX else "failed"
    turn.put_work(replace(work, tries=tries, payment=payment))
    _count_paid(turn, work.provider)


def rate(turn: Turn, provider: str, points: int, sentence: str) -> None:
    """Say publicly how a provider was; it needs a contract that both signed."""
    member = turn.s.members.get(provider)
    if member is not None and member.contract:
        draft = draft_rating(member.contract, provider, points, sentence)
        turn.ask(Publish(f"publish/rating/{member.contract}/{turn.now_s}", draft))
