"""What a person reads of a job and of a provider in a terminal, in both languages."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType
from tests.market.small_world import make_market

from kumiai.apps.cli.marketing import faults, screens, watching
from kumiai.apps.market.customer import is_settled
from kumiai.apps.market.wording import OUTCOMES
from kumiai.apps.report.texts import LANGUAGES, Language, load_texts
from kumiai.market.customer import Begin, Cancel, Phase
from kumiai.market.customer.state import Stage, Standing
from kumiai.market.effects import Store
from kumiai.market.kinds import Code
from kumiai.market.provider import Start
from kumiai.nodes.market.errors import WalletError


def read(shown: RenderableType, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(shown)
    return out.getvalue()


def play(is_over: bool = True) -> tuple[object, ...]:
    """A customer and its providers after a job, or where it was just posted."""
    world, customer, providers = make_market()
    for provider in providers:
        provider.take(Start())
    world.run()
    customer.take(Begin())
    if is_over:
        world.run()
        world.pass_time(60)
    return customer, providers


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_or_wider_than_the_terminal(language: Language, width: int) -> None:
    customer, providers = play()
    texts = load_texts(language)
    names = dict.fromkeys(customer.state.members, "むらさきの提供者 (0123abcd)")
    shown = [screens.render_job(customer.machine.plan, customer.state, texts, names)]
    shown += [screens.render_provider(p.machine.policy, p.state, texts) for p in providers]
    for one in shown:
        lines = read(one, width).splitlines()
        assert all(cell_len(line) <= width for line in lines)
        assert not any("…" in line for line in lines)


def test_long_japanese_is_folded_not_cut() -> None:
    texts = load_texts("ja")
    table = screens.make_table(texts, ("job", "why"))
    table.add_row("0123abcd", "モデルが良くなった" * 9)
    assert read(table, 60).count("良") == 9


@pytest.mark.parametrize("language", LANGUAGES)
def test_amounts_have_one_unit_in_both_languages(language: Language) -> None:
    customer, _ = play()
    said = read(screens.render_job(customer.machine.plan, customer.state, load_texts(language)))
    assert "3 sat 3 msat" in said and "サトシ" not in said


def test_a_provider_sees_the_contracts_that_it_may_rate() -> None:
    _, providers = play()
    one = providers[0]
    said = read(screens.render_provider(one.machine.policy, one.state, load_texts("en")))
    for key in one.state.contracts:
        assert key[: screens.KEY_DIGITS] in said


def test_who_is_known_is_named_and_the_key_is_there() -> None:
    customer, providers = play()
    names = {providers[0].key.pubkey: "Aoi (0123abcd)"}
    said = read(screens.render_job(customer.machine.plan, customer.state, load_texts("en"), names))
    assert "Aoi (0123abcd)" in said and providers[1].key.pubkey[: screens.KEY_DIGITS] in said


@pytest.mark.parametrize("ending", [*OUTCOMES, "round 2 gave nothing in 3 attempts"])
def test_every_ending_is_said_in_japanese(ending: str) -> None:
    assert not re.search("[a-z]", screens.get_outcome(ending, load_texts("ja")))


DECLINES = (
    "its times can hold a place or pay here for 86404 s, more than our 86400",
    "we have left the market since we offered",
    "a result for it could have 12001 bytes, 12000 are allowed",
    "a dispute for it could have 12001 bytes, 12000 are allowed",
    "the contract is too long for an acceptance to hold it",
)


@pytest.mark.parametrize("why", DECLINES)
def test_why_a_provider_declined_is_said_in_japanese(why: str) -> None:
    """As its machine says it: tests/market/test_market_{waiting,leaving,lengths}.py."""
    assert screens.get_reason(why, load_texts("en")) == why
    said = screens.get_reason(why, load_texts("ja"))
    assert not re.search("[a-z]", said)
    assert re.findall(r"\d+", said) == re.findall(r"\d+", why)


def test_one_of_a_thing_is_not_said_as_many() -> None:
    texts = load_texts("en")
    offers = texts.text("market.live.offers", n=1)
    assert texts.text("market.live.chosen", offers=offers, n=1) == (
        "1 offer came; a contract goes to 1 provider"
    )
    _, providers = play()
    one = providers[0]
    work = next(iter(one.state.works.values()))
    state = replace(one.state, works={work.key: replace(work, stage="training")})
    said = read(screens.render_provider(one.machine.policy, state, texts))
    assert "1 round under way" in said


@pytest.mark.parametrize("what", [*faults.KINDS, f"storing {'a' * 12}"])
def test_troubles_are_named_in_the_readers_language(what: str) -> None:
    out = io.StringIO()
    screen = watching.NodeScreen(Console(file=out, width=80), load_texts("ja"))
    screen.on_trouble(what, OSError("…"))
    assert not re.search("[a-z]", out.getvalue())


def test_silence_counts_as_not_accepted() -> None:
    customer, providers = play()
    state, key = customer.state, providers[0].key.pubkey
    name, work = next((n, w) for n, w in state.works.items() if w.provider == key)
    late = replace(work, stage=Stage.CLOSED, code=Code.NO_REPLY)
    state = replace(state, works={**state.works, name: late})
    said = read(screens.render_job(customer.machine.plan, state, load_texts("en")))
    row = next(line for line in said.splitlines() if line.startswith(key[:8]))
    assert row.split()[3] == "1"


def test_a_job_cancelled_before_it_was_posted_has_no_money_under_way() -> None:
    _, customer, _ = make_market()
    customer.twist = lambda _member, effect: None if isinstance(effect, Store) else effect
    customer.take(Begin())
    customer.world.run()
    customer.take(Cancel())
    customer.world.run()
    customer.world.pass_time(10)
    assert customer.state.phase is Phase.CLOSED and customer.state.pending
    assert is_settled(customer.state)


def test_who_takes_a_place_later_is_not_counted_with_the_first() -> None:
    customer, _ = play()
    out = io.StringIO()
    plan, state = customer.machine.plan, customer.state
    screen = watching.JobScreen(Console(file=out, width=80), plan, load_texts("en"))
    members = dict(state.members)
    first = next(iter(members))
    members[first] = replace(members[first], standing=Standing.CHOSEN)
    screen.on_step(replace(state, phase=Phase.CONTRACTS, members=members), ())
    assert "a contract goes to 1 more provider" in out.getvalue()


@pytest.mark.parametrize(("lang", "said"), [("en", "--budget-sat"), ("ja", "リンクの上限")])
def test_a_used_up_budget_of_the_wallets_link_is_told_once_and_plainly(
    lang: str, said: str
) -> None:
    out = io.StringIO()
    screen = watching.NodeScreen(
        Console(file=out, width=400), load_texts(lang), wallet="nwc:wallets/me/link.txt"
    )
    for key in ("paying pay/1", "paying pay/2"):
        screen.on_trouble(key, WalletError("QUOTA_EXCEEDED", "the budget is used up"))
    [line] = out.getvalue().splitlines()
    assert said in line and "nwc:wallets/me/link.txt" in line
    assert "QUOTA_EXCEEDED" not in line and "tried again" not in line


def test_a_server_that_was_not_started_is_told_once_and_how() -> None:
    out = io.StringIO()
    screen = watching.NodeScreen(Console(file=out, width=100), load_texts("en"))
    refused = "Cannot connect to host 127.0.0.1:24242 ssl:default [Connect call failed ('', 1)]"
    for name in ("ab" * 32, "cd" * 32):
        fault = f"no server took blob {name}: http://127.0.0.1:24242: {refused}"
        screen.on_trouble(f"storing {name[:12]}", OSError(fault))
    url = "ws://127.0.0.1:7447"
    screen.on_relay(url, f"{url}: [Errno 111] Connect call failed ('127.0.0.1', 7447)")
    took = "no server took blob abababab: http://127.0.0.1:24242: cannot be reached"
    assert out.getvalue().splitlines() == [
        f"storing: {took} (tried again)",
        "Nothing listens there on this machine; start it with: kumiai blobs",
        f"relay {url} does not answer: cannot be reached (tried again and again)",
        "Nothing listens there on this machine; start it with: kumiai relay",
    ]
