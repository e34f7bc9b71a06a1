"""From a contract that names our offer to the yes, and to its end: what is fetched first.

Source: docs/nip-training.md, sections 4 and 8.
"""

from __future__ import annotations

from dataclasses import replace

from kumiai.base.events import Event
from kumiai.market import terms as t
from kumiai.market.drafts import draft_acceptance, draft_feedback
from kumiai.market.effects import Fetch, JobOpened, OpenJob, Publish, Unseal, Unsealed
from kumiai.market.kinds import EVENT_BYTES_MAX, Status
from kumiai.market.letters import Cancelled, Closed, ContractSent
from kumiai.market.params import ParamError, read_params
from kumiai.market.provider.jobs import find_objection, is_busy
from kumiai.market.provider.requests import compute_patience_s
from kumiai.market.provider.state import (
    CONTRACTS_MAX,
    Contract,
    Stage,
    Standing,
    Work,
)
from kumiai.market.provider.turn import Turn
from kumiai.market.sizes import compute_event_bytes

TASK_BYTES_MAX = 2**20
CODE_BYTES_MAX = 2**20
FIRST_REQUEST_S = 3600  # whatever times a job declares: so long we wait for its first round
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
    contract = Contract(
        message.id,
        message.job,
        message.customer,
        event,
        terms,
        Standing.FETCHING,
        since_s=turn.now_s,
    )
    if not turn.s.is_open:
        decline(turn, contract, "we have left the market since we offered")
        return
    if compute_event_bytes(draft_acceptance(event, message.job)) > EVENT_BYTES_MAX:
        decline(turn, contract, "the contract is too long for an acceptance to hold it")
        return
    if is_busy(turn):
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
    for work in [turn.s.works[key] for key in message.requests if key in turn.s.works]:
        if work.request.customer == message.author:
            _withdraw(turn, turn.s.works[work.key])
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
        for work in turn.list_open(contract.id):
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
    busy = {w.request.contract for w in turn.list_open() if w.stage in BEFORE_DELIVERY}
    for contract in list(turn.s.contracts.values()):
        terms = contract.job_terms
        if contract.standing is Standing.ENDED or contract.id in busy or terms is None:
            continue
        patience_s = compute_patience_s(terms)
        if not contract.asked_count:
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


def _forget_ended(turn: Turn) -> None:
    """Contracts that have ended and under which nothing was delivered, with what failed."""
    works = list(turn.s.works.values())
    kept = {work.request.contract for work in works if work.stage is not Stage.FAILED}
    for contract in list(turn.s.contracts.values()):
        if contract.standing is Standing.ENDED and contract.id not in kept:
            turn.forget("contracts", contract.id)
            for work in works:
                if work.request.contract == contract.id:
                    turn.forget_work(work)
