"""A job's page: one file, English and Japanese, in the look of the run's report.

Everything that another member chose (names, reasons) is untrusted: the template escapes it, the
data lies in a JSON block that cannot end itself, and the page's policy names its scripts by their
digests. The page is made of `summary`, which holds no secret; wallets and relays are shown without
what opens them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment
from markupsafe import Markup

from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.apps.market.customer import read_plan, read_state
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.summary import (
    Acquaintance,
    JobSummary,
    RefusedRow,
    summarise,
)
from kumiai.apps.market.wording import build_headline, build_words
from kumiai.apps.report import texts
from kumiai.apps.report.frame import (
    build_environment,
    embed,
    make_policy,
    read_file,
    read_library,
)
from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError, StoreError
from kumiai.nodes.market.intents import Action
from kumiai.nodes.market.ports import PaymentState

PAGE_FILE = "report.html"
RESULT_FILE = "result.json"
NAMES_FILE = "names.json"
NAMES_BYTES_MAX = 1_000_000
NAME_CHARS_MAX = 80
WORKS_SHOWN_MAX = 500  # the journal has them all
REFUSED_SHOWN_MAX = 50
FLOWS_DRAWN_MAX = 18  # receivers beyond are drawn as one
SCRIPT = "templates/market.js"
PAGE_TEXTS = "market.page."


@dataclass(frozen=True, slots=True)
class JobPage:
    """What the page is made of. told_msat: sent by the wallet's word, None where nobody asked it.

    test_accuracy_ppm: on data that no provider saw, measured once at the end.
    """

    name: str
    description: str
    customer: str
    summary: JobSummary
    relays: tuple[str, ...]
    blobs: tuple[str, ...]
    test_accuracy_ppm: int | None
    told_msat: int | None


def write_page(folder: MarketFolder, path: Path | None = None, language: str = "auto") -> Path:
    """Write the page of a customer's folder to `path` (or report.html there), whole or not at all.

    InputError if no customer lives there, or for another language; StoreError if it cannot write.
    """
    target = path or folder.root / PAGE_FILE
    if target.is_dir():
        target = target / PAGE_FILE
    page = render_page(read_page(folder), language)
    partial = target.with_name(target.name + ".partial")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}", is_retriable=True) from error
    return target


def read_page(folder: MarketFolder) -> JobPage:
    """Read what a customer's folder says of its job."""
    _, places, job = read_plan(folder)
    plan, state = read_state(folder)
    return JobPage(
        name=job.task.name,
        description=job.task.description,
        customer=plan.pubkey,
        summary=summarise(plan, state, read_names(folder)),
        relays=tuple(_strip_url(url) for url in plan.relays),
        blobs=tuple(_strip_url(url) for url in places.blobs),
        test_accuracy_ppm=_read_test_accuracy(folder, state.model),
        told_msat=_read_sent(folder),
    )


def render_page(page: JobPage, language: str = "auto") -> str:
    """The page as HTML. It starts in `language`; "auto" asks the browser, `?lang=ja` beats both."""
    if language not in ("auto", *texts.LANGUAGES):
        raise InputError("--lang", language, "name one of auto, en, ja")
    scripts = (read_library(), _read_script())
    works = page.summary.works
    return (
        _environment()
        .get_template("market.html.j2")
        .render(
            page=page,
            job=page.summary,
            money=page.summary.money,
            start="en" if language == "auto" else language,
            is_auto=language == "auto",
            headline=build_headline(page.summary, page.test_accuracy_ppm),
            state=judge_cards(page),
            paid=[row for row in page.summary.providers if row.paid_msat],
            accepted=sum(row.verdict == "accepted" for row in works),
            not_accepted=sum(row.verdict in ("rejected", "nothing") for row in works),
            rounds_done=sum(bool(row.accepted) for row in page.summary.history),
            by_key={row.key: row for row in page.summary.providers},
            ranked=sorted(page.summary.providers, key=lambda row: -row.paid_msat),
            works=works[-WORKS_SHOWN_MAX:],
            works_left_out=max(0, len(works) - WORKS_SHOWN_MAX),
            refused=_group_refused(page.summary)[:REFUSED_SHOWN_MAX],
            commands=_list_commands(),
            query=_write_query(page.summary.job),
            style=Markup(read_file("templates/report.css")),  # noqa: S704 - ours
            scripts=[Markup(script) for script in scripts],  # noqa: S704 - ours
            policy=make_policy(scripts),
            data=embed({"charts": build_charts(page.summary), "texts": _chart_texts()}),
        )
    )


def judge_cards(page: JobPage) -> dict[str, str]:
    """Say for each of the three cards whether it is good, bad, or for a person to look at."""
    job = page.summary
    money = "unsure"
    if page.told_msat is not None:
        money = "good" if page.told_msat == _sum_sent(job) else "bad"
    quality = "good" if job.is_complete else "unsure"
    if not any(row.accepted for row in job.history):
        quality = "bad"
    who = "unsure" if any(row.verdict == "open" for row in job.works) else "good"
    return {"money": money, "quality": quality, "who": who if job.works else "bad"}


def build_charts(job: JobSummary) -> dict[str, Any]:
    """What the page's script draws, without words."""
    return {
        "start": [job.start_loss_ppm, job.start_accuracy_ppm],
        "rounds": [
            [row.round, row.loss_ppm, row.accuracy_ppm, row.accepted, row.refused, row.open]
            for row in job.history
        ],
        "flows": _list_flows(job),
    }


def read_names(folder: MarketFolder) -> dict[str, Acquaintance]:
    """What the customer calls the keys it knows; {} where it wrote nothing that can be read."""
    path = folder.root / NAMES_FILE
    try:
        if path.stat().st_size > NAMES_BYTES_MAX:
            return {}
        document = json.loads(path.read_text(encoding="utf-8"))
        return {
            key: Acquaintance(
                str(entry["name"])[:NAME_CHARS_MAX], str(entry.get("conduct", ""))[:NAME_CHARS_MAX]
            )
            for key, entry in document.items()
            if is_hash(key)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def write_names(folder: MarketFolder, names: dict[str, Acquaintance]) -> None:
    """Keep what the customer calls these keys."""
    document = {key: {"name": who.name, "conduct": who.conduct} for key, who in names.items()}
    path = folder.root / NAMES_FILE
    try:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _list_flows(job: JobSummary) -> list[dict[str, Any]]:
    """Receivers of the budget, the largest first; what is left comes last."""
    paid = sorted(
        (row for row in job.providers if row.paid_msat), key=lambda row: (-row.paid_msat, row.key)
    )
    drawn = paid if len(paid) <= FLOWS_DRAWN_MAX else paid[: FLOWS_DRAWN_MAX - 1]
    rest = paid[len(drawn) :]
    flows = [
        {"kind": "provider", "name": row.name or row.key[:8], "value": row.paid_msat, "n": 1}
        for row in drawn
    ]
    others = sum(row.paid_msat for row in rest)
    for kind, value in (
        ("others", others),
        ("fee", job.money.fee_msat),
        ("promised", job.money.promised_msat),
        ("left", job.money.left_msat),
    ):
        if value > 0:
            flows.append({"kind": kind, "name": "", "value": value, "n": len(rest)})
    return flows


def _group_refused(job: JobSummary) -> list[tuple[RefusedRow, int]]:
    """One row for each reason and author: the newest message, and how many there were."""
    counts = Counter((row.reason, row.author) for row in job.refused)
    newest = {(row.reason, row.author): row for row in job.refused}
    return [(newest[place], count) for place, count in counts.most_common()]


def _list_commands() -> list[tuple[str, str]]:
    return [
        ("status", "kumiai market status ."),
        ("wallet", "kumiai wallet reconcile --folder ."),
        ("report", "kumiai market report ."),
    ]


def _write_query(job: str) -> str:
    return json.dumps(["REQ", "job", {"ids": [job]}, {"#e": [job]}], separators=(",", ":"))


def _sum_sent(job: JobSummary) -> int:
    """What our wallet must have sent by the verdicts; ecash is locked at a mint, not sent."""
    escrowed = {row.key for row in job.providers if row.payment == "escrow"}
    return sum(row.paid_msat + row.fee_msat for row in job.works if row.provider not in escrowed)


def _read_sent(folder: MarketFolder) -> int | None:
    if not folder.money_path.is_file():
        return None
    try:
        records = SqliteIntents(folder.money_path, is_readonly=True).list_all()
    except StoreError:
        return None
    return sum(
        record.intent.amount_msat + record.outcome.fee_msat
        for record in records
        if record.intent.action is Action.PAY and record.outcome.state is PaymentState.SETTLED
    )


def _read_test_accuracy(folder: MarketFolder, model: str) -> int | None:
    try:
        result = json.loads((folder.root / RESULT_FILE).read_text(encoding="utf-8"))
        found = result["test_accuracy_ppm"] if result["model"] == model else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if type(found) is int else None


def _strip_url(url: str) -> str:
    """The address without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else "?"


def _chart_texts() -> dict[str, dict[str, str]]:
    wanted = (f"{PAGE_TEXTS}chart.", f"{PAGE_TEXTS}title")
    return {
        language: {
            key.removeprefix(PAGE_TEXTS): value
            for key, value in texts.load_texts(language).entries.items()
            if key.startswith(wanted)
        }
        for language in texts.LANGUAGES
    }


@cache
def _read_script() -> str:
    return (Path(__file__).parent / SCRIPT).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = build_environment("kumiai.apps.market")
    environment.globals.update(build_words())
    return environment
