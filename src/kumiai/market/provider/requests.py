"""Which round requests are worked on: those that fit the contract, and not too much on credit.

Source: docs/nip-training.md, sections 4 and 6. Whoever wants the next round has judged and paid the
one before: so a customer that takes work and pays nothing gets no more than `unpaid_max` rounds of
it, and is told so. Its next request waits for the pay until that request's deadline.
"""

from __future__ import annotations

from typing import cast

from kumiai.market.kinds import Policy
from kumiai.market.letters import RoundAsked
from kumiai.market.provider.state import (
    Contract,
    Stage,
    Standing,
    Work,
    name_hash,
    name_round,
    name_token,
)
from kumiai.market.provider.turn import Turn
from kumiai.market.terms import JobTerms, RoundTerms

FAILED_MAX = 100  # of one contract: who asks for what cannot be done is heard no more
CLOCK_S = 3600  # so far a customer's clock may be ahead of ours
PATIENCE_ROUNDS = 4
INVOICE_SLACK_S = 600
_UNPAID = frozenset({Stage.DELIVERED, Stage.LOCKED, Stage.ACCEPTED})


def find_flaw(turn: Turn, contract: Contract | None, message: RoundAsked) -> str:
    """Return why a request is not worked on, "" if it is."""
    if contract is None or contract.customer != message.customer:
        return "names a contract that this customer does not have with us"
    if contract.job != message.job:
        return "names another job than its contract"
    if contract.standing is not Standing.ACTIVE or contract.job_terms is None:
        return "names a contract that is not in force"
    asked = message.terms
    if asked.deadline_s <= turn.now_s:
        return f"its deadline {asked.deadline_s} has passed"
    if asked.deadline_s > turn.now_s + contract.job_terms.train_s + CLOCK_S:
        return f"its deadline {asked.deadline_s} is later than the job's train_s allows"
    if asked.price_msat != contract.terms.price_msat:
        return f"offers {asked.price_msat} msat, the contract says {contract.terms.price_msat}"
    if asked.round > contract.job_terms.rounds:
        return f"asks for round {asked.round} of a job of {contract.job_terms.rounds}"
    if asked.model.size_bytes > contract.job_terms.model_bytes:
        return "its model is bigger than the job says"
    repetition = _find_repetition(turn, contract, message)
    return repetition or _find_unpayable(turn, contract.job_terms, message)


def _find_repetition(turn: Turn, contract: Contract, message: RoundAsked) -> str:
    if name_round(message) in turn.s.names:
        return "this round and attempt was asked for before"
    if any(work.stage is Stage.OWED for work in turn.list_open(contract.id)):
        return "an earlier request waits for the pay of the one before"
    failed = contract.failed_count
    return f"{failed} earlier requests could not be worked on" if failed >= FAILED_MAX else ""


def _find_unpayable(turn: Turn, terms: JobTerms, message: RoundAsked) -> str:
    """What would pay us must be there, new, and last until the verdict."""
    payment = turn.s.contracts[message.contract].terms.payment
    asked = message.terms
    if payment is Policy.HOLD:
        if not asked.payment_hash:
            return "names no hash that the money would be locked on"
        if name_hash(asked.payment_hash) in turn.s.names:
            return "names the payment hash of another request: its preimage may be known"
    if payment is Policy.ESCROW:
        if not asked.token:
            return "comes without the ecash that it promises"
        if name_token(asked.token) in turn.s.names:
            return "comes with the ecash of another request"
        if asked.locktime_s < compute_locktime_least(asked, terms):
            return "its ecash can be taken back before the verdict is due"
    return ""


def compute_locktime_least(asked: RoundTerms, terms: JobTerms) -> int:
    """Return until when the ecash of a request must be locked at least: verdict and dispute."""
    return asked.deadline_s + terms.reveal_s + 3 * terms.judge_s


def compute_patience_s(terms: JobTerms) -> int:
    """Return for how long a customer that asked for work may be silent and keep its place."""
    return PATIENCE_ROUNDS * (terms.train_s + terms.reveal_s + terms.judge_s)


def compute_invoice_life_s(terms: JobTerms) -> int:
    """Return how long a delivered work's invoice lives: verdict, dispute, and a little more."""
    return terms.train_s + terms.reveal_s + 3 * terms.judge_s + INVOICE_SLACK_S


def compute_wait_s(terms: JobTerms) -> int:
    """Return how long a job's own times can hold a place here, or a delivered work's pay."""
    return max(compute_patience_s(terms), compute_invoice_life_s(terms))


def count_unpaid(turn: Turn, contract: str) -> int:
    """Count the rounds of a contract that were delivered and are neither paid nor rejected."""
    works = turn.list_open(contract)
    return sum(work.stage in _UNPAID and not work.paid_msat for work in works)


def count_losses(turn: Turn, contract: str) -> int:
    """Count the newest rounds of a contract that were rejected, one after another."""
    losses = 0
    works = cast(dict[str, Work], turn.s.works)  # a Mapping does not say that it can be reversed
    for work in reversed(works.values()):
        if work.request.contract == contract and work.result:
            if work.stage is not Stage.REJECTED:
                break
            losses += 1
    return losses
