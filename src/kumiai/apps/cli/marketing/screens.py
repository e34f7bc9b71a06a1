"""What people see of the market: a customer's job, a provider's work, money in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.terminal import clean
from kumiai.apps.report.texts import Texts, format_amount, format_nat, format_percent
from kumiai.market.customer import CustomerPlan, CustomerState, Phase
from kumiai.market.customer.state import Member
from kumiai.market.kinds import Code
from kumiai.market.letters import OfferMade
from kumiai.market.provider import ProviderPolicy, ProviderState
from kumiai.market.provider.state import Stage as WorkStage
from kumiai.market.provider.state import Work

KEY_DIGITS = 8
WORKS_SHOWN_MAX = 30
MSAT = 1_000
_CODES = frozenset(str(code) for code in Code)
_GOOD = {"paid": "green", "accepted": "green", "active": "green"}
_BAD = {"rejected": "red", "failed": "red", "closed": "red", "ended": "dim"}


def format_sat(texts: Texts, msat: int) -> str:
    """Return an amount as people read it: whole satoshi, and thousandths only where there are."""
    whole, rest = divmod(abs(msat), MSAT)
    amount = format_amount(whole) + (f".{rest:03d}" if rest else "")
    return texts.text("market.sat", amount=("-" if msat < 0 else "") + amount)


def render_job(
    plan: CustomerPlan, state: CustomerState, texts: Texts, names: Mapping[str, str] | None = None
) -> RenderableType:
    """The whole job for a terminal."""
    parts: list[RenderableType] = [_head(plan, state, texts)]
    if state.members:
        parts.append(_members(state, texts, names or {}))
    elif state.phase is not Phase.CLOSED:
        parts.append(Text(texts.text("market.nobody"), "dim"))
    return Group(*parts)


def render_offers(state: CustomerState, texts: Texts) -> RenderableType:
    """The offers that came, cheapest first."""
    if not state.offers:
        return Text(texts.text("market.no_offers"), "dim")
    table = _table()
    for name in ("provider", "price", "payment", "time"):
        table.add_column(texts.text(f"market.column.{name}"), justify="left")
    ranked = sorted(state.offers.values(), key=lambda o: (o.terms.price_msat, o.terms.train_s))
    for offer in ranked:
        table.add_row(
            offer.provider[:KEY_DIGITS],
            format_sat(texts, offer.terms.price_msat),
            str(offer.terms.payment),
            f"{offer.terms.train_s} s",
        )
    return table


def render_provider(policy: ProviderPolicy, state: ProviderState, texts: Texts) -> RenderableType:
    """A provider's contracts and its newest work."""
    title = texts.text(
        "market.provider.head",
        name=clean(policy.name),
        price=format_sat(texts, policy.price_msat),
        payment=", ".join(policy.payment),
    )
    running = sum(w.stage not in _PROVIDER_ENDS for w in state.works.values())
    earned = texts.text(
        "market.provider.earned_line", earned=format_sat(texts, state.earned_msat), open=running
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text(texts.text("market.provider.key"), "dim"), policy.pubkey)
    grid.add_row(Text(texts.text("market.provider.hardware"), "dim"), clean(policy.hardware))
    grid.add_row(Text(texts.text("market.provider.earned"), "dim"), Text(earned, "bold"))
    parts: list[RenderableType] = [Text(title, "bold"), grid]
    if state.announced_s and not state.is_open:
        parts.append(Text(texts.text("market.provider.leaving"), "yellow"))
    elif not state.contracts:
        key = "market.provider.listening" if state.is_open else "market.provider.nothing"
        parts.append(Text(texts.text(key), "dim"))
    return Group(*parts, _works(state, texts)) if state.works else Group(*parts)


def get_reason(code: str, texts: Texts) -> str:
    """Return a code's sentence; what is no code is what a peer wrote."""
    return texts.text(f"market.code.{code}") if code in _CODES else get_outcome(code, texts)


def get_outcome(sentence: str, texts: Texts) -> str:
    """Return how a job or contract ended, in the reader's language where the words are ours."""
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
        place = texts.text("market.round_of", round=state.round, total=terms.rounds)
        phase += f", {texts.text('market.round')} {place}"
    if state.phase is Phase.OFFERS:
        phase += f": {texts.text('market.live.offers', count=len(state.offers))}"
    grid.add_row(texts.text("market.phase"), Text(phase, "cyan"))
    if state.outcome:
        grid.add_row(texts.text("market.outcome"), get_outcome(state.outcome, texts))
    grid.add_row(
        texts.text("market.money"),
        texts.text(
            "market.money_line",
            paid=format_sat(texts, state.spent_msat),
            promised=format_sat(texts, state.reserved_msat),
            budget=format_sat(texts, plan.budget_msat),
        ),
    )
    loss, accuracy = _get_quality(state)
    if loss is not None:
        line = texts.text(
            "market.model_line",
            loss=format_nat(loss, signed=False),
            accuracy=format_percent(accuracy),
        )
        grid.add_row(texts.text("market.model"), line)
    return grid


def _get_quality(state: CustomerState) -> tuple[int | None, int | None]:
    if state.final_loss_ppm is not None:
        return state.final_loss_ppm, state.final_accuracy_ppm
    if state.history:
        return state.history[-1].loss_ppm, state.history[-1].accuracy_ppm
    return None, None


def _members(state: CustomerState, texts: Texts, names: Mapping[str, str]) -> Table:
    table = _table()
    for name, justify in (
        ("provider", "left"),
        ("part", "right"),
        ("accepted", "right"),
        ("rejected", "right"),
        ("paid", "right"),
        ("standing", "left"),
    ):
        table.add_column(
            texts.text(f"market.column.{name}"),
            justify=justify,  # type: ignore[arg-type]  # one of rich's words
        )
    for member in state.members.values():
        shown = names.get(member.provider, member.provider[:KEY_DIGITS])
        table.add_row(
            clean(shown),
            str(member.shard + 1),
            str(member.accepted),
            str(member.rejected),
            format_sat(texts, member.paid_msat),
            _describe(member, state, texts),
        )
    return table


def _describe(member: Member, state: CustomerState, texts: Texts) -> Text:
    newest = [w for w in state.works.values() if w.provider == member.provider]
    if member.standing == "active" and newest and newest[-1].round == state.round:
        stage = newest[-1].stage
        return Text(texts.text(f"market.stage.{stage}"), _GOOD.get(stage, _BAD.get(stage, "")))
    words = texts.text(f"market.standing.{member.standing}")
    if member.standing == "ended" and member.reason and member.reason != state.outcome:
        return Text(f"{words}: {get_reason(member.reason, texts)}", "red")
    return Text(words, "dim" if member.standing == "ended" else "cyan")


def _works(state: ProviderState, texts: Texts) -> Table:
    table = _table()
    for name in ("job", "round", "request", "result", "why", "earned"):
        justify = "right" if name in ("round", "earned") else "left"
        table.add_column(
            texts.text(f"market.column.{name}"),
            justify=justify,  # type: ignore[arg-type]
        )
    for work in list(state.works.values())[-WORKS_SHOWN_MAX:]:
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
        format_sat(texts, work.paid_msat) if work.paid_msat else texts.text("market.none"),
    )


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


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
