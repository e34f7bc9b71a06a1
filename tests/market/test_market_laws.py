"""Laws of the wire: what is written is read back equal; one change is refused or means the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market import drafts as d
from kumiai.market import judging_terms as j
from kumiai.market import terms as t
from kumiai.market.kinds import EVENT_BYTES_MAX, Code, Kind, Policy, Ruling, Status
from kumiai.market.letters import Draft, Letter
from kumiai.market.nips.nip01 import encode_event, sign_text
from kumiai.market.params import ParamError, Params, read_int, read_params, write_param
from kumiai.market.reading import read_message

CUSTOMER, PROVIDER, JUDGE = (derive_key(b"laws", name) for name in "cpj")
NOW = 1_800_000_000

hashes = st.sampled_from(["ab" * 32, "01" * 32, "00" * 31 + "ff", CUSTOMER.pubkey, JUDGE.pubkey])
points = hashes.map(lambda text: "02" + text)
servers = st.lists(st.sampled_from(["http://127.0.0.1:1", "https://a.b/c"]), max_size=3)
blobs = st.builds(t.BlobRef, hashes, st.integers(0, 2**40), servers.map(tuple))
seconds = st.integers(1, t.SECONDS_MAX)
words = st.text("abcdef0123456789 .:_-", min_size=1, max_size=30)
ppm = st.integers(-(10**12), 10**12)
keys = st.lists(hashes, max_size=4, unique=True).map(tuple)
policies = st.lists(st.sampled_from(list(Policy)), min_size=1, unique=True).map(tuple)
names = st.text("abcdef_", min_size=1, max_size=8)


@st.composite
def jobs(draw: Any) -> t.JobTerms:
    committee = draw(keys)
    return t.JobTerms(
        task=draw(blobs),
        recipe=draw(words),
        algorithm=draw(words),
        rounds=draw(st.integers(1, t.ROUNDS_MAX)),
        shards=draw(st.integers(1, t.SHARDS_MAX)),
        samples=draw(st.integers(1, 2**40)),
        shard_bytes=draw(st.integers(1, 2**40)),
        model_bytes=draw(st.integers(1, 2**40)),
        update_bytes_max=draw(st.integers(1, 2**40)),
        input_shape=tuple(draw(st.lists(st.integers(1, 2**20), max_size=8))),
        class_count=draw(st.integers(1, 2**31)),
        train_s=draw(seconds),
        reveal_s=draw(seconds),
        judge_s=draw(seconds),
        bid_msat=draw(st.integers(1, t.MSAT_MAX)),
        payment=draw(policies),
        code=draw(st.none() | blobs),
        redundancy=draw(st.integers(1, 5)),
        hardware=draw(words),
        validation=t.Validation("holdout", draw(ppm), draw(st.integers(0, 10**12))),
        committee=committee,
        quorum=draw(st.integers(1, len(committee))) if committee else 1,
        jury=draw(keys),
        arbiter=draw(st.just("") | points),
    )


offers = st.builds(
    t.OfferTerms, st.integers(0, t.MSAT_MAX), st.sampled_from(Policy), points, seconds,
    st.just("") | points, st.integers(NOW + 1, 2**40),
)  # fmt: skip
contracts = st.builds(
    t.ContractTerms, st.integers(0, t.SHARDS_MAX - 1), blobs, hashes,
    st.integers(0, t.MSAT_MAX), st.sampled_from(Policy), points, st.just("") | hashes,
)  # fmt: skip


@st.composite
def rounds(draw: Any) -> t.RoundTerms:
    token = draw(st.text("abcAB_12", max_size=9_000))
    return t.RoundTerms(
        round=draw(st.integers(1, t.ROUNDS_MAX)),
        attempt=draw(st.integers(0, 1_000)),
        model=draw(blobs),
        seed=draw(st.integers(0, 2**63 - 1)),
        deadline_s=draw(st.integers(0, 2**40)),
        price_msat=draw(st.integers(0, t.MSAT_MAX)),
        payment_hash=draw(st.just("") | hashes),
        token=token,
        customer_ecash=draw(points) if token else "",
        locktime_s=draw(st.integers(0, 2**40)) if token else 0,
    )


counts = st.integers(0, 2**40)
results = st.builds(
    t.ResultTerms, blobs, hashes, counts, counts, st.integers(0, 2**63 - 1), ppm,
    st.just("") | hashes,
)  # fmt: skip
candidates = st.builds(
    j.CandidateTerms, hashes, hashes, hashes, st.integers(0, t.SHARDS_MAX - 1), blobs, hashes
)


@st.composite
def judgings(draw: Any) -> j.JudgingTerms:
    parts = draw(st.integers(1, j.PARTS_MAX))
    shown = draw(st.lists(candidates, max_size=4, unique_by=lambda one: one.provider))
    return j.JudgingTerms(
        round=draw(st.integers(1, t.ROUNDS_MAX)),
        attempt=draw(st.integers(0, j.ATTEMPTS_MAX)),
        part=draw(st.integers(0, parts - 1)),
        parts=parts,
        seed=draw(hashes),
        model=draw(blobs),
        previous_model=draw(st.none() | blobs),
        candidates=tuple(shown),
    )


disputes = st.builds(
    j.DisputeTerms, blobs, hashes, blobs, st.integers(0, j.ATTEMPTS_MAX), hashes,
    st.text("abc_", max_size=100),
)  # fmt: skip
lines = st.lists(
    st.builds(
        j.JudgementLine, hashes, st.sampled_from(Ruling), st.sampled_from(Code).map(str), ppm
    ),
    max_size=3,
    unique_by=lambda line: line.provider,
).map(tuple)


def sign(key: SigningKey, draft: Draft) -> Letter:
    event = sign_text(key, int(draft.kind), NOW, draft.text, draft.tags)
    return Letter(event, draft.hidden)


def read(letter: Letter) -> Any:
    found = read_message(letter, NOW)
    assert not isinstance(found, Reject), found
    return found


JOB = sign(
    CUSTOMER,
    Draft(
        Kind.JOB,
        (("v", "1"), ("t", "training"), ("expiration", str(2**40)), ("bid", str(t.MSAT_MAX)),
         ("encrypted",)),
    ),
).event  # fmt: skip
CONTRACT_TERMS = t.ContractTerms(
    0, t.BlobRef("ab" * 32, 5), "cd" * 32, 5, Policy.HOLD, "02" + "ab" * 32
)
CONTRACT = sign(
    CUSTOMER, d.draft_contract(JOB.id, "ab" * 32, PROVIDER.pubkey, CONTRACT_TERMS, 2**40)
).event
ROUND_TERMS = t.RoundTerms(2, 0, t.BlobRef("ab" * 32, 5), 7, NOW + 50, 5, "ab" * 32)
ROUND = sign(
    CUSTOMER, d.draft_round(JOB.id, CONTRACT.id, PROVIDER.pubkey, ROUND_TERMS, 2**40)
).event

WRITTEN: dict[str, tuple[SigningKey, Any, Callable[[Any], Draft]]] = {
    "job": (CUSTOMER, jobs(), lambda x: d.draft_job(x, NOW + 9, ("ws://a",))),
    "offer": (PROVIDER, offers, lambda x: d.draft_offer(JOB, x)),
    "contract": (
        CUSTOMER, contracts,
        lambda x: d.draft_contract(JOB.id, "ab" * 32, PROVIDER.pubkey, x, NOW + 9),
    ),
    "round": (
        CUSTOMER, rounds(),
        lambda x: d.draft_round(JOB.id, CONTRACT.id, PROVIDER.pubkey, x, NOW + 9),
    ),
    "result": (
        PROVIDER, results, lambda x: d.draft_result(ROUND, JOB.id, CONTRACT.id, 2, x, 5, "lnbc1"),
    ),
    "judging": (
        CUSTOMER, judgings(), lambda x: d.draft_judging(JOB.id, JUDGE.pubkey, x, NOW + 9),
    ),
    "dispute": (
        PROVIDER, disputes,
        lambda x: d.draft_dispute(JOB.id, CONTRACT.id, "ab" * 32, 2, JUDGE.pubkey, x),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_terms_are_read_back_equal(name: str) -> None:
    key, terms, write = WRITTEN[name]

    @settings(max_examples=60, deadline=None)
    @given(terms)
    def law(given_terms: Any) -> None:
        letter = sign(key, write(given_terms))
        if len(encode_event(letter.event)) <= EVENT_BYTES_MAX:
            assert read(letter).terms == given_terms

    law()


@settings(max_examples=60, deadline=None)
@given(lines, st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 1_000))
def test_judgements_are_read_back_equal(told: Any, loss: int, accuracy: int, attempt: int) -> None:
    judging = j.JudgingTerms(1, attempt, 0, 1, "ab" * 32, t.BlobRef("ab" * 32, 1), None, ())
    asked = sign(CUSTOMER, d.draft_judging(JOB.id, JUDGE.pubkey, judging, NOW + 9)).event
    found = read(sign(JUDGE, d.draft_judgement(asked, JOB.id, 1, attempt, loss, accuracy, told)))
    assert (found.lines, found.loss_ppm, found.accuracy_ppm) == (told, loss, accuracy)
    assert (found.judge, found.attempt, found.job) == (JUDGE.pubkey, attempt, JOB.id)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(Ruling), st.sampled_from(Code), ppm, hashes, st.lists(words, max_size=3))
def test_small_messages_are_read_back_equal(
    ruling: Ruling, code: Code, gain: int, secret: str, signatures: list[str]
) -> None:
    place, other = (JOB.id, CONTRACT.id), "01" * 32
    draft = d.draft_verdict(
        *place, other, 3, PROVIDER.pubkey, ruling, code, gain, "ab" * 32, secret, signatures
    )
    verdict = read(sign(CUSTOMER, draft))
    assert (verdict.ruling, verdict.code, verdict.gain_ppm) == (ruling, code, gain)
    assert (verdict.preimage, verdict.signatures) == (secret, tuple(signatures))
    assert (verdict.judge, verdict.provider, verdict.round) == (
        CUSTOMER.pubkey, PROVIDER.pubkey, 3,
    )  # fmt: skip
    ids = (other, "ab" * 32, PROVIDER.pubkey)
    said = read(sign(JUDGE, d.draft_ruling(*place, *ids, ruling, code, signatures)))
    assert (said.juror, said.ruling, said.code) == (JUDGE.pubkey, ruling, str(code))
    assert said.signatures == tuple(signatures)
    for status in Status:
        told = d.draft_feedback(ROUND.id, JOB.id, CUSTOMER.pubkey, status, "why", secret)
        found = read(sign(PROVIDER, told))
        assert (found.status, found.sentence, found.key) == (status, "why", secret)
    yes = read(sign(PROVIDER, d.draft_acceptance(CONTRACT, JOB.id)))
    assert (yes.contract, yes.provider) == (CONTRACT.id, PROVIDER.pubkey)
    done = read(sign(CUSTOMER, d.draft_closing(JOB.id, 2, secret, [(PROVIDER.pubkey, 1, 0, 7)])))
    assert (done.rounds, done.paid_msat, done.model) == (2, 7, secret)
    rated = read(sign(CUSTOMER, d.draft_rating(CONTRACT.id, PROVIDER.pubkey, 99, "good")))
    assert (rated.points, rated.sentence, rated.rated) == (99, "good", PROVIDER.pubkey)


SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda x: f"+{x}", lambda x: f"0{x}", lambda x: f" {x}", lambda x: f"{x} ", lambda x: f"{x}.0",
    lambda x: f"{x}e0", lambda x: f"{x}_0", lambda x: f"{x}\n", lambda x: f"-{x}", str.upper,
    lambda x: x.replace("1", "\u0661"), lambda x: x.replace("0", "\uff10"),
)  # fmt: skip
NUMBERS = {
    "rounds", "shards", "samples", "shard_bytes", "model_bytes", "update_bytes_max", "classes",
    "train_s", "reveal_s", "judge_s", "round", "attempt", "seed", "deadline", "price_msat",
    "iterations", "flop", "loss_ppm", "shard", "parts", "part", "locktime",
}  # fmt: skip
OPTIONAL = {"redundancy", "hardware", "committee", "quorum", "jury", "arbiter", "input"}


@pytest.mark.parametrize("name", WRITTEN)
def test_one_change_is_refused_or_means_the_same(name: str) -> None:
    """Tags dropped, doubled, moved, added; numbers and hashes in another spelling."""
    key, terms, write = WRITTEN[name]

    @settings(max_examples=80, deadline=None)
    @given(terms, st.data())
    def law(given_terms: Any, data: st.DataObject) -> None:
        draft = write(given_terms)
        if len(encode_event(sign(key, draft).event)) > EVENT_BYTES_MAX - 200:
            return
        is_hidden = bool(draft.hidden) and data.draw(st.booleans())
        tags = list(draft.hidden or ()) if is_hidden else list(draft.tags)
        at = data.draw(st.integers(0, len(tags) - 1))
        way = data.draw(st.sampled_from(["drop", "double", "move", "add", "spell", "cut"]))
        tag = tags[at]
        if way == "drop":
            del tags[at]
        elif way == "double":
            tags.append(tag)
        elif way == "move":
            tags.append(tags.pop(at))
        elif way == "add":
            tags.append(write_param("accuracy", "99.9") if is_hidden else ("service_provider", "x"))
        elif way == "cut":
            tags[at] = tag[:-1] if len(tag) > 1 else tag
        elif not _spell(tags, at, data):
            return
        changed = replace(draft, **{"hidden" if is_hidden else "tags": tuple(tags)})
        try:
            letter = sign(key, changed)
        except ValueError:
            return  # no valid event
        found, meant = read_message(letter, NOW), read(sign(key, draft))
        if isinstance(found, Reject):
            assert found.detail
            assert found.evidence["event"] == letter.event.id
        elif not _is_default(way, tag):
            assert _strip(found) == _strip(meant), (way, tag)

    law()


def _spell(tags: list[t.Tag], at: int, data: st.DataObject) -> bool:
    tag = tags[at]
    is_number = tag[0] in {"n", "expiration", "bid", "amount"} or (tag[1:2] and tag[1] in NUMBERS)
    place = 2 if tag[0] == "param" else 1
    is_hash = len(tag) > place and len(tag[place]) in (64, 66)
    if not (is_number or is_hash) or len(tag) <= place:
        return False
    other = data.draw(st.sampled_from(SPELLINGS))(tag[place])
    if other == tag[place] or (other[0] == "-" and tag[1] == "loss_ppm"):
        return False
    tags[at] = (*tag[:place], other, *tag[place + 1 :])
    return True


def _is_default(way: str, tag: t.Tag) -> bool:
    """Without these there is another meaning that the document names, or no claim at all."""
    if tag[0] == "param" and tag[1].startswith("candidate:"):
        return True  # their order is that of arrival, and says something
    if way not in ("drop", "cut", "spell"):
        return False
    if tag[0] in ("relays", "expiration", "encrypted", "amount"):
        return True
    if tag[-1] in ("code", "previous"):
        return True
    free = OPTIONAL | {"validation", "payment", "key", "ecash", "job_key", "token", "recipe"}
    free |= {"payment_hash", "customer_ecash", "locktime", "algorithm"}
    return tag[0] == "param" and tag[1] in free


def _strip(message: Any) -> Any:
    fields = {"id": "", **({"event": None} if hasattr(message, "event") else {})}
    return replace(message, **fields)


@given(st.integers(-(2**70), 2**70), st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 2**63))
def test_integers_have_one_form(value: int, low: int, width: int) -> None:
    high = low + width
    try:
        assert read_int("x", str(value), low, high) == value
        assert low <= value <= high
    except ParamError:
        is_long = abs(value) >= 10**19
        assert is_long or not low <= value <= high


@given(st.text(max_size=12))
def test_text_that_is_no_integer_is_refused(text: str) -> None:
    with contextlib.suppress(ParamError):
        assert str(read_int("x", text, -(10**9), 10**9)) == text


@given(st.dictionaries(names, st.lists(words, max_size=5), max_size=6))
def test_parameters_are_read_back_equal(values: dict[str, list[str]]) -> None:
    tags = [write_param(name, *each) for name, each in values.items()]
    assert read_params(tags) == Params({name: tuple(each) for name, each in values.items()})
    if tags:
        with pytest.raises(ParamError):
            read_params([*tags, tags[0]])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([int(kind) for kind in Kind]) | st.integers(0, 65_535),
    st.lists(st.lists(st.text(max_size=8) | hashes, max_size=5).map(tuple), max_size=8),
    st.none() | st.lists(st.lists(st.text(max_size=8), max_size=5).map(tuple), max_size=8),
    st.text(max_size=20),
)
def test_reading_never_raises(kind: int, clear: Any, hidden: Any, text: str) -> None:
    event = Event("ab" * 32, CUSTOMER.pubkey, NOW, kind, tuple(clear), text, "00" * 64)
    shown = tuple(hidden) if hidden is not None else None
    for common in ((), (("v", "1"), ("t", "training"))):
        letter = Letter(replace(event, tags=(*common, *event.tags)), shown)
        found = read_message(letter, NOW)
        assert not isinstance(found, Reject) or found.reason
