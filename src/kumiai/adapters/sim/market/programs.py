"""How effects are carried out in a simulated market: waits in milliseconds, then answers.

A request travels, is carried out, and its answer travels back. Either way it can be lost: then it
is asked again, as the real carriers do, and the key or name makes it one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kumiai.adapters.sim.market.bank import Bill, Token
from kumiai.adapters.sim.market.member import SimMember
from kumiai.adapters.sim.market.world import RETRY_MS, MarketWorld
from kumiai.market import effects as fx
from kumiai.market.kinds import Code
from kumiai.market.terms import BlobRef
from kumiai.nodes.market.errors import WalletError

SLOW_MS = 300_000
FETCH_PATIENCE_S = 3_600
Program = Iterator[Any]


def carry_out(world: MarketWorld, member: SimMember, effect: Any) -> Program:
    """Return the program of an effect."""
    return _PROGRAMS[type(effect)](world, member, effect)


def judge_by_content(world: MarketWorld, effect: fx.Judge) -> tuple[fx.JudgedLine, ...]:
    """An update helps if its blob begins with `good`; the second of two equal ones is a copy."""
    seen: dict[str, str] = {}
    lines = []
    for provider, update, _ in effect.candidates:
        data = world.blobs.data.get(update, b"")
        if update in seen:
            lines.append(fx.JudgedLine(provider, 0, 0, 0, "duplicate", seen[update]))
        elif data.startswith(b"garbage"):
            lines.append(fx.JudgedLine(provider, 0, 0, 0, "malformed"))
        else:
            gain = 1_000 if data.startswith(b"good") else -500_000
            lines.append(fx.JudgedLine(provider, gain, gain // 2, 10))
        seen.setdefault(update, provider)
    return tuple(lines)


def _publish(world: MarketWorld, member: SimMember, effect: fx.Publish) -> Program:
    yield 0
    yield fx.Published(effect.key, world.sign(member, effect.draft))


def _open_job(world: MarketWorld, member: SimMember, effect: fx.OpenJob) -> Program:
    yield 1
    hidden = world.open(effect.event, effect.job_key)
    if hidden is None:
        yield fx.Failed(effect.key, Code.MALFORMED, "the key does not open it")
    else:
        yield fx.JobOpened(effect.key, hidden)


def _fetch(world: MarketWorld, member: SimMember, effect: fx.Fetch) -> Program:
    if effect.ref.size_bytes > effect.size_bytes_max:
        yield fx.Failed(effect.key, Code.TOO_BIG, "longer than allowed")
        return
    until_s = effect.deadline_s or world.now_s + FETCH_PATIENCE_S
    while True:
        yield world.chance.delay_ms()
        is_lost = world.chance.happens(world.faults.answer_lost_ppm)
        is_there = effect.ref.sha256 in world.blobs.served
        if is_there and not is_lost and world.now_ms >= world.blobs.down_until_ms:
            break
        if world.now_s >= until_s:
            yield fx.Failed(effect.key, Code.NOT_THERE, "no server has it")
            return
        yield RETRY_MS
    if len(world.blobs.data[effect.ref.sha256]) != effect.ref.size_bytes:
        yield fx.Failed(effect.key, Code.WRONG_HASH, "another length than announced")
    else:
        yield fx.Fetched(effect.key)


def _unseal(world: MarketWorld, member: SimMember, effect: fx.Unseal) -> Program:
    yield 1
    plain = world.blobs.opened.get((effect.sealed, effect.seal_key))
    if plain is None:
        yield fx.Failed(effect.key, Code.WRONG_HASH, "the key does not open it")
    elif len(world.blobs.data[plain]) > effect.size_bytes_max:
        yield fx.Failed(effect.key, Code.TOO_BIG, "longer than allowed")
    else:
        yield fx.Unsealed(effect.key, plain, len(world.blobs.data[plain]))


def _store(world: MarketWorld, member: SimMember, effect: fx.Store) -> Program:
    name = effect.blob
    if effect.seal_key:
        name = world.blobs.seal(name, effect.seal_key)
    while True:
        yield world.chance.delay_ms()
        if world.now_ms >= world.blobs.down_until_ms:
            world.blobs.served.add(name)
            if not world.chance.happens(world.faults.answer_lost_ppm):
                break
        yield RETRY_MS
    size_bytes = len(world.blobs.data[name])
    yield fx.Stored(effect.key, BlobRef(name, size_bytes, ("http://127.0.0.1:1",)))


def _train(world: MarketWorld, member: SimMember, effect: fx.Train) -> Program:
    yield world.chance.between(500, 8_000)
    update = world.blobs.put(f"good {member.name} {effect.seed}".encode())
    size_bytes = len(world.blobs.data[update])
    yield fx.Trained(effect.key, update, size_bytes, 100, 10, 1_000, 5)


def _judge(world: MarketWorld, member: SimMember, effect: fx.Judge) -> Program:
    yield world.chance.between(100, 2_000)
    loss_ppm = max(0, 2_000_000 - 1_000 * effect.round)
    yield fx.Judged(effect.key, loss_ppm, 500_000, judge_by_content(world, effect))


def _combine(world: MarketWorld, member: SimMember, effect: fx.Combine) -> Program:
    yield world.chance.between(100, 1_000)
    model = world.blobs.put(f"model {effect.round} {effect.model} {effect.included}".encode())
    yield fx.Combined(effect.key, model, "")


def _make_invoice(world: MarketWorld, member: SimMember, effect: fx.MakeInvoice) -> Program:
    def ask() -> Bill:
        return world.bank.make(
            member.key.pubkey,
            effect.key,
            effect.amount_msat,
            world.now_s + effect.expiry_s,
            effect.payment_hash,
            effect.preimage,
        )

    bill = yield from _insist(world, effect.key, Code.DECLINED, ask)
    if bill is not None:
        yield fx.InvoiceMade(effect.key, f"lnsim{bill.payment_hash}", bill.payment_hash)


def _watch(world: MarketWorld, member: SimMember, effect: fx.WatchInvoice) -> Program:
    yield from _follow(world, effect.key, lambda: world.bank.bills.get(effect.payment_hash))


def _pay(world: MarketWorld, member: SimMember, effect: fx.Pay) -> Program:
    bill = world.bank.bills.get(effect.bolt11.removeprefix("lnsim"))
    is_agreed = (
        bill is not None
        and bill.amount_msat == effect.amount_msat
        and effect.payee == f"02{bill.payee}"
        and effect.payment_hash in ("", bill.payment_hash)
    )
    if bill is None or not is_agreed:
        yield fx.Failed(effect.key, Code.BAD_INVOICE, "not the agreed invoice")
        return
    agreed = bill
    fails = world.chance.happens(world.faults.payment_fails_ppm)
    if world.chance.happens(world.faults.payment_slow_ppm):
        yield fx.PaymentSeen(effect.key, "pending")
        yield SLOW_MS

    def ask() -> tuple[Bill | None]:
        owner = member.key.pubkey
        is_begun = (owner, effect.key) in world.bank.attempts
        if 0 < effect.begin_by_s < world.now_s and not is_begun:
            raise WalletError("TOO_LATE", "what it pays for could not be used any more")
        paid = world.bank.pay(
            owner, effect.key, agreed, effect.job, effect.round, world.now_s, fails
        )
        return (paid,)

    paid = yield from _insist(world, effect.key, Code.BAD_INVOICE, ask)
    if paid is None:
        return
    if paid[0] is None:
        yield fx.PaymentSeen(effect.key, "failed")
        return
    yield from _follow(world, effect.key, lambda: agreed)


def _settle(world: MarketWorld, member: SimMember, effect: fx.Settle) -> Program:
    def ask() -> Bill:
        return world.bank.settle(member.key.pubkey, effect.preimage)

    bill = yield from _insist(world, effect.key, Code.BAD_INVOICE, ask)
    if bill is not None:
        yield from _follow(world, effect.key, lambda: bill)


def _cancel(world: MarketWorld, member: SimMember, effect: fx.CancelInvoice) -> Program:
    def ask() -> Bill:
        return world.bank.cancel(member.key.pubkey, effect.payment_hash)

    bill = yield from _insist(world, effect.key, Code.BAD_INVOICE, ask)
    if bill is not None:
        yield from _follow(world, effect.key, lambda: bill)


def _lock(world: MarketWorld, member: SimMember, effect: fx.LockToken) -> Program:
    ours = member.key.pubkey
    token = Token(
        ours,
        effect.provider[2:],
        effect.arbiter[2:],
        effect.amount_msat,
        effect.locktime_s,
        effect.about,
    )
    name = yield from _insist(
        world, effect.key, Code.BAD_INVOICE, lambda: world.bank.lock(ours, effect.key, token)
    )
    if name is not None:
        yield fx.TokenMade(effect.key, name, f"02{ours}")


def _check_token(world: MarketWorld, member: SimMember, effect: fx.CheckToken) -> Program:
    yield world.chance.delay_ms()
    token = world.bank.tokens.get(effect.token)
    wanted = (
        effect.customer[2:],
        member.key.pubkey,
        effect.arbiter[2:],
        effect.amount_msat,
        effect.locktime_s,
        effect.about,
        "",
    )
    found = token and (
        token.customer,
        token.provider,
        token.arbiter,
        token.amount_msat,
        token.locktime_s,
        token.about,
        token.spent_by,
    )
    if found == wanted:
        yield fx.Done(effect.key)
    else:
        yield fx.Failed(effect.key, Code.BAD_INVOICE, "not the promised ecash")


def _sign_token(world: MarketWorld, member: SimMember, effect: fx.SignToken) -> Program:
    yield 1
    token = world.bank.tokens.get(effect.token)
    if token is None or token.about != effect.about:
        yield fx.Failed(effect.key, Code.BAD_INVOICE, "this token pays for something else")
    else:
        yield fx.TokenSigned(effect.key, (f"{member.key.pubkey}/{effect.token}",))


def _redeem(world: MarketWorld, member: SimMember, effect: fx.RedeemToken) -> Program:
    signers = [s.split("/")[0] for s in effect.signatures if s.endswith(f"/{effect.token}")]

    def ask() -> int:
        return world.bank.redeem(member.key.pubkey, effect.token, signers, world.now_s)

    received = yield from _insist(world, effect.key, Code.BAD_INVOICE, ask)
    if received is not None:
        yield fx.Redeemed(effect.key, received)


def _insist(world: MarketWorld, key: str, code: Code, ask: Callable[[], Any]) -> Any:
    """Ask until there is an answer; a permanent error is `Failed`, and None is returned."""
    while True:
        yield world.chance.delay_ms()
        is_lost = world.chance.happens(world.faults.answer_lost_ppm)
        try:
            answer = None if is_lost and world.chance.happens(500_000) else ask()
        except WalletError as error:
            if not error.is_retriable and not is_lost:
                code = Code.NOT_PAID if error.code == "TOO_LATE" else code
                yield fx.Failed(key, code, str(error))
                return None
            is_lost = True
        if not is_lost:
            yield world.chance.delay_ms()
            return answer
        yield RETRY_MS


def _follow(world: MarketWorld, key: str, look: Callable[[], Bill | None]) -> Program:
    """Tell every change of an invoice until it cannot change any more."""
    last = None
    while True:
        bill = look()
        if bill is not None and bill.state != last:
            last = bill.state
            shown = bill.preimage if last == "settled" else ""
            seen = fx.PaymentSeen(key, last, shown, bill.fee_msat)
            yield seen
            if fx.is_final(seen):
                return
        yield RETRY_MS


_PROGRAMS: dict[type, Callable[[MarketWorld, SimMember, Any], Program]] = {
    fx.Publish: _publish,
    fx.OpenJob: _open_job,
    fx.Fetch: _fetch,
    fx.Unseal: _unseal,
    fx.Store: _store,
    fx.Train: _train,
    fx.Judge: _judge,
    fx.Combine: _combine,
    fx.MakeInvoice: _make_invoice,
    fx.WatchInvoice: _watch,
    fx.Pay: _pay,
    fx.Settle: _settle,
    fx.CancelInvoice: _cancel,
    fx.LockToken: _lock,
    fx.CheckToken: _check_token,
    fx.SignToken: _sign_token,
    fx.RedeemToken: _redeem,
}
