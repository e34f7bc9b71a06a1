"""One task, its people and its model on one engine: each action is done, predicted and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.adapters.evm import arena_model
from tests.adapters.evm.arena_door import (
    COIN,
    ArenaDoor,
    Person,
    digest_certificate,
    digest_order,
    digest_verdict,
    list_certificate,
    list_slashes,
    make_person,
    make_quorum,
    sign,
)
from tests.adapters.evm.arena_model import ArenaModel, Errors, Pool, Rules
from tests.adapters.evm.engines import Engine

from kumiai.settlement.certificates import (
    ZERO_WORD,
    ChainCertificate,
    ChainSlash,
    compute_task_key,
    hash_committee,
    hash_slashes,
)
from kumiai.settlement.ledger import delegation_account
from kumiai.settlement.payroll import compute_pay_proofs, compute_pay_root

WALLET = 1_000_000
DOCUMENT = bytes(range(32))
OWNER, ARBITER = make_person("owner"), make_person("arbiter")
PAYERS = [OWNER, make_person("second payer")]
TRAINERS = [make_person(f"trainer {i}") for i in range(3)]
VALIDATORS = sorted((make_person(f"validator {i}") for i in range(4)), key=lambda p: p.address)
DELEGATORS = [make_person(f"delegator {i}") for i in range(2)]
GUARDIANS = sorted((make_person(f"guardian {i}") for i in range(3)), key=lambda p: p.address)
PEOPLE = [*PAYERS, *TRAINERS, *VALIDATORS, *DELEGATORS]
NODES = [*TRAINERS, *VALIDATORS]
ADDRESSES = [person.address for person in PEOPLE]
STATUSES = {
    arena_model.OPEN: 1,
    arena_model.RUNNING: 2,
    arena_model.STOPPED: 3,
    arena_model.CLOSED: 4,
    arena_model.CANCELLED: 5,
    arena_model.EXPIRED: 6,
}


def open_door(engine: Engine, arena: Any = None) -> ArenaDoor:
    """Deploy the arena and its token, give everybody WALLET of both, and mark the place."""
    door = ArenaDoor(engine, OWNER.address, ARBITER.address, arena)
    for person in PEOPLE:
        door.mint(person.address, WALLET)
        engine.set_coins(person.address, WALLET)
    engine.mark()
    return door


def list_terms(rules: Rules, token: str) -> tuple[Any, ...]:
    """`IArena.Terms` of `rules`: open to everybody, two of three guardians."""
    return (
        DOCUMENT,
        token,
        COIN,
        rules.ends_at,
        rules.grace,
        rules.activation_delay,
        rules.cool_down,
        0,
        0,
        arena_model.PPM,
        rules.slash_ppm,
        rules.delegation_slash_ppm,
        rules.slash_to_task,
        2,
        rules.trainer_stake_min,
        rules.validator_stake_min,
        [each.address for each in GUARDIANS],
    )


class ArenaWorld:
    """A fresh task on `door`. Each action asserts that the contract answered as the model."""

    def __init__(self, door: ArenaDoor, rules: Rules, token: str) -> None:
        door.engine.reset()
        self.door, self.token = door, token
        self.key = compute_task_key(OWNER.address, DOCUMENT)
        wallets = dict.fromkeys(ADDRESSES, WALLET)
        self.model = ArenaModel(self.key.hex(), rules, wallets)
        self.committee: list[Person] = []
        self.last: tuple[Any, ...] | None = None
        self.has_changed = False  # since the last comparison; a refused call changes nothing
        assert not door.send(OWNER.address, "createTask", list_terms(rules, token))

    def _do(self, expected: Errors, sender: str, function: str, *args: Any, value: int = 0) -> bool:
        if self.token != COIN:
            value = 0
        said = self.door.send(sender, function, *args, value=value)
        engine = self.door.engine.name
        if expected:
            assert said in expected, f"{engine}: {function} said {said or 'ok'!r}, not {expected}"
        else:
            assert not said, f"{engine}: {function} was refused with {said}"
        self.has_changed = self.has_changed or not said
        return not said

    def tick(self) -> ArenaModel:
        """The model, at the time of the call that comes next."""
        self.model.now = self.door.engine.now + 1
        return self.model

    # ---- members and payers

    def fund(self, payer: Person, amount: int) -> None:
        expected = self.tick().fund(payer.address, amount)
        self._do(expected, payer.address, "fund", self.key, amount, value=amount)

    def stake(self, member: Person, role: int, amount: int) -> None:
        expected = self.tick().stake(member.address, role, amount)
        args = (self.key, role, amount, DOCUMENT, 0, b"")
        self._do(expected, member.address, "stake", *args, value=amount)

    def unstake(self, member: Person) -> None:
        self._do(self.tick().unstake(member.address), member.address, "unstake", self.key)

    def withdraw(self, member: Person, sender: Person) -> None:
        expected = self.tick().withdraw(member.address)
        self._do(expected, sender.address, "withdrawStake", self.key, member.address)

    def delegate(self, delegator: Person, node: Person, amount: int) -> None:
        expected = self.tick().delegate(delegator.address, node.address, amount)
        args = (self.key, node.address, amount)
        self._do(expected, delegator.address, "delegate", *args, value=amount)

    def undelegate(self, delegator: Person, node: Person) -> None:
        expected = self.tick().undelegate(delegator.address, node.address)
        self._do(expected, delegator.address, "undelegate", self.key, node.address)

    def refund(self, payer: Person) -> None:
        self._do(self.tick().refund(payer.address), payer.address, "refund", self.key)

    # ---- settlement

    def start(self, committee: Sequence[Person]) -> None:
        members = [each.address for each in committee]
        if self._do(self.tick().start(members), OWNER.address, "start", self.key, members):
            self.committee = list(committee)

    def settle(
        self,
        round_: int,
        payments: Sequence[tuple[Person, int]],
        locked: int,
        slashes: Sequence[ChainSlash] = (),
        *,
        is_final: bool = False,
        signatures: int | None = None,
        successors: Sequence[Person] = (),
    ) -> None:
        """Certify and send it; `signatures`: how many of the committee sign, None: all."""
        paid = [(person.address, amount) for person, amount in payments]
        cumulative = dict(self.model.cumulative)
        for who, amount in paid:
            cumulative[who] = cumulative.get(who, 0) + amount
        handed = [each.address for each in successors]
        certificate = ChainCertificate(
            self.key,
            round_,
            0,
            is_final,
            bytes(32),
            bytes(32),
            compute_pay_root(self.key, cumulative),
            sum(amount for _, amount in paid),
            locked,
            hash_slashes(slashes),
            hash_committee(handed) if handed else ZERO_WORD,
        )
        digest = digest_certificate(certificate, self.door.place)
        quorum, is_enough = self._sign(digest, signatures)
        expected = self.tick().settle(certificate, paid, slashes, has_quorum=is_enough)
        args = (list_certificate(certificate), list_slashes(slashes), quorum)
        if self._do(expected, PAYERS[1].address, "settle", *args):
            self.committee = list(successors) or self.committee
            self.last = args

    def settle_again(self) -> None:
        """Send the last certificate once more: nothing may happen."""
        if self.last is not None:
            expected = {"WrongStatus", "IsPaused", "RoundNotNext"}
            self._do(expected, OWNER.address, "settle", *self.last)

    def verdict(self, slashes: Sequence[ChainSlash], signatures: int | None = None) -> None:
        digest = digest_verdict(self.key, slashes, self.door.place)
        quorum, is_enough = self._sign(digest, signatures)
        expected = self.tick().verdict(slashes, has_quorum=is_enough)
        self._do(expected, OWNER.address, "slash", self.key, list_slashes(slashes), quorum)

    def equivocate(self, validator: Person, round_: int, attempt: int, salt: int) -> None:
        """Show two certificates of one round that `validator` signed."""
        signed: list[Any] = []
        for body in (salt, salt + 1):
            word = body.to_bytes(32, "big")
            certificate = ChainCertificate(
                self.key, round_, attempt, False, word, word, word, 0, 0, word
            )
            digest = digest_certificate(certificate, self.door.place)
            signed += [list_certificate(certificate), sign(validator, digest)]
        expected = self.tick().equivocate(validator.address, round_, attempt)
        self._do(expected, DELEGATORS[0].address, "proveEquivocation", *signed)

    def claim(self, round_: int, account: Person, sender: Person, extra: int = 0) -> None:
        """Claim what the root of `round_` gives, plus `extra`, which no root gives."""
        root = self.model.roots.get(round_)
        proofs = compute_pay_proofs(self.key, root.cumulative) if root else {}
        proof = proofs.get(account.address)
        cumulative = (proof.cumulative if proof else 0) + extra
        path = list(proof.path) if proof else []
        is_leaf = proof is not None and not extra
        expected = self.tick().claim(round_, account.address, cumulative, is_leaf=is_leaf)
        args = (self.key, round_, account.address, cumulative, path)
        self._do(expected, sender.address, "claim", *args)

    def _sign(self, digest: bytes, signatures: int | None) -> tuple[Any, bool]:
        members = self.committee or VALIDATORS
        count = len(members) if signatures is None else min(signatures, len(members))
        n = len(members)
        required = (n + (n - 1) // 3) // 2 + 1
        return make_quorum(members, members[:count], digest), count >= required

    # ---- ends, guardians, arbiter

    def cancel(self) -> None:
        self._do(self.tick().cancel(), OWNER.address, "cancel", self.key)

    def expire(self) -> None:
        self._do(self.tick().expire(), DELEGATORS[1].address, "expire", self.key)

    def order(self, action: int, seconds: int, signatures: int) -> None:
        now = self.tick().now
        until = now + seconds if action == 0 else 0
        digest = digest_order(
            self.key, action, until, self.model.orders, now + 60, "test", self.door.place
        )
        quorum = make_quorum(GUARDIANS, GUARDIANS[:signatures], digest)
        expected = self.model.order(action, until, has_quorum=signatures >= 2)
        args = (self.key, action, until, now + 60, "test", quorum)
        self._do(expected, OWNER.address, "order", *args)

    def hold(self, member: Person, round_: int) -> None:
        expected = self.tick().hold(member.address, round_)
        self._do(expected, ARBITER.address, "hold", self.key, member.address, round_)

    def release(self, member: Person, round_: int, *, is_disabled: bool) -> None:
        expected = self.tick().release(member.address, round_, is_disabled=is_disabled)
        args = (self.key, member.address, round_, is_disabled)
        self._do(expected, ARBITER.address, "release", *args)

    def convict(self, member: Person, ppm: int, salt: int) -> None:
        proof = salt.to_bytes(32, "big")
        expected = self.tick().convict(member.address, ppm, proof)
        self._do(expected, ARBITER.address, "convict", self.key, member.address, ppm, proof)

    # ---- comparison

    def compare(self) -> None:
        """Everything equal to the unit, and the arena holds exactly what it owes."""
        self.has_changed = False
        expected, found = self._expect(), self._read()
        wrong = {k: (v, found.get(k)) for k, v in expected.items() if found.get(k) != v}
        assert not wrong, f"{self.door.engine.name} differs (expected, found): {wrong}"
        owed = sum(found[name] for name in ("escrow", "locked", "unclaimed", "burnt"))
        owed += sum(found[f"stake {node.name}"] for node in NODES)
        owed += sum(found[f"pool {node.name}"] for node in NODES)
        assert found["held"] == owed, f"holds {found['held']}, owes {owed}"

    def _expect(self) -> dict[str, int]:
        model = self.model
        stands = {
            "status": STATUSES[model.status],
            "round": model.round_last,
            "escrow": model.escrow,
            "locked": model.locked,
            "unclaimed": model.unclaimed,
            "burnt": model.burnt,
            "paid": model.paid,
            "bonus": model.bonus,
            "contributed": sum(model.contributions.values()),
        }
        for person in PEOPLE:
            stands[f"wallet {person.name}"] = model.wallets[person.address]
            stands[f"free {person.name}"] = model.get(person.address)
        for node in NODES:
            seat = model.seats.get(node.address)
            stands[f"stake {node.name}"] = model.get_stake(node.address)
            stands[f"role {node.name}"] = seat.role if seat else 0
            stands[f"holds {node.name}"] = seat.holds if seat else 0
            pool = model.pools.get(node.address, Pool())
            stands[f"pool {node.name}"] = pool.total
            for each in self._list_lenders(node):
                account = delegation_account(model.task, node.address, each.address)
                stands[f"lent {each.name} to {node.name}"] = model.get(account)
        return stands

    def _list_lenders(self, node: Person) -> list[Person]:
        """Who ever lent to `node`; that nobody else did is in the pool's total."""
        pool = self.model.pools.get(node.address, Pool())
        return [each for each in DELEGATORS if each.address in pool.shares]

    def _read(self) -> dict[str, int]:
        asked: list[tuple[str, tuple[Any, ...]]] = [("getTask", (self.key,))]
        asked += [("getClaimed", (self.key, each.address)) for each in PEOPLE]
        asked += [("getMember", (self.key, each.address)) for each in NODES]
        asked += [("getDelegated", (self.key, each.address)) for each in NODES]
        pairs = [(node, each) for node in NODES for each in self._list_lenders(node)]
        asked += [("getDelegation", (self.key, n.address, d.address)) for n, d in pairs]
        said = iter(self.door.view_many(asked))
        task = next(said)
        found = {
            "status": task[1],
            "round": task[3],
            "escrow": task[4],
            "locked": task[5],
            "unclaimed": task[6],
            "burnt": task[7],
            "paid": task[8],
            "bonus": task[9],
            "contributed": task[10],
        }
        claimed = {person.name: next(said) for person in PEOPLE}
        wallets = self.door.get_wallets(self.token, [*ADDRESSES, self.door.address])
        found["held"] = wallets.pop()
        for person, wallet in zip(PEOPLE, wallets, strict=True):
            got = self.model.compute_entitled(self.model.cumulative.get(person.address, 0))
            found[f"wallet {person.name}"] = wallet
            found[f"free {person.name}"] = wallet + got - claimed[person.name]
        for node in NODES:
            stake, role, _, _, _, holds = next(said)
            found |= {f"stake {node.name}": stake, f"role {node.name}": role}
            found[f"holds {node.name}"] = holds
        for node in NODES:
            found[f"pool {node.name}"] = next(said)
        for node, each in pairs:
            found[f"lent {each.name} to {node.name}"] = next(said)
        return found
