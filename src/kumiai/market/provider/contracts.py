"""From an announcement to a contract: which jobs are offered for, and what is fetched first.

Source: docs/nip-training.md, sections 3, 4 and 9.
"""

from __future__ import annotations

from dataclasses import replace

from kumiai.base import canonical
from kumiai.base.events import Event
from kumiai.market import terms as t
from kumiai.market.drafts import draft_acceptance, draft_feedback, draft_offer
from kumiai.market.effects import Fetch, JobOpened, OpenJob, Publish, Unseal, Unsealed
from kumiai.market.kinds import HEARTBEAT_LIFE_S, HEARTBEAT_S, TOPIC, VERSION, Kind, Status
from kumiai.market.letters import Cancelled, Closed, ContractSent, Draft, JobPosted
from kumiai.market.params import ParamError, read_params
from kumiai.market.provider.state import (
    CONTRACTS_MAX,
    JOBS_KEPT_MAX,
    Contract,
    Stage,
    Standing,
    Work,
)
from kumiai.market.provider.turn import Turn

TASK_BYTES_MAX = 2**20
CODE_BYTES_MAX = 2**20
PATIENCE_ROUNDS = 4
FIRST_REQUEST_S = 3600  # whatever times a job declares: so long we wait for its first round
ANNOUNCEMENT_NAME = "kumiai-training"
_BEFORE_ACTIVE = ("open-job", "fetch/task", "fetch/shard", "fetch/code", "unseal", "publish/accept")
BEFORE_DELIVERY = frozenset(
    {
        Stage.ASKED,
        Stage.OWED,
        Stage.CHECKING,
        Stage.FETCHING,
        Stage.WAITING,
        Stage.TRAINING,
        Stage.STORING,
        Stage.INVOICING,
    }
)


def announce(turn: Turn) -> None:
    """Say who we are and what we take (NIP-89)."""
    policy = turn.policy
    about = {
        "name": policy.name,
        "about": policy.about,
        "hardware": policy.hardware,
        "recipes": list(policy.recipes),
        "price_msat": policy.price_msat,
        "payment": [str(name) for name in policy.payment],
        "encryption": ["nip44_v2"],
    }
    tags = (("d", ANNOUNCEMENT_NAME), ("k", str(int(Kind.JOB))), ("t", TOPIC), ("v", VERSION))
    text = canonical.encode_checked(about).decode()
    turn.ask(Publish("publish/announcement", Draft(Kind.ANNOUNCEMENT, tags, text=text)))
    beat(turn)


def beat(turn: Turn) -> None:
    """Say that we are there, every five minutes; what we said expires by itself."""
    if not turn.s.is_open or turn.now_s < turn.s.announced_s + HEARTBEAT_S:
        return
    turn.set(announced_s=turn.now_s)
    turn.drop("publish/heartbeat")
    address = f"{int(Kind.ANNOUNCEMENT)}:{turn.policy.pubkey}:{ANNOUNCEMENT_NAME}"
    tags = (
        ("v", VERSION),
        ("t", TOPIC),
        ("a", address),
        ("d", ANNOUNCEMENT_NAME),
        ("status", "online"),
        ("expiration", str(turn.now_s + HEARTBEAT_LIFE_S)),
    )
    turn.ask(Publish("publish/heartbeat", Draft(Kind.HEARTBEAT, tags)))


def on_job(turn: Turn, job: JobPosted, event: Event) -> None:
    """Offer for a job that fits the policy; others are passed over in silence, and not kept."""
    if not turn.s.is_open or job.id in turn.s.jobs:
        return
    if _is_busy(turn) or find_objection(turn, job, job.terms) or not _make_room(turn):
        return
    turn.keep("jobs", job.id, job)
    turn.keep("job_events", job.id, event)
    policy = turn.policy
    terms = t.OfferTerms(
        price_msat=policy.price_msat,
        payment=next(name for name in job.payment if name in policy.payment),
        payee=policy.payee,
        train_s=policy.train_s,
        ecash=policy.ecash,
        expires_at_s=min(job.expires_at_s, turn.now_s + policy.offer_life_s),
    )
    relays = turn.get_relays(job.id)
    turn.ask(Publish(f"publish/offer/{job.id}", draft_offer(event, terms), relays))


def _is_busy(turn: Turn) -> bool:
    active = [c for c in turn.s.contracts.values() if c.standing is not Standing.ENDED]
    return len(active) >= turn.policy.contracts_max


def _make_room(turn: Turn) -> bool:
    """Forget the oldest job that nobody works on: a flood of jobs keeps nobody out."""
    if len(turn.s.jobs) < JOBS_KEPT_MAX:
        return True
    used = {c.job for c in turn.s.contracts.values() if c.standing is not Standing.ENDED}
    oldest = next((job for job in turn.s.jobs if job not in used), None)
    if oldest is not None:
        _forget_job(turn, oldest)
    return oldest is not None


def _forget_job(turn: Turn, job: str) -> None:
    turn.forget("jobs", job)
    turn.forget("job_events", job)
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
    if terms.train_s < policy.train_s:
        return f"{terms.train_s} s are less than the {policy.train_s} that a round takes here"
    return ""


def on_offered(turn: Turn, job: str, event: Event, terms: t.OfferTerms) -> None:
    """Our offer is out: a contract may name it."""
    turn.keep("offers", event.id, (job, terms))


def on_contract(turn: Turn, message: ContractSent, event: Event) -> None:
    """Take a contract that says what was offered; fetch everything before saying yes."""
    if message.id in turn.s.contracts:
        return
    offered = turn.s.offers.get(message.offer)
    job = turn.s.jobs.get(message.job)
    if offered is None or job is None or offered[0] != message.job:
        turn.refuse("no-such-offer", "names an offer that we did not make", event)
        return
    if message.customer != job.customer:
        turn.refuse("not-the-customer", "the job is somebody else's", event)
        return
    offer = offered[1]
    terms = message.terms
    if (terms.price_msat, terms.payment, terms.payee) != (
        offer.price_msat,
        offer.payment,
        offer.payee,
    ):
        turn.refuse("other-terms", "price, payment or payee differ from our offer", event)
        return
    if any(c.job == message.job for c in turn.s.contracts.values()):
        turn.refuse("second-contract", "there is a contract about this job already", event)
        return
    if offer.expires_at_s <= turn.now_s:
        turn.refuse("offer-expired", f"our offer was good until {offer.expires_at_s}", event)
        return
    if len(turn.s.contracts) >= CONTRACTS_MAX:
        _forget_ended(turn)
    is_busy = _is_busy(turn)
    contract = Contract(
        message.id,
        message.job,
        message.customer,
        event,
        terms,
        Standing.FETCHING,
        since_s=turn.now_s,
    )
    if is_busy:
        decline(turn, contract, "other contracts have taken our room since we offered")
        return
    if job.terms is None:
        turn.put_contract(replace(contract, standing=Standing.OPENING))
        sealed = turn.s.job_events[job.id]
        turn.ask(OpenJob(f"open-job/{contract.id}", sealed, terms.job_key))
        return
    _fetch(turn, contract, job.terms)


def on_job_opened(turn: Turn, contract: Contract, opened: JobOpened) -> None:
    """A sealed job's terms: they must fit the policy like any other's."""
    if contract.standing is not Standing.OPENING:
        return  # it was cancelled meanwhile
    job = turn.s.jobs[contract.job]
    try:
        terms = t.read_job(opened.hidden, read_params(opened.hidden), job.bid_msat)
    except ParamError as error:
        decline(turn, contract, str(error))
        return
    objection = find_objection(turn, job, terms)
    if objection or contract.terms.payment not in terms.payment:
        decline(turn, contract, objection or "this way of payment is not the job's")
        return
    _fetch(turn, contract, terms)


def _fetch(turn: Turn, contract: Contract, terms: t.JobTerms) -> None:
    wanted = [
        (f"task/{contract.id}", terms.task, TASK_BYTES_MAX),
        (f"shard/{contract.id}", contract.terms.shard, 2 * terms.shard_bytes + TASK_BYTES_MAX),
    ]
    if terms.code is not None:
        wanted.append((f"code/{contract.id}", terms.code, CODE_BYTES_MAX))
    names = tuple(name for name, _, _ in wanted)
    turn.put_contract(replace(contract, standing=Standing.FETCHING, job_terms=terms, needs=names))
    for name, ref, size_max in wanted:
        turn.ask(Fetch(f"fetch/{name}", ref, size_max))


def on_fetched(turn: Turn, contract: Contract, name: str) -> None:
    """One more is there; with all of them, open our part of the data."""
    if contract.standing is not Standing.FETCHING or contract.job_terms is None:
        return
    needs = tuple(need for need in contract.needs if need != name)
    turn.put_contract(replace(contract, needs=needs))
    if not needs:
        size_max = contract.job_terms.shard_bytes
        shard = contract.terms.shard.sha256
        turn.ask(Unseal(f"unseal/{contract.id}", shard, contract.terms.shard_key, size_max))


def on_unsealed(turn: Turn, contract: Contract, opened: Unsealed) -> None:
    """The data can be read: say yes."""
    if contract.standing is not Standing.FETCHING:
        return  # it was cancelled meanwhile
    turn.put_contract(replace(contract, shard=opened.blob))
    draft = draft_acceptance(contract.event, contract.job)
    turn.ask(Publish(f"publish/accept/{contract.id}", draft, turn.get_relays(contract.job)))


def on_accepted(turn: Turn, contract: Contract) -> None:
    """Our yes is out: rounds may come."""
    if contract.standing is Standing.FETCHING:
        turn.put_contract(replace(contract, standing=Standing.ACTIVE))


def decline(turn: Turn, contract: Contract, reason: str) -> None:
    """Say that we cannot or will not."""
    _finish(turn, contract, reason)
    draft = draft_feedback(contract.id, contract.job, contract.customer, Status.ERROR, reason)
    turn.ask(Publish(f"publish/decline/{contract.id}", draft, turn.get_relays(contract.job)))


def on_cancelled(turn: Turn, message: Cancelled) -> None:
    """The customer withdrew: what is not delivered is dropped, the rest is judged and paid."""
    named = set(message.requests)
    _end(turn, message.author, named, "cancelled by the customer")
    for work in [work for key, work in turn.s.works.items() if key in named]:
        if work.request.customer == message.author:
            _withdraw(turn, work)
    for job in named & set(turn.s.jobs):
        if turn.s.jobs[job].customer == message.author:
            turn.drop(f"publish/offer/{job}")


def on_closed(turn: Turn, message: Closed) -> None:
    """The customer says that its job is over: our room is free again."""
    _end(turn, message.customer, {message.job}, "the job is closed")


def _end(turn: Turn, customer: str, named: set[str], reason: str) -> None:
    """End this customer's contracts that are named, by their ids or their jobs'."""
    for contract in list(turn.s.contracts.values()):
        if contract.customer != customer or contract.standing is Standing.ENDED:
            continue
        if contract.id not in named and contract.job not in named:
            continue
        _finish(turn, contract, reason)
        for work in list(turn.s.works.values()):
            if work.request.contract == contract.id:
                _withdraw(turn, work)


def _finish(turn: Turn, contract: Contract, reason: str) -> None:
    """It is over: what is still fetched for it would fill our disk for nobody."""
    for name in _BEFORE_ACTIVE:
        turn.drop(f"{name}/{contract.id}")
    turn.put_contract(replace(contract, standing=Standing.ENDED, reason=reason))


def _withdraw(turn: Turn, work: Work) -> None:
    """Drop a work that its customer withdrew, unless it is delivered."""
    if work.stage in BEFORE_DELIVERY:
        drop_work(turn, work.key)
        turn.put_work(replace(work, stage=Stage.FAILED, code="cancelled"))


def expire_contracts(turn: Turn) -> None:
    """A customer that has asked for nothing for long has no claim on our room any more."""
    busy = {w.request.contract for w in turn.s.works.values() if w.stage in BEFORE_DELIVERY}
    asked = {work.request.contract for work in turn.s.works.values()}
    for contract in list(turn.s.contracts.values()):
        terms = contract.job_terms
        if contract.standing is Standing.ENDED or contract.id in busy or terms is None:
            continue
        patience_s = PATIENCE_ROUNDS * (terms.train_s + terms.reveal_s + terms.judge_s)
        if contract.id not in asked:
            patience_s = min(patience_s, FIRST_REQUEST_S)
        if turn.now_s > contract.since_s + patience_s:
            _finish(turn, contract, "the customer is silent")


def wake(turn: Turn, missed_s: int) -> None:
    """We were not there: that our customers asked for nothing meanwhile is not their silence."""
    for contract in list(turn.s.contracts.values()):
        if contract.standing is not Standing.ENDED:
            turn.put_contract(replace(contract, since_s=contract.since_s + missed_s))


def drop_work(turn: Turn, key: str) -> None:
    """Wait for nothing of a work that is over before it was delivered."""
    for name in ("check", "fetch/model", "train", "store", "invoice", "publish/result"):
        turn.drop(f"{name}/{key}")


def forget_expired(turn: Turn) -> None:
    """Jobs that are past and without a contract take no room."""
    used = {contract.job for contract in turn.s.contracts.values()}
    for job in list(turn.s.jobs.values()):
        if job.expires_at_s <= turn.now_s and job.id not in used:
            _forget_job(turn, job.id)


def _forget_ended(turn: Turn) -> None:
    """Contracts that have ended and under which nothing was delivered, with what failed."""
    works = list(turn.s.works.values())
    kept = {work.request.contract for work in works if work.stage is not Stage.FAILED}
    for contract in list(turn.s.contracts.values()):
        if contract.standing is Standing.ENDED and contract.id not in kept:
            turn.forget("contracts", contract.id)
            for work in works:
                if work.request.contract == contract.id:
                    turn.forget("works", work.key)
