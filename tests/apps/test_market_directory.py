"""Who offers training: what strangers say of themselves, read without harm."""

from __future__ import annotations

import json

import pytest

from kumiai.apps.market.directory import TEXT_CHARS_MAX, list_providers
from kumiai.base.events import Event
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market.kinds import HEARTBEAT_LIFE_S, Kind
from kumiai.market.nips.nip01 import sign_text

NOW_S = 1_800_000_000
KEYS = [derive_key(b"directory", str(number)) for number in range(4)]


def announce(key: SigningKey, at_s: int = NOW_S - 100, **changes: object) -> Event:
    about = {"name": "n", "hardware": "h", "price_msat": 5_000, "payment": ["hold"], **changes}
    return sign_text(key, int(Kind.ANNOUNCEMENT), at_s, json.dumps(about), [("d", "x")])


def beat(key: SigningKey, expires_at_s: object, at_s: int = NOW_S - 10) -> Event:
    tags = [("expiration", str(expires_at_s))] if expires_at_s is not None else []
    return sign_text(key, int(Kind.HEARTBEAT), at_s, "", tags)


def test_the_living_come_first_then_the_cheap() -> None:
    events = [
        announce(KEYS[0], price_msat=1_000),
        announce(KEYS[1], price_msat=7_000),
        announce(KEYS[2], price_msat=6_000),
        beat(KEYS[1], NOW_S + 500),
        beat(KEYS[2], NOW_S + 500),
    ]
    listed = list_providers(events, NOW_S)
    assert [one.provider for one in listed] == [KEYS[n].pubkey for n in (2, 1, 0)]
    assert [one.is_alive for one in listed] == [True, True, False]
    one = listed[-1]
    assert (one.name, one.hardware, one.price_msat, one.payment) == ("n", "h", 1_000, ("hold",))


@pytest.mark.parametrize("cheapest", [0, 1, 2])
def test_the_price_decides_whatever_the_key_is(cheapest: int) -> None:
    prices = [2_000, 2_000, 2_000]
    prices[cheapest] = 1_000
    listed = list_providers(
        [announce(KEYS[n], price_msat=price) for n, price in enumerate(prices)], NOW_S
    )
    assert listed[0].provider == KEYS[cheapest].pubkey
    rest = [one.provider for one in listed[1:]]
    assert rest == sorted(rest)


@pytest.mark.parametrize(
    ("expires_at_s", "is_alive"),
    [
        (NOW_S + 1, True),
        (NOW_S + HEARTBEAT_LIFE_S, True),
        (NOW_S, False),
        (NOW_S - 1, False),
        (NOW_S + 365 * 24 * 3_600, False),  # alive for a year by one event
        (999_999_999_999, False),
        ("9" * 5_000, False),
        ("soon", False),
        ("-1", False),
        ("²", False),
        ("١٨٠٠٠٠٠١٠٠", False),
        ("", False),
        (None, False),
    ],
)
def test_a_heartbeat_counts_while_it_lives_and_no_longer(
    expires_at_s: object, is_alive: bool
) -> None:
    (one,) = list_providers([announce(KEYS[0]), beat(KEYS[0], expires_at_s)], NOW_S)
    assert one.is_alive is is_alive


def test_a_heartbeat_with_two_ends_has_none() -> None:
    tags = [("expiration", str(NOW_S + 100)), ("expiration", str(NOW_S + 100))]
    event = sign_text(KEYS[0], int(Kind.HEARTBEAT), NOW_S, "", tags)
    (one,) = list_providers([announce(KEYS[0]), event], NOW_S)
    assert not one.is_alive


def test_anothers_heart_keeps_nobody_alive() -> None:
    (one,) = list_providers([announce(KEYS[0]), beat(KEYS[1], NOW_S + 100)], NOW_S)
    assert (one.provider, one.is_alive) == (KEYS[0].pubkey, False)


def test_the_newest_announcement_counts_in_whatever_order_they_come() -> None:
    old = announce(KEYS[0], NOW_S - 200, name="old")
    new = announce(KEYS[0], NOW_S - 100, name="new")
    for events in ([old, new], [new, old]):
        (one,) = list_providers(events, NOW_S)
        assert one.name == "new"


def test_a_newer_one_that_cannot_be_read_hides_the_older() -> None:
    """It took the place of the older one, as relays see it too."""
    bad = sign_text(KEYS[0], int(Kind.ANNOUNCEMENT), NOW_S, "gone", [("d", "x")])
    assert list_providers([announce(KEYS[0]), bad], NOW_S) == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[]",
        "null",
        '"text"',
        "{}",
        '{"price_msat": 5}',
        '{"payment": []}',
        '{"price_msat": "5", "payment": []}',
        '{"price_msat": 5.0, "payment": []}',
        '{"price_msat": true, "payment": []}',
        '{"price_msat": -1, "payment": []}',
        '{"price_msat": NaN, "payment": []}',
        '{"price_msat": 5, "payment": "hold"}',
        '{"price_msat": 1' + "0" * 4_000 + ', "payment": []}',
        '{"price_msat": 1' + "0" * 5_000 + ', "payment": []}',
        "[" * 50_000,
    ],
)
def test_what_cannot_be_read_is_left_out_and_disturbs_nobody(content: str) -> None:
    bad = sign_text(KEYS[0], int(Kind.ANNOUNCEMENT), NOW_S, content, [("d", "x")])
    listed = list_providers([bad, announce(KEYS[1])], NOW_S)
    assert [one.provider for one in listed] == [KEYS[1].pubkey]


def test_long_words_are_cut_and_strange_ones_are_texts() -> None:
    (one,) = list_providers(
        [announce(KEYS[0], name="n" * 5_000, hardware={"gpu": 1}, payment=["x" * 99, 7] * 9)],
        NOW_S,
    )
    assert len(one.name) == TEXT_CHARS_MAX
    assert one.hardware == "{'gpu': 1}"
    assert one.payment == ("x" * 20, "7") * 4
    (one,) = list_providers([announce(KEYS[0], name=7)], NOW_S)
    assert one.name == "7"


def test_other_kinds_are_nothing() -> None:
    other = sign_text(KEYS[0], int(Kind.OFFER), NOW_S, '{"price_msat":1,"payment":[]}', [])
    wrong = sign_text(KEYS[1], int(Kind.OFFER), NOW_S, "", [("expiration", str(NOW_S + 9))])
    assert list_providers([other], NOW_S) == []
    (one,) = list_providers([announce(KEYS[1]), wrong], NOW_S)
    assert not one.is_alive


@pytest.mark.parametrize("gap_s", [-1, 1])
def test_who_said_goodbye_is_not_there_whatever_another_relay_still_shows(gap_s: int) -> None:
    """One relay has the goodbye, another the heartbeat before it, or after a new start."""
    tags = [("expiration", str(NOW_S + 60)), ("status", "offline")]
    goodbye = sign_text(KEYS[0], int(Kind.HEARTBEAT), NOW_S - 10, "", tags)
    online = beat(KEYS[0], NOW_S + 500, NOW_S - 10 + gap_s)
    for events in ([goodbye, online], [online, goodbye]):
        (one,) = list_providers([announce(KEYS[0]), *events], NOW_S)
        assert one.is_alive is (gap_s > 0)
