"""From a job to contracts: store what it needs, post it, collect offers, choose, contract.

Silent providers are replaced by the next best offer. Source: docs/nip-training.md, sections 3, 4.
"""

from __future__ import annotations

from dataclasses import replace

from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.market.customer.state import OFFERS_KEPT_MAX, Member, Phase, Standing
from kumiai.market.customer.turn import Turn
from kumiai.market.drafts import draft_contract, draft_job
from kumiai.market.effects import Publish, Store
from kumiai.market.kinds import Policy, Status
from kumiai.market.letters import ContractAccepted, FeedbackGiven, OfferMade
from kumiai.market.terms import ContractTerms


def begin(turn: Turn) -> None:
    """Put the task, the recipe's code and the first model where providers can fetch them."""
    if turn.s.phase is not Phase.DRAFT:
        return
    turn.enter(Phase.STORING)
    turn.set(model=turn.plan.model)
    turn.ask(Store("store/task", turn.plan.task))
    turn.ask(Store(f"store/model/{turn.plan.model}", turn.plan.model))
    if turn.plan.code:
        turn.ask(Store("store/code", turn.plan.code))


def post(turn: Turn) -> None:
    """Publish the job as soon as all of that is there."""
    refs, plan = turn.s.refs, turn.plan
    names = ["task", f"model/{plan.model}", *(["code"] if plan.code else [])]
    if turn.s.terms is not None or not all(name in refs for name in names):
        return
    terms = replace(plan.terms, task=refs["task"], code=refs.get("code"))
    turn.set(terms=terms)
    job_key = turn.derive("job") if plan.is_sealed else ""
    expires = turn.now_s + plan.job_life_s
    turn.ask(Publish("publish/job", draft_job(terms, expires, plan.relays, job_key)))


def on_posted(turn: Turn, event: Event) -> None:
    """The job is out: offers may come."""
    turn.set(job=event)
    turn.enter(Phase.OFFERS)


def on_offer(turn: Turn, offer: OfferMade, event: Event) -> None:
    """Keep an offer that we could take.

    A provider's other offer replaces it if it is cheaper, or the first has expired: so nobody can
    fill our journal with offers, and an old one that comes late changes nothing.
    """
    flaw = _find_flaw(turn, offer)
    if flaw:
        evidence = {"event": offer.id, "author": offer.provider}
        turn.refuse(Reject("bad-offer", flaw, evidence), event)
    elif (
        offer.provider not in turn.s.members and _is_better(turn, offer) and _make_room(turn, offer)
    ):
        turn.keep("offers", offer.provider, offer)


def _is_better(turn: Turn, offer: OfferMade) -> bool:
    known = turn.s.offers.get(offer.provider)
    if known is None or 0 < known.terms.expires_at_s <= turn.now_s:
        return True
    return offer.terms.price_msat < known.terms.price_msat


def _make_room(turn: Turn, offer: OfferMade) -> bool:
    """Among too many offers the dearest gives way: a flood of dear ones keeps nobody out."""
    if offer.provider in turn.s.offers or len(turn.s.offers) < OFFERS_KEPT_MAX:
        return True
    dearest = max(turn.s.offers.values(), key=lambda one: (one.terms.price_msat, one.provider))
    if dearest.terms.price_msat <= offer.terms.price_msat:
        return False
    turn.forget("offers", dearest.provider)
    return True


def _find_flaw(turn: Turn, offer: OfferMade) -> str:
    terms = turn.terms
    if offer.job != turn.job_id:
        return "it answers another job"
    if offer.provider == turn.plan.pubkey or offer.provider in (*terms.committee, *terms.jury):
        return "customer, judges and jurors cannot be providers of the same job"
    if offer.provider in turn.plan.refused:
        return "the customer works with this provider no more"
    if offer.terms.payment not in terms.payment:
        return f"it wants to be paid by {offer.terms.payment}, which the job does not offer"
    if offer.terms.price_msat > terms.bid_msat:
        return f"it asks {offer.terms.price_msat} msat, more than the bid of {terms.bid_msat}"
    if offer.terms.payment is Policy.ESCROW and not offer.terms.ecash:
        return "it names no key for ecash"
    return ""


def list_best_offers(turn: Turn) -> list[OfferMade]:
    """Return offers of providers without a contract so far, best first.

    Cheapest, then fastest, then by a hash that neither side can choose alone: among equal offers
    nobody gains by being first, or by many keys of one form.
    """

    def rank(offer: OfferMade) -> tuple[int, int, str]:
        tie = sha256_hex(f"{turn.derive('offers')}/{offer.provider}".encode())
        return offer.terms.price_msat, offer.terms.train_s, tie

    free = [offer for name, offer in turn.s.offers.items() if name not in turn.s.members]
    valid = [o for o in free if o.terms.expires_at_s == 0 or o.terms.expires_at_s > turn.now_s]
    return sorted(valid, key=rank)


def is_enough(turn: Turn) -> bool:
    """Tell whether the wait for offers is over."""
    if turn.now_s >= turn.s.phase_since_s + turn.plan.offers_s:
        return True
    return 0 < turn.plan.offers_enough <= len(turn.s.offers)


def choose(turn: Turn, wanted_first: tuple[str, ...] = ()) -> None:
    """Give every part of the data that lacks a provider to the best offers; send contracts."""
    held: dict[int, int] = dict.fromkeys(range(len(turn.plan.shards)), 0)
    for member in turn.s.members.values():
        if member.standing is not Standing.ENDED:
            held[member.shard] += 1
    offers = list_best_offers(turn)
    if wanted_first:
        named = {offer.provider: offer for offer in offers}
        offers = [named[name] for name in wanted_first if name in named]
    for offer in offers:
        shard = min(held, key=lambda index: (held[index], index))
        if held[shard] >= turn.terms.redundancy:
            break
        held[shard] += 1
        turn.put_member(Member(offer.provider, offer, shard, Standing.CHOSEN, turn.now_s))
        turn.ask(
            Store(
                f"store/shard/{offer.provider}",
                turn.plan.shards[shard],
                turn.derive(f"shard/{shard}/{offer.provider}"),
            )
        )


def send_contract(turn: Turn, provider: str) -> None:
    """The sealed part of the data is there: say so, with its key, to the one who may read it."""
    member = turn.s.members.get(provider)
    if member is None or member.standing is not Standing.CHOSEN:
        return
    offer = member.offer.terms
    terms = ContractTerms(
        shard_index=member.shard,
        shard=turn.s.refs[f"shard/{provider}"],
        shard_key=turn.derive(f"shard/{member.shard}/{provider}"),
        price_msat=offer.price_msat,
        payment=offer.payment,
        payee=offer.payee,
        job_key=turn.derive("job") if turn.plan.is_sealed else "",
    )
    expires = turn.now_s + turn.plan.accept_s
    draft = draft_contract(turn.job_id, member.offer.id, provider, terms, expires)
    turn.ask(Publish(f"publish/contract/{provider}", draft))


def on_contract_sent(turn: Turn, provider: str, event: Event) -> None:
    """The contract's event names it from now on."""
    turn.keep("contracts", event.id, event)
    member = turn.s.members[provider]
    if member.standing is Standing.CHOSEN:
        turn.put_member(
            replace(member, standing=Standing.SENT, contract=event.id, since_s=turn.now_s)
        )


def on_acceptance(turn: Turn, message: ContractAccepted, event: Event) -> None:
    """The provider has its part and will work."""
    member = turn.s.members.get(message.provider)
    if member is None or not member.contract or member.contract != message.contract:
        evidence = {"event": message.id, "author": message.provider}
        turn.refuse(
            Reject("not-the-provider", "accepts a contract of somebody else", evidence), event
        )
    elif member.standing is Standing.SENT:
        turn.put_member(replace(member, standing=Standing.ACTIVE, since_s=turn.now_s))


def on_contract_feedback(turn: Turn, message: FeedbackGiven, event: Event) -> None:
    """A provider that cannot or will not is replaced."""
    member = turn.s.members.get(message.provider)
    if message.request in turn.s.contracts and (
        member is None or member.contract != message.request
    ):
        evidence = {"event": message.id, "author": message.provider}
        detail = "speaks about a contract of somebody else"
        turn.refuse(Reject("not-the-provider", detail, evidence), event)
        return
    if member is None or message.status is not Status.ERROR:
        return
    if message.request == member.contract and member.standing is not Standing.ENDED:
        end_member(turn, member, message.sentence or "declined")


def end_member(turn: Turn, member: Member, reason: str) -> None:
    """No further requests to this provider; what it delivered is still judged and paid."""
    turn.put_member(
        replace(turn.s.members[member.provider], standing=Standing.ENDED, reason=reason)
    )
    turn.drop(f"store/shard/{member.provider}")
    turn.drop(f"publish/contract/{member.provider}")


def expire_contracts(turn: Turn) -> None:
    """Who has not accepted in time is replaced."""
    for member in list(turn.s.members.values()):
        is_waiting = member.standing in (Standing.CHOSEN, Standing.SENT)
        if is_waiting and turn.now_s >= member.since_s + turn.plan.accept_s:
            end_member(turn, member, "no answer to the contract")
