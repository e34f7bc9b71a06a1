"""What people see of the market: a customer's job, a provider's work, money in plain words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.terminal import clean
from kumiai.apps.cli.wallet.amounts import show_amount
from kumiai.apps.report.texts import Texts, format_nat, format_percent
from kumiai.market.customer import CustomerPlan, CustomerState, Phase
from kumiai.market.customer.state import Member
from kumiai.market.kinds import Code
from kumiai.market.letters import OfferMade
from kumiai.market.provider import ProviderPolicy, ProviderState
from kumiai.market.provider.state import Contract, Work
from kumiai.market.provider.state import Stage as WorkStage

KEY_DIGITS = 8
WORKS_SHOWN_MAX = 30
CONTRACTS_SHOWN_MAX = 10
PROVIDER_LINES = 13  # of its screen beside contracts and works
HEIGHT_MAX = PROVIDER_LINES + CONTRACTS_SHOWN_MAX + WORKS_SHOWN_MAX
_CODES = frozenset(str(code) for code in Code)
_GOOD = {"paid": "green", "accepted": "green", "active": "green"}
_BAD = {"rejected": "red", "failed": "red", "closed": "red", "ended": "dim"}
# sentences of ours with numbers in them
_NUMBERED = (
    (
        re.compile(r"round (?P<round>\d+) gave nothing in (?P<attempts>\d+) attempts"),
        "market.page.outcome.nothing",
    ),
    (
        re.compile(
            r"its times can hold a place or pay here for (?P<seconds>\d+) s, "
            r"more than our (?P<limit>\d+)"
        ),
        "market.ended.waits-too-long",
    ),
    (
        re.compile(r"a result for it could have (?P<size>\d+) bytes, (?P<limit>\d+) are allowed"),
        "market.ended.result-too-long",
    ),
    (
        re.compile(r"a dispute for it could have (?P<size>\d+) bytes, (?P<limit>\d+) are allowed"),
        "market.ended.dispute-too-long",
    ),
)


def render_job(
    plan: CustomerPlan, state: CustomerState, texts: Texts, names: Mapping[str, str] | None = None
) -> RenderableType:
    """The whole job for a terminal."""
    parts: list[RenderableType] = [_head(plan, state, texts)]
    if state.members:
        parts += [Text(), _members(state, texts, names or {})]
    elif state.phase is not Phase.CLOSED:
        parts.append(Text(texts.text("market.nobody"), "dim"))
    return Group(*parts)


def render_offers(state: CustomerState, texts: Texts) -> RenderableType:
    """The offers that came, cheapest first."""
    if not state.offers:
        return Text(texts.text("market.no_offers"), "dim")
    table = make_table(texts, ("provider", "price", "payment", "time"), ("price", "time"))
    ranked = sorted(state.offers.values(), key=lambda o: (o.terms.price_msat, o.terms.train_s))
    for offer in ranked:
        table.add_row(
            offer.provider[:KEY_DIGITS],
            show_amount(offer.terms.price_msat),
            str(offer.terms.payment),
            f"{offer.terms.train_s} s",
        )
    return table


def render_provider(
    policy: ProviderPolicy, state: ProviderState, texts: Texts, height: int = HEIGHT_MAX
) -> RenderableType:
    """A provider's contracts and its newest work; no more of both than `height` lines hold."""
    title = texts.text(
        "market.provider.head",
        name=clean(policy.name),
        price=show_amount(policy.price_msat),
        payment=", ".join(policy.payment),
    )
    running = sum(w.stage not in _PROVIDER_ENDS for w in state.works.values())
    earned = texts.text(
        "market.provider.earned_line", earned=show_amount(state.earned_msat), n=running
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text(texts.text("market.provider.key"), "dim"), policy.pubkey)
    grid.add_row(Text(texts.text("market.provider.hardware"), "dim"), clean(policy.hardware))
    grid.add_row(Text(texts.text("market.provider.earned"), "dim"), Text(earned, "bold"))
    parts: list[RenderableType] = [Text(title, "bold"), grid]
    if state.announced_s and not state.is_open:
        parts.append(Text(texts.text("market.provider.leaving"), "yellow"))
    elif all(contract.standing == "ended" for contract in state.contracts.values()):
        key = "market.provider.listening" if state.is_open else "market.provider.nothing"
        parts.append(Text(texts.text(key), "dim"))
    room = max(2, height - PROVIDER_LINES)
    count = min(CONTRACTS_SHOWN_MAX, len(state.contracts), (room + 2) // 3)
    if state.contracts:
        parts += [Text(), _contracts(list(state.contracts.values())[-count:], texts)]
    if state.works:
        newest = list(state.works.values())[-min(WORKS_SHOWN_MAX, max(1, room - count)) :]
        parts += [Text(), _works(newest, texts)]
    return Group(*parts)


def get_reason(code: str, texts: Texts) -> str:
    """Return a code's sentence; what is no code is what a peer wrote."""
    return texts.text(f"market.code.{code}") if code in _CODES else get_outcome(code, texts)


def get_outcome(sentence: str, texts: Texts) -> str:
    """Return how a job or contract ended, in the reader's language where the words are ours."""
    for pattern, name in _NUMBERED:
        if found := pattern.fullmatch(sentence):
            return texts.text(name, **found.groupdict())
    key = "market.ended." + sentence.replace(" ", "-")
    return texts.text(key) if texts.has(key) else clean(sentence)


_PROVIDER_ENDS = frozenset({WorkStage.PAID, WorkStage.REJECTED, WorkStage.FAILED})


def _head(plan: CustomerPlan, state: CustomerState, texts: Texts) -> RenderableType:
    terms = state.terms or plan.terms
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    job = state.job.id if state.job is not None else texts.text("market.phase.draft")
    grid.add_row(texts.text("market.job"), Text(job, "bold"))
    phase = texts.text(f"market.phase.{state.phase}")
    if state.round and state.phase is not Phase.CLOSED:
        phase = texts.text("market.phase_round", phase=phase, round=state.round, total=terms.rounds)
    if state.phase is Phase.OFFERS:
        phase += f": {texts.text('market.live.offers', n=len(state.offers))}"
    grid.add_row(texts.text("market.phase"), Text(phase, "cyan"))
    if state.outcome:
        grid.add_row(texts.text("market.outcome"), get_outcome(state.outcome, texts))
    grid.add_row(
        texts.text("market.money"),
        texts.text(
            "market.money_line",
            paid=show_amount(state.spent_msat),
            promised=show_amount(state.reserved_msat),
            budget=show_amount(plan.budget_msat),
        ),
    )
    if quality := _describe_quality(state, texts):
        grid.add_row(texts.text("market.model"), quality)
    return grid


def _describe_quality(state: CustomerState, texts: Texts) -> str:
    """A round's model is measured when the next round is judged, the last one at the end."""
    last = state.history[-1] if state.history else None
    loss, accuracy = state.final_loss_ppm, state.final_accuracy_ppm
    if loss is None and last is not None:
        loss, accuracy = last.loss_ppm, last.accuracy_ppm
    if loss is None:
        return ""
    shown = {"loss": format_nat(loss, signed=False), "accuracy": format_percent(accuracy)}
    if state.final_loss_ppm is None and last is not None:
        return texts.text("market.model_before", round=last.round, **shown)
    return texts.text("market.model_line", **shown)


def _members(state: CustomerState, texts: Texts, names: Mapping[str, str]) -> Table:
    numbers = ("part", "accepted", "rejected", "paid")
    table = make_table(texts, ("provider", *numbers, "standing"), numbers)
    for member in state.members.values():
        shown = names.get(member.provider, member.provider[:KEY_DIGITS])
        table.add_row(
            clean(shown),
            str(member.shard + 1),
            str(member.accepted),
            str(_count_not_accepted(member, state)),
            show_amount(member.paid_msat),
            _describe(member, state, texts),
        )
    return table


def _count_not_accepted(member: Member, state: CustomerState) -> int:
    """Works of its that ended unpaid, silence among them: as the page and the demo count."""
    codes = [work.code for work in state.works.values() if work.provider == member.provider]
    return sum(code not in (None, Code.ACCEPTED) for code in codes)


def _describe(member: Member, state: CustomerState, texts: Texts) -> Text:
    newest = [w for w in state.works.values() if w.provider == member.provider]
    if member.standing == "active" and newest and newest[-1].round == state.round:
        stage = newest[-1].stage
        return Text(texts.text(f"market.stage.{stage}"), _GOOD.get(stage, _BAD.get(stage, "")))
    words = texts.text(f"market.standing.{member.standing}")
    if member.standing == "ended" and member.reason and member.reason != state.outcome:
        return Text(f"{words}: {get_reason(member.reason, texts)}", "red")
    return Text(words, "dim" if member.standing == "ended" else "cyan")


def _contracts(contracts: Sequence[Contract], texts: Texts) -> Table:
    table = make_table(texts, ("contract", "job", "standing"))
    for contract in contracts:
        standing = texts.text(f"market.standing.{contract.standing}")
        if contract.reason:
            standing += f": {get_reason(contract.reason, texts)}"
        style = _GOOD.get(contract.standing, _BAD.get(contract.standing, "cyan"))
        table.add_row(contract.id[:KEY_DIGITS], contract.job[:KEY_DIGITS], Text(standing, style))
    return table


def _works(works: Sequence[Work], texts: Texts) -> Table:
    heads = ("job", "round", "request", "result", "why", "earned")
    table = make_table(texts, heads, ("round", "earned"))
    for work in works:
        table.add_row(*_describe_work(work, texts))
    return table


def _describe_work(work: Work, texts: Texts) -> tuple[RenderableType, ...]:
    request = work.request
    style = _GOOD.get(work.stage, _BAD.get(work.stage, "cyan"))
    return (
        request.job[:KEY_DIGITS],
        str(request.terms.round),
        request.id[:KEY_DIGITS],
        Text(texts.text(f"market.stage.{work.stage}"), style),
        get_reason(work.code, texts) if work.code else "",
        show_amount(work.paid_msat) if work.stage in _PROVIDER_ENDS else "",
    )


def make_table(texts: Texts, heads: Sequence[str], numbers: Collection[str] = ()) -> Table:
    """An empty table with the market's columns of these names; `numbers` stand at the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(
            texts.text(f"market.column.{head}"),
            justify="right" if head in numbers else "left",
            overflow="fold",  # Japanese has no spaces: a line of it must not count as one word
        )
    return table


def describe_job(plan: CustomerPlan, state: CustomerState) -> dict[str, object]:
    """The job as a document for programs. Amounts in msat, shares in ppm."""
    return {
        "job": state.job.id if state.job is not None else None,
        "phase": str(state.phase),
        "outcome": state.outcome,
        "round": state.round,
        "rounds": plan.terms.rounds,
        "spent_msat": state.spent_msat,
        "reserved_msat": state.reserved_msat,
        "budget_msat": plan.budget_msat,
        "model": state.model,
        "offers": [describe_offer(offer) for offer in state.offers.values()],
        "history": [
            {
                "round": done.round,
                "loss_ppm": done.loss_ppm,
                "accuracy_ppm": done.accuracy_ppm,
                "accepted": done.accepted,
                "rejected": done.rejected,
            }
            for done in state.history
        ],
        "providers": [
            {
                "provider": member.provider,
                "shard": member.shard,
                "standing": str(member.standing),
                "accepted": member.accepted,
                "rejected": member.rejected,
                "paid_msat": member.paid_msat,
                "reason": member.reason,
            }
            for member in state.members.values()
        ],
        "works": [
            {
                "round": work.round,
                "attempt": work.attempt,
                "provider": work.provider,
                "stage": str(work.stage),
                "code": str(work.code or ""),
                "gain_ppm": work.gain_ppm,
                "price_msat": work.price_msat,
                "fee_msat": work.fee_msat,
                "is_paid": work.is_spent,
            }
            for work in state.works.values()
        ],
        "refused": len(state.rejected),
    }


def describe_offer(offer: OfferMade) -> dict[str, object]:
    """One offer as a document."""
    return {
        "provider": offer.provider,
        "price_msat": offer.terms.price_msat,
        "payment": str(offer.terms.payment),
        "train_s": offer.terms.train_s,
        "expires_at_s": offer.terms.expires_at_s,
    }


def describe_provider(policy: ProviderPolicy, state: ProviderState) -> dict[str, object]:
    """A provider as a document for programs."""
    return {
        "provider": policy.pubkey,
        "name": policy.name,
        "price_msat": policy.price_msat,
        "is_open": state.is_open,
        "earned_msat": state.earned_msat,
        "contracts": [
            {
                "contract": contract.id,
                "job": contract.job,
                "customer": contract.customer,
                "standing": str(contract.standing),
                "reason": contract.reason,
            }
            for contract in state.contracts.values()
        ],
        "works": [
            {
                "request": work.request.id,
                "contract": work.request.contract,
                "round": work.request.terms.round,
                "stage": str(work.stage),
                "code": work.code,
                "paid_msat": work.paid_msat,
            }
            for work in state.works.values()
        ],
        "refused": len(state.rejected),
    }
