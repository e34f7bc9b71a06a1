"""The embedded bank again, naively: dicts and plain sums, to compare with."""

from dataclasses import dataclass

LIVE = ("pending", "accepted", "settled")


@dataclass
class NaiveInvoice:
    owner: str
    amount: int
    is_hold: bool
    expires: int
    state: str = "pending"
    payer: str = ""
    locked_until: int = 0


@dataclass
class NaivePayment:
    payer: str
    hash: str
    owner: str
    state: str


class RefusedError(Exception):
    pass


class NaiveBank:
    """Members are texts, invoices are known by (owner, hash), payments by (payer, key)."""

    def __init__(self, lock_s: int) -> None:
        self.lock_s = lock_s
        self.spendable: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.invoices: dict[tuple[str, str], NaiveInvoice] = {}
        self.payments: dict[tuple[str, str], NaivePayment] = {}
        self.funded = 0

    def fund(self, name: str, amount: int) -> None:
        self.spendable[name] = self.spendable.get(name, 0) + amount
        self.held.setdefault(name, 0)
        self.funded += amount

    def invoice(self, owner: str, hash_: str, amount: int, is_hold: bool, expires: int) -> None:
        self.invoices[owner, hash_] = NaiveInvoice(owner, amount, is_hold, expires)

    def tick(self, now: int) -> None:
        for (owner, hash_), it in self.invoices.items():
            if it.state == "pending" and now >= it.expires:
                it.state = "expired"
            if it.state == "accepted" and now >= it.locked_until:
                self._back(owner, hash_, "expired")

    def pay(self, payer: str, key: str, owner: str, hash_: str, fate: str, now: int) -> str:
        known = self.payments.get((payer, key))
        if known is not None:
            if (known.owner, known.hash) != (owner, hash_):
                raise RefusedError
            return known.state
        it = self.invoices[owner, hash_]
        same_hash = [
            p for p in self.payments.values()
            if p.hash == hash_ and p.state in LIVE and (p.owner == owner or p.payer == payer)
        ]  # fmt: skip
        if payer == owner or it.state != "pending" or same_hash:
            raise RefusedError
        if self.spendable[payer] < it.amount:
            raise RefusedError
        if fate == "fail":
            state = "failed"
        elif fate == "stick":
            state = "pending"
        else:
            state = "accepted" if it.is_hold else "settled"
        self.payments[payer, key] = NaivePayment(payer, hash_, owner, state)
        if state == "failed":
            return state
        self.spendable[payer] -= it.amount
        if state == "settled":
            self.spendable[owner] += it.amount
            it.state = "settled"
        else:
            self.held[payer] += it.amount
            if state == "accepted":
                it.state, it.locked_until = "accepted", now + self.lock_s
        return state

    def settle(self, owner: str, hash_: str) -> str:
        it = self.invoices.get((owner, hash_))
        if it is None or it.state not in ("accepted", "settled"):
            raise RefusedError
        if it.state == "accepted":
            self._deliver(owner, hash_)
        return it.state

    def cancel(self, owner: str, hash_: str) -> str:
        it = self.invoices.get((owner, hash_))
        if it is None or it.state == "settled":
            raise RefusedError
        if it.state == "accepted":
            self._back(owner, hash_, "canceled")
        elif it.state == "pending":
            it.state = "canceled"
        return it.state

    def resolve(self, payer: str, hash_: str, now: int, *, is_delivered: bool) -> str:
        paid = self._newest(payer, hash_)
        if paid is None or paid.state != "pending":
            raise RefusedError
        it = self.invoices[paid.owner, hash_]
        if not is_delivered or it.state != "pending":
            paid.state = "failed"
            self.held[payer] -= it.amount
            self.spendable[payer] += it.amount
        elif it.is_hold:
            paid.state = it.state = "accepted"
            it.locked_until = now + self.lock_s
        else:
            self._deliver(paid.owner, hash_)
        return paid.state

    def lookup(self, payer: str, hash_: str) -> str | None:
        paid = self._newest(payer, hash_)
        return None if paid is None else paid.state

    def _newest(self, payer: str, hash_: str) -> NaivePayment | None:
        mine = [p for p in self.payments.values() if (p.payer, p.hash) == (payer, hash_)]
        return mine[-1] if mine else None

    def _live(self, owner: str, hash_: str) -> NaivePayment:
        [paid] = [
            p for p in self.payments.values()
            if (p.owner, p.hash) == (owner, hash_) and p.state in LIVE
        ]  # fmt: skip
        return paid

    def _deliver(self, owner: str, hash_: str) -> None:
        it, paid = self.invoices[owner, hash_], self._live(owner, hash_)
        self.held[paid.payer] -= it.amount
        self.spendable[owner] += it.amount
        it.state = paid.state = "settled"

    def _back(self, owner: str, hash_: str, state: str) -> None:
        it, paid = self.invoices[owner, hash_], self._live(owner, hash_)
        self.held[paid.payer] -= it.amount
        self.spendable[paid.payer] += it.amount
        it.state = paid.state = state
