"""The first screen in data: the verdict of the run, the three management indicators, the figures.

Every function returns catalogue keys with their places, never words, so that each language says it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from kumiai.apps.report.texts import (
    format_amount,
    format_bits,
    format_bytes,
    format_epsilon,
    format_flop,
    format_percent,
    format_seconds,
)
from kumiai.apps.view import RunView

Status = Literal["good", "unsure", "bad", ""]

_GUILTY = (("final-proven", "headline.proven"), ("false-scores", "headline.false_scores"))


@dataclass(frozen=True, slots=True)
class Sentence:
    """A catalogue key and what fills its places."""

    key: str
    places: dict[str, Any] = field(default_factory=dict)
    status: Status = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """One labelled value; "" means that nobody put it on record. `sentence` is said instead."""

    key: str
    value: str
    status: Status = ""
    sentence: Sentence | None = None


@dataclass(frozen=True, slots=True)
class Indicator:
    """One of the three questions a manager asks, its answers, and whether they suffice."""

    key: str
    status: Status
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Balance:
    """Where the funded money went. `difference` is 0 when every unit is accounted for."""

    funded: int
    parts: tuple[tuple[str, int], ...]
    difference: int
    stake_burnt: int


def build_headline(view: RunView) -> tuple[Sentence, ...]:
    """The verdict of the run: what was reached, who was turned away, whether the money adds up."""
    sentences = [_learned(view)]
    judged = _judged(view)
    if judged:
        sentences.append(judged)
    for reason, key in _GUILTY:
        names = [member.name for member in view.members if member.reason_code == reason]
        if names:
            sentences.append(Sentence(key, {"names": ", ".join(names)}, "bad"))
    private = _private(view)
    if private:
        sentences.append(private)
    balance = build_balance(view)
    unit = get_unit(view)
    if balance.funded:
        key = "headline.money" if not balance.difference else "headline.money_wrong"
        places = {
            "funded": format_amount(balance.funded),
            "difference": format_amount(abs(balance.difference)),
            "unit": unit,
        }
        sentences.append(Sentence(key, places, "bad" if balance.difference else "good"))
    return tuple(sentences)


def _learned(view: RunView) -> Sentence:
    trainers = [member for member in view.members if member.role == "trainer"]
    places: dict[str, Any] = {
        "n": sum(member.verdict == "VALID" for member in trainers),
        "rounds": len(view.rounds),
        "phase": view.phase,
        "accuracy": format_percent(view.rounds[-1].accuracy_ppm) if view.rounds else "–",
    }
    if view.phase != "FINISHED":
        return Sentence("headline.stopped", places, "bad")
    if view.token_bytes_ppm and view.rounds:
        places["bits"] = format_bits(view.rounds[-1].loss_ppm, view.token_bytes_ppm)
        return Sentence("headline.learned_text", places, "good")
    return Sentence("headline.learned", places, "good")


def _judged(view: RunView) -> Sentence | None:
    trainers = [member for member in view.members if member.role == "trainer"]
    refused = [member for member in trainers if member.verdict == "INVALID"]
    if not refused:
        return Sentence("headline.nobody_refused") if trainers else None
    pay = sum(member.reward for member in trainers)
    refused_pay = sum(member.reward for member in refused)
    share = 1_000_000 * refused_pay // pay if pay else 0
    places = {"n": len(refused), "share": format_percent(share, 2) if share else "0%"}
    return Sentence("headline.refused", places)


def _private(view: RunView) -> Sentence | None:
    """The largest claimed epsilon of those who trained privately; probes have no data to hide.

    In a secure run, what masks hide and what is lost by it.
    """
    privacy = view.task.get("privacy", {})
    if privacy.get("mode") == "secure":
        return Sentence("headline.secure", {"n": privacy["group_size"]})
    spent = [m.epsilon_milli for m in view.members if m.role == "trainer" and m.epsilon_milli]
    if not spent:
        return None
    delta_ppb = privacy.get("delta_ppb", 0)
    places = {"epsilon": format_epsilon(max(spent)), "delta": f"{delta_ppb / 1e9:g}"}
    return Sentence("headline.private", places)


def build_balance(view: RunView) -> Balance:
    """Check funded = paid + locked + refunded; slashed stake is not part of the budget."""
    totals = view.totals
    parts = tuple((name, int(totals.get(name, 0))) for name in ("paid", "locked", "refunded"))
    funded = int(totals.get("funded", 0))
    difference = funded - sum(amount for _, amount in parts)
    return Balance(funded, parts, difference, int(totals.get("burnt", 0)))


def build_indicators(view: RunView) -> tuple[Indicator, Indicator, Indicator]:
    """Ownership and stop; computation and communication; members and responsibility."""
    return _ownership(view), _compute(view), _people(view)


def _ownership(view: RunView) -> Indicator:
    record = view.indicators
    required = _shown(record.get("stop_required"))
    facts = (
        _fact("owner", record.get("owner")),
        _fact("responsible", record.get("responsible")),
        _fact("purpose", view.task.get("governance", {}).get("purpose"), missing="unsure"),
        _guardians(record),
        _fact("stop_required", required),
        _fact("stop_last_drill", record.get("stop_last_drill"), missing="unsure"),
    )
    return Indicator("ownership", _worst(facts), facts)


def _guardians(record: dict[str, Any]) -> Fact:
    count = record.get("stop_guardians")
    if isinstance(count, int) and count > 0:
        return Fact("stop_who", str(count), "", Sentence("fact.guardians", {"n": count}))
    return _fact("stop_who", record.get("stop_who"))


def _compute(view: RunView) -> Indicator:
    totals = view.totals
    rounds = max(len(view.rounds), 1)
    energy = totals.get("energy_wh")
    facts = (
        _fact("bytes", format_bytes(totals["bytes"]) if "bytes" in totals else ""),
        _fact("bytes_round", format_bytes(totals["bytes"] / rounds) if "bytes" in totals else ""),
        _fact("flop", format_flop(totals["flop"]) if "flop" in totals else ""),
        _fact("energy", "" if energy is None else _energy(float(energy))),
        _fact("seconds", format_seconds(totals["seconds"]) if "seconds" in totals else ""),
    )
    return Indicator("compute", _worst(facts), facts)


def _energy(watt_hours: float) -> str:
    """Small runs in joules, big ones in watt-hours, both as the rough estimates they are."""
    if watt_hours < 0.01:
        return f"≈ {watt_hours * 3600:.2g} J"
    return f"≈ {watt_hours:.2g} Wh" if watt_hours < 1000 else f"≈ {watt_hours / 1000:.3g} kWh"


def _people(view: RunView) -> Indicator:
    governance = view.task.get("governance", {})
    counts = dict.fromkeys(("trainer", "validator", "delegator", "customer"), 0)
    for member in view.members:
        if member.role in counts:
            counts[member.role] += 1
    facts = (
        _signed(view),
        *(Fact(f"count_{role}", str(count)) for role, count in counts.items() if count),
        _fact("jurisdiction", governance.get("jurisdiction"), missing="unsure"),
    )
    return Indicator("people", _worst(facts), facts)


def _signed(view: RunView) -> Fact:
    """How many of those who had to sign the terms did: everybody but the customer."""
    count = view.indicators.get("members_signed")
    if not isinstance(count, int):
        return _fact("members_signed", count)
    total = sum(member.role != "customer" for member in view.members)
    sentence = Sentence("fact.of", {"n": count, "total": total})
    return Fact("members_signed", str(count), "" if count >= total else "bad", sentence)


def _shown(value: object) -> str:
    if value is None or value is False:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return str(value)


def _fact(key: str, value: object, missing: Status = "bad") -> Fact:
    text = _shown(value)
    return Fact(key, text, "" if text else missing)


def _worst(facts: tuple[Fact, ...]) -> Status:
    statuses = {fact.status for fact in facts}
    return "bad" if "bad" in statuses else "unsure" if "unsure" in statuses else "good"


def build_figures(view: RunView) -> tuple[Fact, ...]:
    """The few numbers people ask for first."""
    totals = view.totals
    figures = []
    if view.rounds:
        figures.append(Fact("accuracy", format_percent(view.rounds[-1].accuracy_ppm)))
        if view.token_bytes_ppm:
            bits = format_bits(view.rounds[-1].loss_ppm, view.token_bytes_ppm)
            figures.append(Fact("bits", bits))
        figures.append(Fact("rounds", str(len(view.rounds))))
    if "paid" in totals:
        paid = {"amount": format_amount(int(totals["paid"])), "unit": get_unit(view)}
        figures.append(Fact("paid", paid["amount"], "", Sentence("figure.amount", paid)))
    models = sum(member.width_ppm > 0 for member in view.members)
    figures.append(Fact("models", str(models)))
    if "bytes" in totals:
        figures.append(Fact("bytes", format_bytes(totals["bytes"])))
    if "seconds" in totals:
        figures.append(Fact("seconds", format_seconds(totals["seconds"])))
    return tuple(figures)


def get_unit(view: RunView) -> str:
    """The name of the smallest unit of money, as the task has it."""
    settlement = view.task.get("settlement")
    return str(settlement.get("unit", "")) if isinstance(settlement, dict) else ""
