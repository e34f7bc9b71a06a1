"""A market in one thread: machines, one relay that delivers at once, a bank, blobs in a dictionary.

Effects are carried out in the order they were asked for. Nothing is encrypted: hidden tags travel
beside the event, to the recipient alone.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

from kumiai.base.canonical import sha256_hex
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Customer, CustomerPlan
from kumiai.market.kinds import Policy
from kumiai.market.letters import Draft, Letter
from kumiai.market.nips.nip01 import has_any, sign_text
from kumiai.market.provider import Provider, ProviderPolicy
from kumiai.market.terms import BlobRef, JobTerms


class Bank:
    """Balances, and invoices by payment hash: [payee, amount, state, payer, preimage]."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.invoices: dict[str, list[Any]] = {}
        self.fee_msat = 0  # of each payment from now on
        self.fees: dict[str, int] = {}  # by payment hash

    @property
    def total(self) -> int:
        held = sum(i[1] for i in self.invoices.values() if i[2] == "accepted")
        return sum(self.balances.values()) + held + sum(self.fees.values())


class Member:
    def __init__(self, world: World, name: str, key: SigningKey, machine: Any) -> None:
        self.world, self.name, self.key, self.machine = world, name, key, machine
        self.state = machine.begin()
        self.rejected: list[fx.Rejected] = []
        self.twist: Callable[[Member, fx.Effect], fx.Effect | None] = lambda _m, effect: effect
        self.heard: set[str] = set()

    def take(self, item: Any) -> None:
        outcome = self.machine.step(self.state, self.world.now_s, item)
        self.state = outcome.state
        self.rejected += outcome.rejected
        for effect in outcome.effects:
            self.world.todo.append((self, effect))


class World:
    def __init__(self) -> None:
        self.now_s = 1_000_000
        self.members: dict[str, Member] = {}
        self.todo: deque[tuple[Member, fx.Effect]] = deque()
        self.blobs: dict[str, bytes] = {}
        self.sealed: dict[tuple[str, str], str] = {}  # (sealed, key) -> plain
        self.bank = Bank()
        self.letters: list[Letter] = []
        self.judging: Callable[[fx.Judge], fx.Judged] = judge_by_name

    def put(self, data: bytes) -> str:
        name = sha256_hex(data)
        self.blobs[name] = data
        return name

    def add(self, name: str, machine: Any, key: SigningKey, msat: int = 0) -> Member:
        member = Member(self, name, key, machine)
        self.members[name] = member
        self.bank.balances[key.pubkey] = msat
        return member

    def run(self, steps: int = 100_000) -> None:
        """Carry out effects until none is left."""
        for _ in range(steps):
            if not self.todo:
                return
            member, effect = self.todo.popleft()
            twisted = member.twist(member, effect)
            if twisted is not None:
                self.carry_out(member, twisted)
        raise AssertionError("the world does not come to rest")

    def pass_time(self, seconds: int, tick_s: int = 5) -> None:
        for _ in range(0, seconds, tick_s):
            self.now_s += tick_s
            for member in self.members.values():
                member.take(fx.Ticked())
            self.run()

    def deliver(self, letter: Letter, recipient: str) -> None:
        self.letters.append(letter)
        for member in list(self.members.values()):
            if has_any(member.machine.list_filters(member.state), letter.event):
                mine = recipient in ("", member.key.pubkey)
                member.take(fx.Heard(letter if mine else Letter(letter.event)))

    def carry_out(self, member: Member, effect: fx.Effect) -> None:
        getattr(self, "do_" + type(effect).__name__.lower())(member, effect)

    def do_publish(self, member: Member, effect: fx.Publish) -> None:
        draft = effect.draft
        text = draft.text or veil(draft)
        event = sign_text(member.key, int(draft.kind), self.now_s, text, draft.tags)
        letter = Letter(event, draft.hidden)
        if draft.job_key:
            self.sealed[event.id, draft.job_key] = "job"
            self.hidden_jobs = {**getattr(self, "hidden_jobs", {}), event.id: draft.hidden}
            letter = Letter(event)
        member.take(fx.Published(effect.key, event))
        self.deliver(letter, draft.recipient)

    def do_openjob(self, member: Member, effect: fx.OpenJob) -> None:
        if (effect.event.id, effect.job_key) in self.sealed:
            member.take(fx.JobOpened(effect.key, self.hidden_jobs[effect.event.id]))
        else:
            member.take(fx.Failed(effect.key, "wrong-hash", "the key does not open the job"))

    def do_store(self, member: Member, effect: fx.Store) -> None:
        data, name = self.blobs[effect.blob], effect.blob
        if effect.seal_key:
            name = self.put(hashlib.sha256(effect.seal_key.encode() + data).digest() + data[::-1])
            self.sealed[name, effect.seal_key] = effect.blob
        member.take(fx.Stored(effect.key, BlobRef(name, len(self.blobs[name]), ("http://x",))))

    def do_fetch(self, member: Member, effect: fx.Fetch) -> None:
        data = self.blobs.get(effect.ref.sha256)
        if data is None:
            member.take(fx.Failed(effect.key, "not-there", "no server has it"))
        elif len(data) > effect.size_bytes_max or len(data) != effect.ref.size_bytes:
            member.take(fx.Failed(effect.key, "too-big", "longer than allowed"))
        else:
            member.take(fx.Fetched(effect.key))

    def do_unseal(self, member: Member, effect: fx.Unseal) -> None:
        plain = self.sealed.get((effect.sealed, effect.seal_key))
        if plain is None:
            member.take(fx.Failed(effect.key, "wrong-hash", "the key does not open it"))
        else:
            member.take(fx.Unsealed(effect.key, plain, len(self.blobs[plain])))

    def do_train(self, member: Member, effect: fx.Train) -> None:
        update = self.put(f"good {member.name} {effect.seed}".encode())
        size = len(self.blobs[update])
        member.take(fx.Trained(effect.key, update, size, 100, 10, 1_000, 5))

    def do_judge(self, member: Member, effect: fx.Judge) -> None:
        member.take(self.judging(effect))

    def do_combine(self, member: Member, effect: fx.Combine) -> None:
        model = self.put(f"model {effect.round} {effect.included}".encode())
        member.take(fx.Combined(effect.key, model, ""))

    def do_makeinvoice(self, member: Member, effect: fx.MakeInvoice) -> None:
        preimage = effect.preimage or sha256_hex(effect.key.encode())
        known = sha256_hex(bytes.fromhex(preimage))
        name = effect.payment_hash or known
        if effect.payment_hash:
            preimage = ""
        self.bank.invoices.setdefault(
            name, [member.key.pubkey, effect.amount_msat, "pending", "", preimage]
        )
        member.take(fx.InvoiceMade(effect.key, f"lnbcrt{name}", name))

    def do_watchinvoice(self, member: Member, effect: fx.WatchInvoice) -> None:
        self.tell(effect.payment_hash)

    def do_pay(self, member: Member, effect: fx.Pay) -> None:
        name = effect.bolt11.removeprefix("lnbcrt")
        invoice = self.bank.invoices.get(name)
        wrong = invoice is None or invoice[1] != effect.amount_msat
        if wrong or "02" + invoice[0] != effect.payee or effect.payment_hash not in ("", name):
            member.take(fx.Failed(effect.key, "bad-invoice", "not the agreed one"))
            return
        if invoice[2] == "pending":
            if 0 < effect.begin_by_s < self.now_s:
                member.take(fx.Failed(effect.key, "not-paid", "it would come too late"))
                return
            self.bank.balances[member.key.pubkey] -= invoice[1] + self.bank.fee_msat
            self.bank.fees[name] = self.bank.fee_msat
            invoice[3] = member.key.pubkey
            invoice[2] = "accepted"
            if invoice[4]:
                self.do_settle_now(name)
        self.tell(name)

    def do_settle(self, member: Member, effect: fx.Settle) -> None:
        name = sha256_hex(bytes.fromhex(effect.preimage))
        self.bank.invoices[name][4] = effect.preimage
        self.do_settle_now(name)
        self.tell(name)

    def do_settle_now(self, name: str) -> None:
        invoice = self.bank.invoices[name]
        if invoice[2] == "accepted":
            invoice[2] = "settled"
            self.bank.balances[invoice[0]] += invoice[1]

    def do_cancelinvoice(self, member: Member, effect: fx.CancelInvoice) -> None:
        name = effect.payment_hash
        invoice = self.bank.invoices[name]
        if invoice[2] == "accepted":
            self.bank.balances[invoice[3]] += invoice[1] + self.bank.fees.pop(name, 0)
        if invoice[2] in ("accepted", "pending"):
            invoice[2] = "canceled"
        self.tell(name)

    def do_locktoken(self, member: Member, effect: fx.LockToken) -> None:
        self.bank.balances[member.key.pubkey] -= effect.amount_msat
        token = f"token-{sha256_hex(effect.key.encode())}"
        payee = effect.provider[2:]
        self.bank.invoices[token] = [
            payee,
            effect.amount_msat,
            "accepted",
            member.key.pubkey,
            effect.locktime_s,
            effect.about,
        ]
        member.take(fx.TokenMade(effect.key, token, "02" + member.key.pubkey))

    def do_checktoken(self, member: Member, effect: fx.CheckToken) -> None:
        token = self.bank.invoices.get(effect.token)
        wanted = [member.key.pubkey, effect.amount_msat, "accepted"]
        if token is None or token[:3] != wanted or token[5] != effect.about:
            member.take(fx.Failed(effect.key, "bad-invoice", "not the promised ecash"))
        else:
            member.take(fx.Done(effect.key))

    def do_signtoken(self, member: Member, effect: fx.SignToken) -> None:
        if self.bank.invoices[effect.token][5] != effect.about:
            member.take(fx.Failed(effect.key, "bad-invoice", "it pays for something else"))
        else:
            member.take(fx.TokenSigned(effect.key, ("signature",)))

    def do_redeemtoken(self, member: Member, effect: fx.RedeemToken) -> None:
        token = self.bank.invoices[effect.token]
        is_refund = not effect.signatures
        if token[2] != "accepted" or (is_refund and self.now_s < token[4]):
            member.take(fx.Failed(effect.key, "spent", "cannot be spent"))
            return
        token[2] = "settled"
        self.bank.balances[token[3] if is_refund else token[0]] += token[1]
        member.take(fx.Redeemed(effect.key, token[1]))

    def tell(self, name: str) -> None:
        """Everybody who watches a payment sees its state."""
        _, _, state, _, preimage = self.bank.invoices[name]
        for member in self.members.values():
            for effect in list(member.machine.get_pending(member.state).values()):
                mine = getattr(effect, "payment_hash", "") == name
                mine |= getattr(effect, "bolt11", "") == f"lnbcrt{name}"
                if isinstance(effect, fx.Settle):
                    mine = sha256_hex(bytes.fromhex(effect.preimage)) == name
                watches = fx.Pay | fx.WatchInvoice | fx.Settle | fx.CancelInvoice
                if mine and isinstance(effect, watches):
                    shown = preimage if state == "settled" else ""
                    fee_msat = self.bank.fees.get(name, 0) if isinstance(effect, fx.Pay) else 0
                    member.take(fx.PaymentSeen(effect.key, state, shown or "", fee_msat))


def veil(draft: Draft) -> str:
    """Stands for the ciphertext: other hidden tags make another event."""
    return sha256_hex(repr(draft.hidden).encode()) if draft.hidden is not None else ""


def judge_by_name(effect: fx.Judge) -> fx.Judged:
    """Everybody's update helps equally."""
    lines = tuple(fx.JudgedLine(name, 1_000, 500, 10) for name, _, _ in effect.candidates)
    return fx.Judged(effect.key, 2_000_000 - 1_000 * effect.round, 500_000, lines)


def make_terms(payment: tuple[Policy, ...] = (Policy.HOLD,), **changes: Any) -> JobTerms:
    given: dict[str, Any] = {
        "task": BlobRef("0" * 64, 1),
        "recipe": "mlp",
        "algorithm": "fedavg",
        "rounds": 3,
        "shards": 3,
        "samples": 100,
        "shard_bytes": 10_000,
        "model_bytes": 10_000,
        "update_bytes_max": 10_000,
        "input_shape": (8,),
        "class_count": 10,
        "train_s": 100,
        "reveal_s": 30,
        "judge_s": 30,
        "bid_msat": 5_000,
        "payment": payment,
    }
    return JobTerms(**{**given, **changes})


def make_market(
    payment: tuple[Policy, ...] = (Policy.HOLD,),
    providers: int = 4,
    budget_msat: int = 1_000_000,
    plan: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[World, Member, list[Member]]:
    """A customer with three parts of data, and providers with prices 1000, 1001, ..."""
    world = World()
    key = derive_key(b"market", "customer")
    terms = make_terms(payment, **changes)
    shards = tuple(world.put(f"shard {i}".encode()) for i in range(terms.shards))
    settings: dict[str, Any] = {"offers_s": 10, "accept_s": 60, **(plan or {})}
    customer = Customer(
        CustomerPlan(
            pubkey=key.pubkey,
            secret="5" * 64,
            terms=terms,
            task=world.put(b"task"),
            code="",
            model=world.put(b"model 0"),
            shards=shards,
            sample_counts=tuple(100 for _ in shards),
            budget_msat=budget_msat,
            relays=("ws://127.0.0.1:1",),
            **settings,
        )
    )
    boss = world.add("customer", customer, key, 1_000_000)
    others = []
    for i in range(providers):
        own = derive_key(b"market", f"provider {i}")
        policy = ProviderPolicy(
            pubkey=own.pubkey,
            secret=own.secret.hex(),
            name=f"provider {i}",
            price_msat=1_000 + i,
            payee="02" + own.pubkey,
            payment=payment,
            ecash="02" + own.pubkey,
            train_s=10,
        )
        others.append(world.add(f"provider {i}", Provider(policy), own))
    return world, boss, others
