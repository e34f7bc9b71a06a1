"""What a job came to: its money, its model, its providers, every work, what was refused.

A fold of the customer's state into rows for people. It takes no secret with it: keys, preimages,
seals and tokens stay in the state. Amounts in msat, shares and losses in ppm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kumiai.market.customer import CustomerPlan, CustomerState, Phase
from kumiai.market.customer.state import Member, Stage, Work
from kumiai.market.kinds import Code

GOOD_END = "all rounds done"
_ENDED = frozenset({Stage.PAID, Stage.REJECTED, Stage.CLOSED})


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """What the customer knows of a key by other ways than the market; conduct: of the demo."""

    name: str
    conduct: str = ""


@dataclass(frozen=True, slots=True)
class WorkRow:
    """One request. verdict: accepted, rejected, nothing (came) or open. event: where it stands."""

    round: int
    attempt: int
    provider: str
    verdict: str
    stage: str
    code: str
    gain_ppm: int | None
    paid_msat: int
    fee_msat: int
    event: str
    is_result: bool  # else the event is our request


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One provider with a contract. codes: why works were not accepted, each once."""

    key: str
    name: str
    conduct: str
    shard: int
    price_msat: int
    payment: str
    accepted: int
    refused: int
    open: int
    paid_msat: int
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round with all its attempts; loss and accuracy of the model after it, if measured."""

    round: int
    loss_ppm: int | None
    accuracy_ppm: int | None
    accepted: int
    refused: int
    open: int
    paid_msat: int


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A message of a peer that counted for nothing."""

    at_s: int
    reason: str
    detail: str
    author: str
    event: str


@dataclass(frozen=True, slots=True)
class Money:
    """Where the budget is. unearned: paid in advance for work that was then not accepted."""

    budget_msat: int
    earned_msat: int
    unearned_msat: int
    fee_msat: int
    promised_msat: int

    @property
    def left_msat(self) -> int:
        """What the customer still has of it."""
        spent = self.earned_msat + self.unearned_msat + self.fee_msat
        return self.budget_msat - spent - self.promised_msat


@dataclass(frozen=True, slots=True)
class JobSummary:
    """The whole of it."""

    job: str
    phase: str
    outcome: str
    rounds: int
    posted_at_s: int
    closed_at_s: int
    offers: int
    model: str
    start_loss_ppm: int | None
    start_accuracy_ppm: int | None
    money: Money
    providers: tuple[ProviderRow, ...]
    works: tuple[WorkRow, ...]
    history: tuple[RoundRow, ...]
    refused: tuple[RefusedRow, ...]

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase == Phase.CLOSED

    @property
    def is_complete(self) -> bool:
        """Whether the customer got every round that it asked for."""
        return self.is_closed and self.outcome == GOOD_END

    @property
    def end(self) -> RoundRow | None:
        """The last round whose model was measured."""
        measured = [row for row in self.history if row.loss_ppm is not None]
        return measured[-1] if measured else None


def summarise(
    plan: CustomerPlan, state: CustomerState, known: Mapping[str, Acquaintance]
) -> JobSummary:
    """Fold a job; known: by public key."""
    works = tuple(_describe_work(work) for work in state.works.values())
    start = state.history[0] if state.history else None
    return JobSummary(
        job=state.job.id if state.job is not None else "",
        phase=str(state.phase),
        outcome=state.outcome,
        rounds=plan.terms.rounds,
        posted_at_s=state.job.created_at if state.job is not None else 0,
        closed_at_s=state.phase_since_s if state.phase is Phase.CLOSED else 0,
        offers=len(state.offers),
        model=state.model if state.history else "",
        start_loss_ppm=start.loss_ppm if start else None,
        start_accuracy_ppm=start.accuracy_ppm if start else None,
        money=_count_money(plan, state),
        providers=tuple(
            _describe_provider(member, works, known.get(member.provider))
            for member in state.members.values()
        ),
        works=works,
        history=_list_rounds(state, works),
        refused=tuple(
            RefusedRow(
                item.at_s,
                item.reject.reason,
                item.reject.detail,
                item.event.pubkey if item.event else item.reject.evidence.get("author", ""),
                item.event.id if item.event else item.reject.evidence.get("event", ""),
            )
            for item in state.rejected
        ),
    )


def _count_money(plan: CustomerPlan, state: CustomerState) -> Money:
    spent = [work for work in state.works.values() if work.is_spent]
    earned = sum(work.price_msat for work in spent if work.code is Code.ACCEPTED)
    return Money(
        budget_msat=plan.budget_msat,
        earned_msat=earned,
        unearned_msat=sum(work.price_msat for work in spent) - earned,
        fee_msat=sum(work.fee_msat for work in spent),
        promised_msat=state.reserved_msat,
    )


def _describe_work(work: Work) -> WorkRow:
    verdict = "open"
    if work.code is Code.ACCEPTED:
        verdict = "accepted"
    elif work.stage in _ENDED:
        verdict = "rejected" if work.result is not None else "nothing"
    is_measured = bool(work.update) and work.ruling is not None
    return WorkRow(
        round=work.round,
        attempt=work.attempt,
        provider=work.provider,
        verdict=verdict,
        stage=str(work.stage),
        code=str(work.code or ""),
        gain_ppm=work.gain_ppm if is_measured else None,
        paid_msat=work.price_msat if work.is_spent else 0,
        fee_msat=work.fee_msat if work.is_spent else 0,
        event=work.result.id if work.result is not None else work.request,
        is_result=work.result is not None,
    )


def _describe_provider(
    member: Member, works: tuple[WorkRow, ...], who: Acquaintance | None
) -> ProviderRow:
    mine = [row for row in works if row.provider == member.provider]
    codes = [row.code for row in mine if row.verdict in ("rejected", "nothing") and row.code]
    return ProviderRow(
        key=member.provider,
        name=who.name if who else "",
        conduct=who.conduct if who else "",
        shard=member.shard + 1,
        price_msat=member.offer.terms.price_msat,
        payment=str(member.offer.terms.payment),
        accepted=sum(row.verdict == "accepted" for row in mine),
        refused=sum(row.verdict in ("rejected", "nothing") for row in mine),
        open=sum(row.verdict == "open" for row in mine),
        paid_msat=sum(row.paid_msat for row in mine),
        codes=tuple(dict.fromkeys(codes)),
    )


def _list_rounds(state: CustomerState, works: tuple[WorkRow, ...]) -> tuple[RoundRow, ...]:
    """A round's model is measured when the next round is judged, the last one at the end."""
    before = {done.round: (done.loss_ppm, done.accuracy_ppm) for done in reversed(state.history)}
    numbers = sorted({row.round for row in works})
    rows = []
    for number in numbers:
        mine = [row for row in works if row.round == number]
        after: tuple[int | None, int | None] = before.get(number + 1, (None, None))
        if number == numbers[-1]:
            after = (state.final_loss_ppm, state.final_accuracy_ppm)
        rows.append(
            RoundRow(
                round=number,
                loss_ppm=after[0],
                accuracy_ppm=after[1],
                accepted=sum(row.verdict == "accepted" for row in mine),
                refused=sum(row.verdict in ("rejected", "nothing") for row in mine),
                open=sum(row.verdict == "open" for row in mine),
                paid_msat=sum(row.paid_msat for row in mine),
            )
        )
    return tuple(rows)
