"""NIP-90: requests, results and feedback survive the way there and back; liars are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.events import Event, check_event
from kumiai.base.keys import derive_key
from kumiai.market.nips import nip44, nip90
from kumiai.market.nips.drafts import Draft, sign_draft
from kumiai.market.nips.nip90 import InputType, JobInput, Param, Status

CUSTOMER, PROVIDER, STRANGER = (derive_key(b"nip90", name) for name in ("c", "p", "s"))
NOW = 1_800_000_000
JOB_KEY = bytes(range(32))
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
RELAYS = st.sampled_from(("wss://relay.example", "ws://127.0.0.1:7777", "wss://a.b/x?y=1"))
AMOUNTS = st.none() | st.integers(0, 2**53 - 1)
TIMES = st.none() | st.integers(0, 2**40)
INPUTS = st.one_of(
    st.builds(JobInput, TEXTS, st.just(InputType.TEXT), st.just("") | RELAYS, st.just("") | TEXTS),
    st.builds(JobInput, HASHES, st.sampled_from((InputType.EVENT, InputType.JOB)), RELAYS),
    st.builds(JobInput, st.just("blossom:" + "ab" * 32 + ".bin"), st.just(InputType.URL)),
)
OTHERS = st.lists(st.tuples(st.sampled_from(("x", "d", "task")), TEXTS), max_size=3).map(tuple)
REQUESTS = st.builds(
    nip90.JobRequest,
    kind=st.integers(5_000, 5_999),
    inputs=st.lists(INPUTS, max_size=4).map(tuple),
    params=st.lists(
        st.builds(Param, TEXTS, st.lists(TEXTS, min_size=1, max_size=3).map(tuple)), max_size=4
    ).map(tuple),
    output=st.just("") | TEXTS,
    bid_msat=AMOUNTS,
    relays=st.lists(RELAYS, max_size=3, unique=True).map(tuple),
    providers=st.lists(HASHES, max_size=3).map(tuple),
    topics=st.lists(TEXTS, max_size=3).map(tuple),
    expires_at_s=TIMES,
    content=st.just("") | TEXTS,
    others=OTHERS,
)
ANSWERS = {
    "request_id": HASHES,
    "customer": HASHES,
    "content": st.just("") | TEXTS,
    "request_relay": st.just("") | RELAYS,
    "expires_at_s": TIMES,
    "others": OTHERS,
}
RESULTS = st.builds(
    nip90.JobResult,
    kind=st.integers(6_000, 6_999),
    inputs=st.lists(INPUTS, max_size=3).map(tuple),
    **ANSWERS,
)
FEEDBACKS = st.builds(
    nip90.JobFeedback, status=st.sampled_from(Status), info=st.just("") | TEXTS, **ANSWERS
)


def encrypt(text):
    return nip44.encrypt_with(JOB_KEY, text, bytes(32))


def decrypt(payload):
    return nip44.decrypt_with(JOB_KEY, payload)


def show(draft: Draft) -> Event:
    return sign_draft(CUSTOMER, draft, NOW)


def tell(kind, tags, content=""):
    return Event("00" * 32, "11" * 32, NOW, kind, tuple(map(tuple, tags)), content, "")


@given(REQUESTS)
def test_requests_there_and_back(request):
    event = show(nip90.encode_request(request))
    assert check_event(event) is None
    assert nip90.decode_request(event) == request


@given(REQUESTS)
def test_encrypted_requests_show_no_inputs_and_open_with_the_key(request):
    request = replace(request, is_encrypted=True, content="")
    event = show(nip90.encode_request(request, encrypt))
    names = {tag[0] for tag in event.tags}
    assert not names & {"i", "param"}
    assert nip90.decode_request(event, decrypt) == request
    closed = nip90.decode_request(event)
    assert (closed.inputs, closed.params, closed.is_encrypted) == ((), (), True)
    assert decrypt(closed.content) == decrypt(event.content)


@given(RESULTS, AMOUNTS, st.booleans())
def test_results_there_and_back(result, amount_msat, has_invoice):
    bolt11 = "lnbcrt1" if has_invoice and amount_msat is not None else ""
    result = replace(result, amount_msat=amount_msat, bolt11=bolt11)
    assert nip90.decode_result(show(nip90.encode_result(result))) == result


@given(RESULTS.map(lambda x: replace(x, inputs=(), is_encrypted=True, content="a result")))
def test_encrypted_results_hide_their_content(result):
    event = show(nip90.encode_result(result, encrypt))
    assert "a result" not in event.content
    assert nip90.decode_result(event, decrypt) == result
    assert nip90.decode_result(event).content == event.content


@given(FEEDBACKS, AMOUNTS)
def test_feedback_there_and_back(feedback, amount_msat):
    feedback = replace(feedback, amount_msat=amount_msat)
    assert nip90.decode_feedback(show(nip90.encode_feedback(feedback))) == feedback
    hidden = replace(feedback, is_encrypted=True)
    event = show(nip90.encode_feedback(hidden, encrypt))
    assert nip90.decode_feedback(event, decrypt) == hidden


def make_result(**changes):
    request = sign_draft(CUSTOMER, nip90.encode_request(nip90.JobRequest(5_600)), NOW)
    values = {"kind": 6_600, "request_id": request.id, "customer": CUSTOMER.pubkey}
    return nip90.JobResult(**{**values, "request": request, **changes})


def test_an_embedded_request_is_read_as_it_was_signed():
    result = make_result(amount_msat=21_000, bolt11="lnbcrt210n1abc")
    event = sign_draft(PROVIDER, nip90.encode_result(result), NOW)
    assert nip90.decode_result(event) == result


def forge(**changes):
    """A result event whose embedded request was changed after it was made."""
    event = sign_draft(PROVIDER, nip90.encode_result(make_result()), NOW)
    embedded = json.loads(next(tag[1] for tag in event.tags if tag[0] == "request"))
    embedded.update(changes)
    tags = tuple(
        ("request", json.dumps(embedded)) if tag[0] == "request" else tag for tag in event.tags
    )
    return replace(event, tags=tags)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"content": "another job"}, "id does not match"),
        ({"created_at": 1}, "id does not match"),
        ({"tags": [["bid", "1"]]}, "id does not match"),
        ({"id": "ab" * 32}, "`e` says"),
        ({"kind": 5_601}, "does not answer"),
        ({"pubkey": STRANGER.pubkey}, "`p` says"),
        ({"sig": "00" * 64}, "signature"),
    ],
)
def test_an_embedded_request_that_is_not_the_one_in_e_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        nip90.decode_result(forge(**changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kind": 6_601}, "does not answer"),
        ({"kind": 5_600}, "not a job result"),
        ({"kind": 8_000}, "not a job result"),  # FEDSTR's own kind: NIP-43 has it
        ({"request_id": "ab" * 32}, "`e` says"),
        ({"customer": STRANGER.pubkey}, "`p` says"),
        ({"request_id": "AB" * 32, "request": None}, "hex"),
        ({"bolt11": "lnbcrt1"}, "amount beside it"),
        ({"amount_msat": 1, "bolt11": "https://pay.example"}, "bolt11"),
        ({"amount_msat": -1}, "out of range"),
        ({"amount_msat": 2**53}, "out of range"),
        ({"others": (("p", "x"),)}, "others"),
        ({"inputs": (JobInput("no id", InputType.JOB),)}, "hex"),
        ({"inputs": (JobInput("no url", InputType.URL),)}, "URL"),
        ({"is_encrypted": True}, "encrypt"),
    ],
)
def test_results_that_would_be_refused_are_not_written(changes, match):
    with pytest.raises(ValueError, match=match):
        nip90.encode_result(make_result(**changes))


def test_references_with_other_markers_stand_beside_the_request():
    others = (("e", "00" * 32, "", "job"), ("e", "11" * 32, "wss://a.b", "contract"))
    result = make_result(others=others)
    draft = nip90.encode_result(result)
    assert ("e", result.request_id, "", "request") in draft.tags
    assert nip90.decode_result(sign_draft(PROVIDER, draft, NOW)) == result
    for name in ("request", ""):
        with pytest.raises(ValueError, match="others"):
            nip90.encode_result(make_result(others=(("e", "00" * 32, "", name),)))


E, P = ("e", "ab" * 32), ("p", "cd" * 32)


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        ((P,), "'e' is missing"),
        ((E,), "'p' is missing"),
        ((E, E, P), "2 tags 'e'"),
        (((*E, "", "request"), E, P), "2 tags 'e'"),
        (((*E, "", "job"), P), "'e' is missing"),
        ((E, P, P), "2 tags 'p'"),
        ((E, P, ("amount", "1"), ("amount", "2")), "2 tags 'amount'"),
        ((E, P, ("amount", "1.5")), "no number"),
        ((E, P, ("amount", "01")), "no number"),
        ((E, P, ("amount", "-1")), "no number"),
        ((E, P, ("amount", "\u0661")), "no number"),  # an Arabic-Indic digit
        ((E, P, ("amount", "9" * 5_000)), "no number"),
        ((E, P, ("encrypted",), ("i", "x", "text")), "in clear"),
        ((E, P, ("i", "x")), "not data"),
        ((E, P, ("i", "x", "prompt")), "not data"),
        ((E, P, ("i", "x", "text", "http://no.relay")), "not ws"),
        ((E, P, ("request", "{")), "not JSON"),
        ((E, P, ("request", "[" * 10_000)), "not JSON"),
        ((E, P, ("expiration", "soon")), "no number"),
    ],
)
def test_results_that_do_not_fit_are_refused(tags, match):
    with pytest.raises(ValueError, match=match):
        nip90.decode_result(tell(6_600, tags))


@pytest.mark.parametrize(
    ("kind", "tags", "match"),
    [
        (8_000, (), "not a job request"),
        (6_000, (), "not a job request"),
        (5_600, (("bid", "0.5"),), "no number"),
        (5_600, (("bid", "1"), ("bid", "2")), "2 tags 'bid'"),
        (5_600, (("p", "npub1"),), "hex"),
        (5_600, (("param", "epochs"),), "at least one value"),
        (5_600, (("param",),), "a name"),
        (5_600, (("relays", "wss://u:p@relay.example"),), "user name"),
        (5_600, (("t", "x" * 129),), "characters"),
        (5_600, (("param", "k", "x" * 20_000),), "characters"),
        (5_600, (("param", "k", *["x"] * 129),), "129"),
        (5_600, (("i", "x", "text"),) * 65, "65"),
        (5_600, (("encrypted",), ("param", "lr", "1")), "in clear"),
    ],
)
def test_requests_that_do_not_fit_are_refused(kind, tags, match):
    with pytest.raises(ValueError, match=match):
        nip90.decode_request(tell(kind, tags))


@pytest.mark.parametrize(
    "hidden",
    ["{}", "[", '["i"]', "[[1]]", "[[]]", '[["bid", "1"]]', '[["p", "x"]]', "[" * 9_000],
)
def test_what_hides_in_an_encrypted_request_is_inputs_and_params_alone(hidden):
    with pytest.raises(ValueError, match="encrypted tags"):
        nip90.decode_request(tell(5_600, (("encrypted",),), encrypt(hidden)), decrypt)


def test_half_a_character_hides_nowhere():
    """JSON can spell what has no form in UTF-8: whoever writes it down or prints it fails."""
    with pytest.raises(ValueError, match="surrogates"):
        nip90.decode_request(tell(5_600, (("encrypted",),), encrypt('[["i", "\\ud800"]]')), decrypt)


def test_more_hidden_text_than_allowed_is_refused_before_it_is_parsed():
    hidden = json.dumps([["i", "x" * 13_000, "text"]] * 4)
    with pytest.raises(ValueError, match="too many"):
        nip90.decode_request(tell(5_600, (("encrypted",),), encrypt(hidden)), decrypt)


@pytest.mark.parametrize(
    "status", ["payment_required", "PaymentRequired", "accepted", "timeout", "Success", "", "pong"]
)
def test_only_the_five_statuses_are_read(status):
    with pytest.raises(ValueError, match="none of"):
        nip90.decode_feedback(tell(7_000, (E, P, ("status", status))))
    with pytest.raises(ValueError, match="none of"):
        nip90.decode_feedback(tell(7_000, (E, P)))


def test_feedback_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="not feedback"):
        nip90.decode_feedback(tell(6_600, (E, P, ("status", "success"))))


def test_encrypting_is_asked_for_in_the_value_and_in_the_call():
    for is_encrypted, cipher in ((True, None), (False, encrypt)):
        request = nip90.JobRequest(5_600, is_encrypted=is_encrypted)
        with pytest.raises(ValueError, match="exactly if"):
            nip90.encode_request(request, cipher)
    with pytest.raises(ValueError, match="inputs there"):
        nip90.encode_request(nip90.JobRequest(5_600, content="x", is_encrypted=True), encrypt)
