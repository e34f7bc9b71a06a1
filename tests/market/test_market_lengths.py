"""What a customer makes too long for our answers is not worked on: seen before, to the byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.market.hostile import STRANGER, begin, find_letters, make_attacked, play, to_draft
from tests.market.small_world import Member, World

from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.drafts import draft_feedback, draft_round, draft_verdict
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.kinds import EVENT_BYTES_MAX, Code, Kind, Policy, Ruling, Status
from kumiai.market.letters import ContractSent, Draft, Letter, RoundAsked
from kumiai.market.nips.nip01 import encode_event, sign_text
from kumiai.market.params import INTEGER_MAX
from kumiai.market.provider import Provider
from kumiai.market.provider import answers as a
from kumiai.market.provider.state import Stage, Standing
from kumiai.market.provider.turn import Turn
from kumiai.market.reading import read_message
from kumiai.market.sizes import compute_event_bytes
from kumiai.market.terms import BLOB_BYTES_MAX, PPM_LIMIT, BlobRef
from kumiai.nodes.market.letterbox import sign_draft

JURY = tuple(derive_key(b"lengths", str(number)) for number in range(3))
LONGEST = 20_000
NOW_S = 1_800_000_000  # ten digits, as today; the small world has seven


def draw(size: int) -> bytes:
    return hashlib.shake_256(b"lengths").digest(size)


def find_last(holds: Callable[[int], bool]) -> int:
    """The greatest number below LONGEST for which it holds, as it does for all below."""
    low, high = 0, LONGEST
    assert holds(low) and not holds(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def start(policy: Policy, *, has_jury: bool = False) -> tuple[World, Member, Member, Letter]:
    """A provider whose contract is in force, and the request that it waits for."""
    jury = tuple(key.pubkey for key in JURY) if has_jury else ()
    world, customer, (provider,) = make_attacked(policy, providers=1, shards=1, jury=jury)
    customer.twist = lambda _m, e: None if e.key.startswith("publish/round/") else e
    policy_of = replace(provider.machine.policy, disputes=has_jury)
    provider.machine = Provider(policy_of)
    begin(world, customer, [provider])
    world.pass_time(15)
    draft = next(
        e.draft for k, e in customer.state.pending.items() if k.startswith("publish/round/")
    )
    letter = Letter(
        sign_text(customer.key, int(draft.kind), world.now_s, "", draft.tags), draft.hidden
    )
    return world, customer, provider, letter


def lengthen(customer: Member, letter: Letter, count: int) -> Letter:
    """The same request with a content of so many characters."""
    event = letter.event
    text = "x" * count
    signed = sign_text(customer.key, event.kind, event.created_at, text, event.tags)
    return Letter(signed, letter.hidden)


def read_request(letter: Letter) -> RoundAsked:
    message = read_message(letter, letter.event.created_at)
    assert isinstance(message, RoundAsked), message
    return message


def find(turn: Turn, letter: Letter) -> str:
    message = read_message(letter, letter.event.created_at)
    return a.find_overlong(turn, message) if isinstance(message, RoundAsked) else "unreadable"


def make_turn(world: World, provider: Member) -> Turn:
    return Turn(provider.machine.policy, provider.state, world.now_s)


def list_drafts(policy: Policy) -> list[tuple[Member, Draft]]:
    """Everything that is said in a market with a jury that is asked."""
    world, customer, providers = make_attacked(policy, jury=tuple(k.pubkey for k in JURY))
    for key in JURY:
        world.add(key.pubkey, Judging(JudgePolicy(key.pubkey, key.secret.hex())), key)
    said: list[tuple[Member, Draft]] = []

    def listen(member: Member, effect: fx.Effect) -> fx.Effect:
        if isinstance(effect, fx.Publish):
            said.append((member, effect.draft))
        return effect

    for member in world.members.values():
        member.twist = listen
    for provider in providers:
        provider.machine = Provider(replace(provider.machine.policy, disputes=True))
    world.judging = lambda e: fx.Judged(
        e.key, 1, 1, tuple(fx.JudgedLine(name, -5, 0, 1) for name, _, _ in e.candidates)
    )
    play(world, customer, providers, 200)
    return said


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.ESCROW])
def test_how_long_an_event_will_be_is_known_before_it_is_signed(policy: Policy) -> None:
    said = list_drafts(policy)
    assert {Kind.RESULT, Kind.VERDICT, Kind.DISPUTE, Kind.RULING} <= {d.kind for _, d in said}
    strange = draft_feedback("ab" * 32, "ab" * 32, JURY[0].pubkey, Status.ERROR, 'ジョブ "\\\n')
    for member, draft in [*said, (said[0][0], strange)]:
        event = sign_draft(member.key, draft, NOW_S, draw)
        assert compute_event_bytes(draft) == len(encode_event(event))


def finish(turn: Turn, message: RoundAsked) -> Draft:
    """The longest result that this provider may have to give."""
    work = a.Work(
        message, Stage.STORING, update="f" * 64, amount_msat=message.terms.price_msat,
        sealed=BlobRef("f" * 64, BLOB_BYTES_MAX, ("x" * a.SERVERS_CHARS,)), samples=2**40,
        iterations=2**40, flop=INTEGER_MAX, loss_ppm=-PPM_LIMIT,
        bolt11="" if message.terms.token else "x" * a.BOLT11_CHARS,
    )  # fmt: skip
    return a.make_result(turn, work)


@pytest.mark.parametrize("policy", list(Policy))
def test_a_request_whose_result_would_be_too_long_is_told_so_and_not_worked_on(
    policy: Policy,
) -> None:
    """It was trained for; then its result could not be signed."""
    world, customer, provider, letter = start(policy)
    turn = make_turn(world, provider)
    last = find_last(lambda count: not find(turn, lengthen(customer, letter, count)))
    # 8,000 is what the page asks requests to stay below
    assert 8_000 < len(encode_event(lengthen(customer, letter, last).event)) < EVENT_BYTES_MAX
    longest = finish(turn, read_request(lengthen(customer, letter, last)))
    signed = sign_draft(provider.key, longest, NOW_S, draw)
    assert len(encode_event(signed)) == EVENT_BYTES_MAX
    too_long = finish(turn, read_request(lengthen(customer, letter, last + 1)))
    with pytest.raises(ValueError, match=f"12001 of {EVENT_BYTES_MAX} bytes"):
        sign_draft(provider.key, too_long, NOW_S, draw)
    fresh = provider.state
    for count, is_taken in ((last + 1, False), (last, True)):
        provider.state = fresh
        one = lengthen(customer, letter, count)
        provider.take(fx.Heard(one))
        work = provider.state.works[one.event.id]
        assert (work.stage is Stage.FAILED) is not is_taken
        if not is_taken:
            assert work.code == "a result for it could have 12001 bytes, 12000 are allowed"
            world.run()
            said = find_letters(world, Kind.FEEDBACK, provider.key.pubkey)[-1].event
            assert ("status", str(Status.ERROR), work.code) in said.tags
            assert not [key for key in provider.state.pending if one.event.id in key]


def ask(world: World, customer: Member, provider: Member, letter: Letter, token: str) -> Letter:
    """A request that brings this ecash; its event is as long as it is under way."""
    message = read_request(letter)
    terms = replace(message.terms, token=token)
    where = (message.job, message.contract, provider.key.pubkey)
    draft = draft_round(*where, terms, terms.deadline_s)
    size_bytes = compute_event_bytes(draft) - compute_event_bytes(replace(draft, hidden=None))
    text = "x" * size_bytes
    return Letter(
        sign_text(customer.key, int(draft.kind), world.now_s, text, draft.tags), draft.hidden
    )


def test_ecash_that_has_room_in_a_result_has_room_in_a_dispute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the work was lost: rejected, and nobody could be asked."""
    world, customer, provider, letter = start(Policy.ESCROW, has_jury=True)
    turn = make_turn(world, provider)

    def bring(count: int) -> Letter:
        return ask(world, customer, provider, letter, "t" * max(1, count))

    last = find_last(lambda count: not find(turn, bring(count)))
    assert last > 5_000  # what six coins need
    message = read_request(bring(last))
    work = a.Work(
        message, Stage.REJECTED, sealed=BlobRef("f" * 64, BLOB_BYTES_MAX, ("x" * a.SERVERS_CHARS,))
    )
    draft = a.make_dispute(turn, work, "f" * 64, "x" * a.VERDICT_CHARS, JURY[0].pubkey)
    assert len(encode_event(sign_draft(provider.key, draft, NOW_S, draw))) < EVENT_BYTES_MAX
    monkeypatch.setattr(a, "VERDICT_CHARS", a.VERDICT_CHARS + 1_000)
    assert find(turn, bring(last)).startswith("a dispute for it could have ")


def reject(world: World, customer: Member, provider: Member, count: int) -> Event:
    """A rejecting verdict whose content has so many characters."""
    (work,) = provider.state.works.values()
    draft = draft_verdict(
        work.request.job, work.request.contract, work.result, 1, provider.key.pubkey,
        Ruling.REJECTED, Code.NO_GAIN, -5, work.update, model=work.request.terms.model.sha256,
    )  # fmt: skip
    event = sign_text(customer.key, int(draft.kind), world.now_s, "x" * count, draft.tags)
    provider.take(fx.Heard(Letter(event, draft.hidden)))
    return event


def deliver(*, has_jury: bool) -> tuple[World, Member, Member]:
    world, customer, provider, letter = start(Policy.INVOICE, has_jury=has_jury)
    provider.take(fx.Heard(letter))
    world.run()
    assert [work.stage for work in provider.state.works.values()] == [Stage.DELIVERED]
    return world, customer, provider


def test_a_verdict_that_no_dispute_has_room_for_decides_nothing() -> None:
    """A customer wrote its rejections so long that no jury could ever hear of them."""
    world, customer, provider = deliver(has_jury=True)
    turn, delivered = make_turn(world, provider), provider.state
    (work,) = delivered.works.values()

    def fits(count: int) -> bool:
        provider.state = delivered
        return a.has_room_to_dispute(turn, work, reject(world, customer, provider, count))

    last = find_last(fits)
    provider.state = delivered
    reject(world, customer, provider, last + 1)
    assert provider.state.works == delivered.works
    assert [one.reject.reason for one in provider.state.rejected] == ["too-long"]
    world.todo.clear()
    reject(world, customer, provider, last)
    (work,) = provider.state.works.values()
    assert work.stage is Stage.DISPUTED
    for _, effect in world.todo:
        assert isinstance(effect, fx.Publish) and effect.draft.kind is Kind.DISPUTE
        sign_draft(provider.key, effect.draft, NOW_S, draw)
    assert len(world.todo) == len(JURY)


def test_where_nobody_can_be_asked_a_long_verdict_is_one() -> None:
    world, customer, provider = deliver(has_jury=False)
    reject(world, customer, provider, 10_000)
    assert [work.stage for work in provider.state.works.values()] == [Stage.REJECTED]


def test_a_job_that_no_offer_has_room_for_is_passed_over() -> None:
    world, customer, provider, _ = start(Policy.INVOICE)
    job = to_draft(find_letters(world, Kind.JOB)[0])

    def post(count: int) -> Event:
        text = "x" * count
        event = sign_text(STRANGER, int(Kind.JOB), world.now_s, text, job.tags)
        provider.take(fx.Heard(Letter(event)))
        return event

    fresh = provider.state

    def is_offered(count: int) -> bool:
        provider.state = fresh
        return post(count).id in provider.state.jobs

    last = find_last(is_offered)
    provider.state = fresh
    world.todo.clear()
    post(last)
    ((_, offer),) = world.todo
    assert isinstance(offer, fx.Publish)
    signed = sign_draft(provider.key, offer.draft, NOW_S, draw)
    assert len(encode_event(signed)) == EVENT_BYTES_MAX
    assert customer is not None


def test_a_contract_that_no_acceptance_has_room_for_is_declined_unfetched() -> None:
    world, customer, (provider,) = make_attacked(Policy.INVOICE, providers=1, shards=1)
    customer.twist = lambda _m, e: None if e.key.startswith("publish/contract/") else e
    begin(world, customer, [provider])
    world.pass_time(15)
    pending = customer.state.pending
    draft = next(e.draft for k, e in pending.items() if k.startswith("publish/contract/"))
    before = provider.state

    def send(count: int) -> ContractSent:
        provider.state = before
        text = "x" * count
        event = sign_text(customer.key, int(draft.kind), world.now_s, text, draft.tags)
        provider.take(fx.Heard(Letter(event, draft.hidden)))
        return provider.state.contracts.get(event.id)

    last = find_last(lambda n: (one := send(n)) is not None and one.standing is not Standing.ENDED)
    assert 9_000 < last < EVENT_BYTES_MAX
    assert send(last + 1).reason == "the contract is too long for an acceptance to hold it"
    assert not [key for key in provider.state.pending if key.startswith("fetch/")]
