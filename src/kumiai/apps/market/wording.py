"""The page's sentences, numbers and codes in every language."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from kumiai.apps.market.summary import GOOD_END, JobSummary, ProviderRow, RefusedRow
from kumiai.apps.report import texts
from kumiai.apps.report.frame import show_twins

PAGE = "market.page."
MSAT = 1_000
OUTCOMES = {
    GOOD_END: "all",
    "no provider is left": "no_provider",
    "the budget does not cover another round": "budget",
    "cancelled by the customer": "cancelled",
    "nobody made an offer that could be taken": "no_offer",
}
_NOTHING = re.compile(r"round (\d+) gave nothing in (\d+) attempts")

Twins = Mapping[str, str]  # language -> text


def build_words() -> dict[str, Callable[..., Any]]:
    """What the template says things with."""
    return {
        "say": say,
        "code": say_code,
        "why": say_why,
        "conduct": lambda name: _find("market.conduct.", name),
        "payment": lambda name: _find(f"{PAGE}payment.", name),
        "reason": say_reason,
        "outcome": lambda text: show_twins(list(find_outcome(text).values())),
        "sat": format_sat,
        "percent": texts.format_percent,
        "nat": texts.format_nat,
        "moment": format_moment,
        "duration": format_duration,
    }


def say(key: str, **places: Any) -> Markup:
    """A sentence of the page in every language; a place may differ from one to another."""
    versions = []
    for language in texts.LANGUAGES:
        own = {
            name: value[language] if isinstance(value, Mapping) else value
            for name, value in places.items()
        }
        template = texts.load_texts(language).template(PAGE + key, places.get("n"))
        versions.append(Markup.escape(template).format(**own))
    return show_twins(versions)


def build_headline(job: JobSummary, test_accuracy_ppm: int | None) -> list[Markup]:
    """What happened, in sentences."""
    held = job.end.accuracy_ppm if job.end is not None else None
    best = held if test_accuracy_ppm is None else test_accuracy_ppm
    said = []
    if job.is_complete:
        key = "headline.held" if test_accuracy_ppm is None else "headline.got"
        said.append(say(key, accuracy=texts.format_percent(best)))
    else:
        if job.is_closed:
            said.append(say("headline.early", outcome=find_outcome(job.outcome)))
        else:
            said.append(say("headline.running", phase=_find("market.phase.", job.phase)))
        if best is not None and any(row.accepted for row in job.history):
            said.append(say("headline.early_model", accuracy=texts.format_percent(best)))
    paid = [row for row in job.providers if row.paid_msat]
    works = sum(row.accepted for row in job.providers)
    unpaid = [row for row in job.providers if row.refused and not row.paid_msat]
    amount = format_sat(sum(row.paid_msat for row in paid))
    if paid:
        said.append(say("headline.paid", n=len(paid), paid=amount, works=works))
        if job.money.unearned_msat:
            unearned = format_sat(job.money.unearned_msat)
            said.append(say("headline.unearned", amount=unearned))
    else:
        said.append(say("headline.nobody_paid" if job.is_closed else "headline.nobody_yet"))
    if paid and unpaid:
        said.append(say("headline.unpaid", n=len(unpaid)))
    left, budget = format_sat(job.money.left_msat), format_sat(job.money.budget_msat)
    key = "headline.left_all" if left == budget else "headline.left"
    said.append(say(key, left=left, budget=budget))
    return said


def find_outcome(outcome: str) -> dict[str, str]:
    """Why the job ended, in each language; what has no translation as it is."""
    found = _NOTHING.fullmatch(outcome)
    places = {"round": found[1], "attempts": found[2]} if found else {}
    key = "nothing" if found else OUTCOMES.get(outcome, "")
    return {
        language: texts.load_texts(language).text(f"{PAGE}outcome.{key}", **places)
        if key
        else outcome
        for language in texts.LANGUAGES
    }


def say_code(code: str) -> Markup:
    """Why a work was accepted or not; an unknown code is shown as it is."""
    return show_twins(list(_find("market.code.", code).values()))


def say_why(row: ProviderRow) -> Markup:
    """All reasons for what a provider did not get; or that there are none."""
    if row.codes:
        versions = []
        for language in texts.LANGUAGES:
            words = [_find("market.code.", code)[language] for code in row.codes]
            versions.append(("、" if language == "ja" else "; ").join(words))
        return show_twins(versions)
    if row.open:
        return say("why.open")
    return say("why.all_accepted") if row.accepted else say("work.none")


def say_reason(row: RefusedRow) -> Markup:
    """Why a message counted for nothing."""
    for group in (f"{PAGE}reason.", "market.code."):
        if texts.load_texts("en").has(group + row.reason):
            return show_twins(list(_find(group, row.reason).values()))
    return Markup.escape(row.detail or row.reason)


def format_sat(msat: int) -> str:
    """1_234_500 -> "1,234.5 sat"; no zeros behind the point."""
    whole, rest = divmod(abs(msat), MSAT)
    amount = texts.format_amount(whole) + (f".{rest:03d}".rstrip("0") if rest else "")
    return f"{'−' if msat < 0 else ''}{amount} sat"


def format_moment(at_s: int) -> str:
    """Seconds since 1970 -> "2026-11-22 12:48 UTC"."""
    if not 0 < at_s < 2**35:
        return "–"
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def format_duration(seconds: int) -> str:
    """Whole seconds: nothing finer is known of events."""
    return f"{seconds} s" if seconds < 60 else texts.format_seconds(seconds)


def _find(group: str, code: str) -> dict[str, str]:
    return {
        language: texts.load_texts(language).entries.get(group + code, code)
        for language in texts.LANGUAGES
    }
