"""Which jobs are offered for, and how long a job is kept.

Source: docs/nip-training.md, sections 3 and 4.
"""

from __future__ import annotations

from collections import Counter

from kumiai.base.events import Event
from kumiai.market import terms as t
from kumiai.market.drafts import draft_offer
from kumiai.market.effects import Publish
from kumiai.market.kinds import EVENT_BYTES_MAX
from kumiai.market.letters import JobPosted
from kumiai.market.provider.requests import compute_wait_s
from kumiai.market.provider.state import JOBS_KEPT_MAX, Standing
from kumiai.market.provider.turn import Turn
from kumiai.market.sizes import compute_event_bytes

COUNTED_S_MIN = 600  # so long an offer counts, however soon its job ends


def on_job(turn: Turn, job: JobPosted, event: Event) -> None:
    """Offer for a job that fits the policy; others are passed over in silence, and not kept."""
    if not turn.s.is_open or turn.s.is_away or job.id in turn.s.jobs:
        return
    if is_busy(turn) or find_objection(turn, job, job.terms) or not _may_offer(turn, job.customer):
        return
    policy = turn.policy
    terms = t.OfferTerms(
        price_msat=policy.price_msat,
        payment=next(name for name in job.payment if name in policy.payment),
        payee=policy.payee,
        train_s=policy.train_s,
        ecash=policy.ecash,
        expires_at_s=min(job.expires_at_s, turn.now_s + policy.offer_life_s),
    )
    draft = draft_offer(event, terms)
    if compute_event_bytes(draft) > EVENT_BYTES_MAX or not _make_room(turn):
        return  # an offer embeds its job
    turn.keep("jobs", job.id, job)
    turn.keep("job_events", job.id, event)
    counted_s = max(terms.expires_at_s, turn.now_s + COUNTED_S_MIN)
    turn.keep("open_until_s", job.id, counted_s)
    relays = turn.get_relays(job.id)
    turn.ask(Publish(f"publish/offer/{job.id}", draft, relays))


def _may_offer(turn: Turn, customer: str) -> bool:
    """Tell whether one more offer is within bounds: each is two entries of our journal.

    Who has paid us before needs no place among strangers', whose keys cost nothing.
    """
    policy = turn.policy
    open_count = Counter(turn.s.jobs[job].customer for job in list_open(turn))
    if 0 < policy.offers_of_one_max <= open_count[customer]:
        return False
    if not policy.offers_max or open_count.total() < policy.offers_max:
        return True
    return any(c.paid_msat and c.customer == customer for c in turn.s.contracts.values())


def list_open(turn: Turn) -> list[str]:
    """Return the jobs for which an offer of ours is open: it has not ended nor come to anything.

    A contract that was ended before it paid us anything takes no offer's place, nor does a cancel:
    else who posts and withdraws would get offers without end.
    """
    contracts = turn.s.contracts.values()
    taken = {c.job for c in contracts if c.standing is not Standing.ENDED or c.paid_msat}
    until_s = turn.s.open_until_s
    return [job for job in until_s if until_s[job] > turn.now_s and job not in taken]


def is_busy(turn: Turn) -> bool:
    """Tell whether contracts have taken all places."""
    active = [c for c in turn.s.contracts.values() if c.standing is not Standing.ENDED]
    return len(active) >= turn.policy.contracts_max


def _make_room(turn: Turn) -> bool:
    """Forget the oldest job that nobody works on: a flood of jobs keeps nobody out."""
    if len(turn.s.jobs) < JOBS_KEPT_MAX:
        return True
    used = {c.job for c in turn.s.contracts.values() if c.standing is not Standing.ENDED}
    oldest = next((job for job in turn.s.jobs if job not in used), None)
    if oldest is not None:
        forget_job(turn, oldest)
    return oldest is not None


def forget_job(turn: Turn, job: str) -> None:
    """Keep nothing of a job, nor of our offer for it."""
    turn.forget("jobs", job)
    turn.forget("job_events", job)
    turn.forget("open_until_s", job)
    turn.drop(f"publish/offer/{job}")
    for offer in [name for name, (of, _) in turn.s.offers.items() if of == job]:
        turn.forget("offers", offer)


def find_objection(turn: Turn, job: JobPosted, terms: t.JobTerms | None) -> str:
    """Return why a job is not for us, "" if it is. terms: None while it is sealed."""
    policy = turn.policy
    if job.customer in policy.refused or job.customer == policy.pubkey:
        return "we do not work for this customer"
    if policy.price_msat > job.bid_msat:
        return f"the bid of {job.bid_msat} msat is below our price of {policy.price_msat}"
    if not set(job.payment if terms is None else terms.payment) & set(policy.payment):
        return "no way of payment that both take"
    if terms is None:
        return ""
    biggest = max(terms.shard_bytes, terms.model_bytes, terms.update_bytes_max)
    if biggest > policy.bytes_max:
        return f"{biggest} bytes are more than the {policy.bytes_max} that we take"
    if terms.code is not None:
        if terms.code.sha256 not in policy.code:
            return f"its code {terms.code.sha256} is not among what we run"
    elif policy.recipes and terms.recipe not in policy.recipes:
        return f"recipe {terms.recipe} is not among what we train"
    wait_s = compute_wait_s(terms)
    if 0 < policy.wait_s_max < wait_s:
        limit = policy.wait_s_max
        return f"its times can hold a place or pay here for {wait_s} s, more than our {limit}"
    if terms.train_s < policy.train_s:
        return f"{terms.train_s} s are less than the {policy.train_s} that a round takes here"
    return ""


def on_offered(turn: Turn, job: str, event: Event, terms: t.OfferTerms) -> None:
    """Our offer is out: a contract may name it."""
    turn.keep("offers", event.id, (job, terms))


def forget_expired(turn: Turn) -> None:
    """Jobs that are past and without a contract take no room."""
    used = {contract.job for contract in turn.s.contracts.values()}
    for job in list(turn.s.jobs.values()):
        until_s = max(job.expires_at_s, turn.s.open_until_s.get(job.id, 0))
        if until_s <= turn.now_s and job.id not in used:
            forget_job(turn, job.id)
