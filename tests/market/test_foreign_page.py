"""Every event that Kumiai writes is what docs/nip-training.md says, by a reader made from the page.

The reader is foreign/validate.mjs, in JavaScript; it looks at signatures, tags, markers, hidden
tags and sizes, and takes what the page does not know for a flaw.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.market.foreign.world import FOLDER, need_node, validate_events

from kumiai.base import canonical
from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.market import drafts as d
from kumiai.market import judging_terms as j
from kumiai.market import terms as t
from kumiai.market.kinds import Code, Kind, Policy, Ruling, Status
from kumiai.market.letters import Draft
from kumiai.market.nips.nip01 import encode_event, sign_text
from kumiai.nodes.market.letterbox import sign_draft
from kumiai.tasks.document import task_from_document

pytestmark = pytest.mark.xdist_group("foreign-market")

PAGE = Path(__file__).parents[2] / "docs" / "nip-training.md"
CUSTOMER, PROVIDER, JUDGE = (derive_key(b"page", name) for name in ("c", "p", "j"))
KEYS = {key.pubkey: key.secret.hex() for key in (CUSTOMER, PROVIDER, JUDGE)}
NOW_S = 1_700_000_000
A, B = "ab" * 32, "cd" * 32
POINT = "02" + A
JOB_KEY = "11" * 32
BLOB = t.BlobRef(A, 5_000, ("http://127.0.0.1:3000", "https://blobs.example"))

JOB = t.JobTerms(
    task=BLOB,
    recipe="mlp",
    algorithm="fedavg",
    rounds=3,
    shards=2,
    samples=100,
    shard_bytes=9_000,
    model_bytes=5_000,
    update_bytes_max=6_000,
    input_shape=(8, 8),
    class_count=10,
    train_s=60,
    reveal_s=20,
    judge_s=40,
    bid_msat=25_000,
    payment=(Policy.HOLD, Policy.INVOICE),
)
RELAYS = ("ws://127.0.0.1:7000", "wss://relay.example")


def sign(key: object, draft: Draft) -> Event:
    nonce = canonical.sha256_hex(repr(draft).encode())[:64]
    return sign_draft(key, draft, NOW_S, lambda size: bytes.fromhex(nonce)[:size])  # type: ignore[arg-type]


def write_all() -> Iterator[tuple[str, Event]]:
    """Every kind in every form, each under a name."""
    judged = replace(
        JOB,
        code=BLOB,
        committee=tuple(f"{i:064x}" for i in range(1, 8)),
        quorum=5,
        jury=(JUDGE.pubkey,),
        arbiter=POINT,
        payment=(Policy.ESCROW,),
    )
    job = sign(CUSTOMER, d.draft_job(JOB, NOW_S + 60, RELAYS))
    sealed = sign(CUSTOMER, d.draft_job(judged, NOW_S + 60, RELAYS, JOB_KEY))
    yield "job", job
    yield "judged job", sign(CUSTOMER, d.draft_job(judged, NOW_S + 60, RELAYS))
    yield "sealed job", sealed
    terms = t.OfferTerms(18_000, Policy.HOLD, POINT, 5, expires_at_s=NOW_S + 60)
    offer = sign(PROVIDER, d.draft_offer(job, terms))
    yield "offer", offer
    escrow = replace(terms, payment=Policy.ESCROW, ecash=POINT)
    yield "offer for escrow", sign(PROVIDER, d.draft_offer(sealed, escrow))
    agreed = t.ContractTerms(1, BLOB, B, 18_000, Policy.HOLD, POINT)
    to = PROVIDER.pubkey
    contract = sign(CUSTOMER, d.draft_contract(job.id, offer.id, to, agreed, NOW_S + 60))
    yield "contract", contract
    keyed = replace(agreed, job_key=JOB_KEY)
    yield (
        "contract of a sealed job",
        sign(CUSTOMER, d.draft_contract(sealed.id, offer.id, to, keyed, NOW_S)),
    )
    yield "acceptance", sign(PROVIDER, d.draft_acceptance(contract, job.id))
    asked = t.RoundTerms(2, 0, BLOB, 2**63 - 1, NOW_S + 60, 18_000, payment_hash=B)
    request = sign(CUSTOMER, d.draft_round(job.id, contract.id, to, asked, NOW_S + 60))
    yield "request", request
    token = replace(
        asked, payment_hash="", token="T" * 2_500, customer_ecash=POINT, locktime_s=NOW_S
    )
    locked = d.draft_round(job.id, contract.id, to, token, NOW_S + 60)
    yield "request with ecash", sign(CUSTOMER, locked)
    given = t.ResultTerms(BLOB, B, 100, 12, 99_999, 700_000)
    result = sign(
        PROVIDER, d.draft_result(request, job.id, contract.id, 2, given, 18_000, "lnbcrt1x")
    )
    yield "result", result
    opened = replace(given, key=A, loss_ppm=-5)
    less = d.draft_result(request, job.id, contract.id, 2, opened, 17_000)
    yield "open result", sign(PROVIDER, less)
    for status in Status:
        key = A if status is Status.PARTIAL else ""
        said = d.draft_feedback(request.id, job.id, CUSTOMER.pubkey, status, "in words", key)
        yield f"feedback {status}", sign(PROVIDER, said)
    yield from write_judgements(job, contract, result)


def write_judgements(job: Event, contract: Event, result: Event) -> Iterator[tuple[str, Event]]:
    to, place = PROVIDER.pubkey, (job.id, contract.id, result.id, 2, PROVIDER.pubkey)
    for code in Code:
        if code not in (Code.NO_REPLY, Code.DECLINED):  # nothing was delivered: no verdict
            ruling = Ruling.ACCEPTED if code is Code.ACCEPTED else Ruling.REJECTED
            paid = B if code is Code.ACCEPTED else ""
            known = (ruling, code, -3, A, paid)
            said = d.draft_verdict(*place, *known, model=B)
            yield f"verdict {code}", sign(CUSTOMER, said)
    accepted = (Ruling.ACCEPTED, Code.ACCEPTED)
    verdict = sign(CUSTOMER, d.draft_verdict(*place, *accepted, signatures=("s1", "s2")))
    yield "verdict with signatures", verdict
    candidate = j.CandidateTerms(to, contract.id, B, 1, BLOB, A)
    order = j.JudgingTerms(2, 0, 0, 1, B, BLOB, BLOB, (candidate,))
    judging = sign(CUSTOMER, d.draft_judging(job.id, JUDGE.pubkey, order, NOW_S + 60))
    yield "judging", judging
    lines = [j.JudgementLine(to, Ruling.REJECTED, "no-gain", -7)]
    yield "judgement", sign(JUDGE, d.draft_judgement(judging, job.id, 2, 0, 700_000, 0, lines))
    shown = encode_event(verdict).decode()
    doubt = j.DisputeTerms(BLOB, A, BLOB, 0, B, "T" * 500, shown)
    dispute = sign(
        PROVIDER, d.draft_dispute(job.id, contract.id, verdict.id, 2, JUDGE.pubkey, doubt)
    )
    yield "dispute", dispute
    about = (job.id, contract.id, dispute.id, verdict.id, to, *accepted)
    yield "ruling", sign(JUDGE, d.draft_ruling(*about))
    yield "ruling with signatures", sign(JUDGE, d.draft_ruling(*about, signatures=("s",)))
    yield "closing", sign(CUSTOMER, d.draft_closing(job.id, 2, A, [(to, 1, 1, 18_000)]))
    yield "closing of nothing", sign(CUSTOMER, d.draft_closing(job.id, 0, "", []))
    yield "rating", sign(PROVIDER, d.draft_rating(contract.id, CUSTOMER.pubkey, 90, "paid at once"))
    requests = [(job.id, Kind.JOB), (contract.id, Kind.CONTRACT)]
    yield "cancel", sign(CUSTOMER, d.draft_cancel(requests, "no need any more"))


def validate(tmp_path: Path, events: list[Event]) -> list[list[str]]:
    job_keys = {event.id: JOB_KEY for event in events if event.kind == Kind.JOB}
    told = asyncio.run(validate_events(tmp_path, events, KEYS, job_keys))
    assert [one["id"] for one in told] == [event.id for event in events]
    return [one["flaws"] for one in told]


def test_every_kind_in_every_form_is_what_the_page_says(tmp_path: Path) -> None:
    need_node()
    named = dict(write_all())
    kinds = {event.kind for event in named.values()}
    assert kinds == set(Kind) - {Kind.ANNOUNCEMENT, Kind.HEARTBEAT}  # see test_foreign_clients
    flaws = validate(tmp_path, list(named.values()))
    assert {name: found for name, found in zip(named, flaws, strict=True) if found} == {}


def test_the_reader_finds_what_the_page_does_not_allow(tmp_path: Path) -> None:
    need_node()
    named = dict(write_all())

    def change(name: str, old: tuple[str, ...] | None, *new: tuple[str, ...]) -> Event:
        event = named[name]
        tags = [tuple(tag) for tag in event.tags if old is None or tuple(tag)[: len(old)] != old]
        assert old is None or len(tags) < len(event.tags)
        key = {k.pubkey: k for k in (CUSTOMER, PROVIDER, JUDGE)}[event.pubkey]
        return sign_text(key, event.kind, NOW_S, event.content, (*tags, *new))

    other = d.draft_acceptance(named["contract"], named["job"].id)
    wrong = {
        "another version": change("job", ("v",), ("v", "2")),
        "a percent": change("judgement", ("param", "loss_ppm"), ("param", "loss_ppm", "91.1")),
        "a name twice": change("job", None, ("param", "rounds", "3")),
        "an unknown parameter": change("job", None, ("param", "epochs", "3")),
        "a tag that is not indexed": change("request", None, ("round", "2")),
        "clear beside hidden": change("contract", None, ("param", "price_msat", "1")),
        "no marker": change("result", ("e", named["job"].id), ("e", named["job"].id)),
        "another round": change("request", ("n",), ("n", "3")),
        "a status of our own": change("feedback error", ("status",), ("status", "timeout")),
        "a request that is not answered": change("acceptance", ("request",), ("request", "{}")),
        "somebody else's request": change("acceptance", ("p",), ("p", JUDGE.pubkey)),
        "too long": sign_text(CUSTOMER, 7604, NOW_S, "x" * 12_000, named["closing"].tags),
        "not encrypted": change("acceptance", ("encrypted",)),
        "another kind": sign_text(CUSTOMER, 8000, NOW_S, "", named["closing"].tags),
        "a bad signature": replace(named["job"], sig="00" * 64),
    }  # fmt: skip
    assert other.kind == Kind.ACCEPTANCE
    flaws = validate(tmp_path, list(wrong.values()))
    assert [name for name, found in zip(wrong, flaws, strict=True) if not found] == []


def test_the_page_shows_a_task_that_is_one() -> None:
    block = re.search(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    document = json.loads(block[1])
    task = task_from_document(document)
    assert task.data.mode == "assigned" and not task.training.slim
    assert json.loads((FOLDER / "task.json").read_text(encoding="utf-8")) == document


def test_the_page_and_the_package_name_the_same_kinds_and_codes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = {int(row) for row in re.findall(r"^\| (\d+) \| [a-z]", text, re.MULTILINE)}
    assert rows >= {int(kind) for kind in Kind}
    codes = re.search(r"^Codes: (.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert codes is not None
    unsaid = {"no-reply", "declined"}  # nothing was delivered: there is no verdict
    said = set(re.findall(r"`([a-z-]+)`", codes[1]))
    assert said == {str(code) for code in Code} - unsaid


def test_a_committee_without_a_quorum_has_the_one_of_the_page() -> None:
    for judges, quorum in ((1, 1), (2, 2), (4, 3), (7, 5), (10, 7)):
        terms = replace(JOB, committee=tuple(f"{i:064x}" for i in range(judges)))
        tags = [tag for tag in terms.list_tags() if tag[1] != "quorum"]
        assert t.read_job(tags, t.Params(_params(tags)), 1).quorum == quorum


def _params(tags: list[t.Tag]) -> dict[str, tuple[str, ...]]:
    return {tag[1]: tag[2:] for tag in tags if tag[0] == "param"}
