"""`job.toml`: a task file with a section `[market]`, which says what is paid and where.

Everything but `[market]` is the task document; what a market needs of it is filled in where it was
left out (`data.mode = "assigned"`). All problems are reported at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationError

from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError
from kumiai.market.kinds import Policy
from kumiai.market.terms import COMMITTEE_MAX, REDUNDANCY_MAX, SECONDS_MAX, Validation
from kumiai.tasks.document import TaskDocument, parse_toml, task_from_mapping
from kumiai.tasks.errors import TaskError, explain_validation
from kumiai.tasks.fields import Section, Text, setting, text

SECTION = "market"
SAT_MAX = 10**11
JUDGED_MAX = 50  # updates in one judgement: an event has 64 tags
LISTS_MAX = 8

_POINT = re.compile(r"0[23][0-9a-f]{64}")
Payment = Literal["hold", "fair", "invoice", "escrow"]


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[Text, ...], BeforeValidator(_as_tuple)]
Payments = Annotated[tuple[Payment, ...], BeforeValidator(_as_tuple)]


class MarketSection(Section):
    """What the customer pays, how long it waits, and where relays, blobs and its wallet are."""

    bid_sat: int = setting(..., "sat", "The most for one accepted round.", ge=1, le=SAT_MAX)
    budget_sat: int = setting(..., "sat", "Never more is paid, fees included.", ge=1, le=SAT_MAX)
    wallet: Text = text("", "embedded:FILE#NAME, lnbits:URL, nostr+walletconnect:...; see docs.")
    ecash: Text = text("", "With payment escrow: cashu:URL or embedded:FILE.")
    arbiter: Text = text("", "With payment escrow: the jury's ecash key, 66 hex digits.")
    relays: Texts = setting((), "URLs", "Relays; none: those of the command.", max_length=LISTS_MAX)
    blobs: Texts = setting((), "URLs", "Blob servers; none: those of the command.", max_length=8)
    payment: Payments = setting(("hold",), "choices", "Ways of payment, best first.", min_length=1)
    redundancy: int = setting(1, "count", "Providers for each shard.", ge=1, le=REDUNDANCY_MAX)
    offers_s: int = setting(60, "s", "How long offers are waited for.", ge=1, le=SECONDS_MAX)
    offers_enough: int = setting(0, "count", "Wait no longer with so many; 0: wait.", ge=0)
    accept_s: int = setting(120, "s", "To fetch a shard and accept.", ge=1, le=SECONDS_MAX)
    train_s: int = setting(600, "s", "For one round's work.", ge=1, le=SECONDS_MAX)
    reveal_s: int = setting(120, "s", "For the key, once money is locked.", ge=1, le=SECONDS_MAX)
    judge_s: int = setting(300, "s", "Until the verdict.", ge=1, le=SECONDS_MAX)
    payment_s: int = setting(600, "s", "To wait for money at the end.", ge=1, le=SECONDS_MAX)
    min_gain_ppm: int = setting(0, "ppm", "Least gain on the private hold-out, ppm of a nat.")
    peer_margin_ppm: int = setting(200_000, "ppm", "How far below the others' mean.", ge=0)
    faults_max: int = setting(2, "count", "Faults until a provider is replaced.", ge=1, le=100)
    attempts_max: int = setting(3, "count", "Attempts at one round.", ge=1, le=100)
    sealed: bool = setting(False, "switch", "Hide the job's terms from all but those contracted.")
    automatic: bool = setting(True, "switch", "Take the best offers without asking.")
    hardware: Text = text("cpu", "What is expected of providers' machines.")
    committee: Texts = setting((), "keys", "Who judges; none: you alone.", max_length=COMMITTEE_MAX)
    jury: Texts = setting((), "keys", "Who rules on disputes.", max_length=COMMITTEE_MAX)
    refused: Texts = setting((), "keys", "Providers that get no contract.", max_length=1_000)

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The ways of payment as the market knows them."""
        return tuple(Policy(name) for name in self.payment)

    @property
    def validation(self) -> Validation:
        """The declared validation."""
        return Validation("holdout", self.min_gain_ppm, self.peer_margin_ppm)


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job as its customer wrote it; base_dir: where its recipe and data lie."""

    task: TaskDocument
    market: MarketSection
    base_dir: Path


def read_job_file(path: Path) -> JobFile:
    """Read a job file; TaskError names every field that is wrong, its value and the fix."""
    try:
        written = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        fix = f"cannot be read ({why}); give the path of a job.toml"
        raise InputError("JOB", str(path), fix) from error
    task, market = parse_job(written)
    return JobFile(task, market, path.resolve().parent)


def parse_job(toml_text: str) -> tuple[TaskDocument, MarketSection]:
    """Read a job file's text."""
    raw: dict[str, Any] = parse_toml(toml_text)
    given = raw.pop(SECTION, None)
    problems: list[InputError] = []
    market = None
    if given is None:
        fix = "is missing: a job says what it pays, e.g. bid_sat = 20 and budget_sat = 1000"
        problems.append(InputError(f"[{SECTION}]", None, fix))
    else:
        market = _read_market(given, problems)
    data = raw.get("data", {})
    if isinstance(data, dict):
        raw["data"] = {"mode": "assigned", **data}
    try:
        task = task_from_mapping(raw)
    except TaskError as error:
        raise TaskError([*problems, *error.problems]) from error
    if market is not None:
        problems += _find_contradictions(task, market)
    if problems or market is None:
        raise TaskError(problems)
    return task, market


def _read_market(given: object, problems: list[InputError]) -> MarketSection | None:
    try:
        return MarketSection.model_validate(given)
    except ValidationError as error:
        found = explain_validation(error, list(MarketSection.model_fields))
        problems += [InputError(f"{SECTION}.{p.field_name}", p.value, p.fix) for p in found]
        return None


def _find_contradictions(task: TaskDocument, market: MarketSection) -> list[InputError]:
    problems = []
    least = market.bid_sat * task.data.trainers * market.redundancy
    if market.budget_sat < least:
        fix = (
            f"one round of {task.data.trainers * market.redundancy} providers may cost {least} sat:"
            " raise it, or lower bid_sat"
        )
        problems.append(InputError("market.budget_sat", market.budget_sat, fix))
    if "escrow" in market.payment and not (market.arbiter and market.jury):
        fix = "two of provider, customer and jury sign: name market.arbiter and market.jury"
        problems.append(InputError("market.payment", list(market.payment), fix))
    if len(set(market.payment)) != len(market.payment):
        problems.append(InputError("market.payment", list(market.payment), "name each once"))
    works = task.data.trainers * market.redundancy
    if market.committee and works > JUDGED_MAX:
        fix = f"a committee's judgement holds {JUDGED_MAX} updates, a round here has {works}"
        problems.append(InputError("market.committee", len(market.committee), fix))
    if set(market.committee) & set(market.jury):
        fix = "who judges cannot rule on it: name others"
        problems.append(InputError("market.jury", list(market.jury), fix))
    if market.arbiter and not _POINT.fullmatch(market.arbiter):
        fix = "a compressed key has 66 lower-case hex digits, the first two 02 or 03"
        problems.append(InputError("market.arbiter", market.arbiter, fix))
    for name in ("committee", "jury"):
        if len(set(getattr(market, name))) != len(getattr(market, name)):
            named = list(getattr(market, name))
            problems.append(InputError(f"market.{name}", named, "name each once"))
    keys = [
        (name, key) for name in ("committee", "jury", "refused") for key in getattr(market, name)
    ]
    problems += [
        InputError(f"market.{name}", key, "a key has 64 lower-case hex digits")
        for name, key in keys
        if not is_hash(key)
    ]
    return problems
