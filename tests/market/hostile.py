"""How the small world is attacked: forged events, members that say or do something else, floods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.market.small_world import Member, World, make_market, veil

from kumiai.base.events import Event
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Begin
from kumiai.market.kinds import Kind, Policy
from kumiai.market.letters import Draft, Letter
from kumiai.market.nips.nip01 import sign_text
from kumiai.market.provider import Start
from kumiai.market.terms import Tag

STRANGER = derive_key(b"hostile", "stranger")
ARBITER = "02" + "ab" * 32
Change = Callable[[Draft], Draft | None]


def make_attacked(
    policy: Policy = Policy.HOLD, **changes: Any
) -> tuple[World, Member, list[Member]]:
    """A market of one policy, with the total of money kept in `world.before`."""
    settings = {"rounds": 2, "arbiter": ARBITER, **changes}
    world, customer, providers = make_market((policy,), **settings)
    world.before = world.bank.total  # type: ignore[attr-defined]
    return world, customer, providers


def begin(world: World, customer: Member, providers: Sequence[Member]) -> None:
    for provider in providers:
        provider.take(Start())
    world.run()
    customer.take(Begin())
    world.run()


def play(world: World, customer: Member, providers: Sequence[Member], seconds: int = 900) -> None:
    """From the beginning to the end, however long silence has to be waited for."""
    begin(world, customer, providers)
    world.pass_time(seconds)


def speak(world: World, key: SigningKey, draft: Draft, at_s: int | None = None) -> Event:
    """Say something as anybody: signed by `key`, delivered to whom it is addressed."""
    at_s = world.now_s if at_s is None else at_s
    text = draft.text or veil(draft)
    event = sign_text(key, int(draft.kind), at_s, text, draft.tags)
    world.deliver(Letter(event, draft.hidden), draft.recipient)
    world.run()
    return event


def find_letters(world: World, kind: Kind, author: str = "") -> list[Letter]:
    return [
        letter
        for letter in world.letters
        if letter.event.kind == kind and author in ("", letter.event.pubkey)
    ]


def to_draft(letter: Letter) -> Draft:
    """What would have to be signed to say the same again."""
    event = letter.event
    receiver = next((tag[1] for tag in event.tags if tag[0] == "p"), "")
    text = event.content if letter.hidden is None else ""
    return Draft(Kind(event.kind), event.tags, receiver, letter.hidden, text=text)


def spoil(kind: Kind, change: Change, is_it: Callable[[Draft], bool] = lambda _d: True) -> Any:
    """A member that says something else: each draft of `kind` is changed; None says nothing."""

    def twist(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Publish) and effect.draft.kind is kind and is_it(effect.draft):
            changed = change(effect.draft)
            return replace(effect, draft=changed) if changed is not None else None
        return effect

    return twist


def with_tag(draft: Draft, name: str, *values: str, marker: str = "") -> Draft:
    """Replace the clear tag `name` (with that marker)."""
    tags: list[Tag] = []
    for tag in draft.tags:
        is_it = tag[0] == name and (not marker or tag[-1] == marker)
        tags.append((name, *values, "", marker) if is_it and marker else tag)
        if is_it and not marker:
            tags[-1] = (name, *values)
    return replace(draft, tags=tuple(tags))


def with_param(draft: Draft, name: str, *values: str) -> Draft:
    """Replace or add a hidden parameter."""
    hidden = [tag for tag in draft.hidden or () if tag[:2] != ("param", name)]
    return replace(draft, hidden=(*hidden, ("param", name, *values)))


def with_blob(draft: Draft, role: str, uri: str) -> Draft:
    hidden = [tag for tag in draft.hidden or () if tag[0] != "i" or tag[4] != role]
    return replace(draft, hidden=(*hidden, ("i", uri, "url", "", role)))


def get_param(draft: Draft | Letter, name: str) -> str:
    return next(tag[2] for tag in draft.hidden or () if tag[:2] == ("param", name))


def get_money(world: World, member: Member) -> int:
    return world.bank.balances[member.key.pubkey]


def list_reasons(member: Member) -> list[str]:
    return [one.reject.reason for one in member.rejected]


def assert_fair(world: World, customer: Member, unpaid: Sequence[Member]) -> None:
    """No money was made or lost, the guilty have none, evidence is there with its event."""
    assert world.bank.total == world.before  # type: ignore[attr-defined]
    for member in unpaid:
        assert get_money(world, member) == 0, member.name
    for member in world.members.values():
        for one in member.state.rejected:
            assert one.event is not None
            assert one.reject.evidence["event"] == one.event.id
    state = customer.state
    assert state.spent_msat + state.reserved_msat <= customer.machine.plan.budget_msat
