"""Lightning and ecash of a simulated market: one ledger, in whole msat, that can be counted.

Every msat is in an account, locked in an invoice or a token, or in `fees`; nothing else exists.
Keys move money once, like the real wallets behind their cashier: a second call with the same key
tells what became of the first. Errors are the wallets' (`WalletError`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kumiai.base.canonical import sha256_hex
from kumiai.nodes.market.errors import WalletError

LOCK_S = 2 * 3600  # a payment that is held so long goes back by itself
FEE_PPM = 500_000  # dear, so that a budget that forgot fees would be exceeded


@dataclass(slots=True)
class Bill:
    """One invoice; state is a `PaymentState`'s word."""

    payee: str
    amount_msat: int
    payment_hash: str
    is_hold: bool
    expires_at_s: int
    preimage: str = ""
    state: str = "pending"
    payer: str = ""
    key: str = ""
    fee_msat: int = 0
    locked_at_s: int = 0


@dataclass(slots=True)
class Token:
    """Ecash for two of (provider, customer, arbiter); from locktime_s on also the customer's."""

    customer: str
    provider: str
    arbiter: str
    amount_msat: int
    locktime_s: int
    about: str = ""
    spent_by: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one key was used for, and what it came to: failed ones moved nothing."""

    payment_hash: str
    amount_msat: int
    job: str
    round: int
    has_failed: bool = False


class SimBank:
    """All accounts by public key."""

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.fees_msat = 0
        self.funded_msat = 0
        self.bills: dict[str, Bill] = {}
        self.tokens: dict[str, Token] = {}
        self.attempts: dict[tuple[str, str], Attempt] = {}
        self._made: dict[tuple[str, str], str] = {}

    def fund(self, owner: str, msat: int) -> None:
        """Put money into the world."""
        self.accounts[owner] = self.accounts.get(owner, 0) + msat
        self.funded_msat += msat

    @property
    def held_msat(self) -> int:
        """What is locked in invoices and tokens."""
        return sum(self._list_locked())

    def count_msat(self) -> int:
        """Everything there is; always what was funded."""
        return sum(self.accounts.values()) + self.held_msat + self.fees_msat

    def get_out_msat(self, owner: str) -> int:
        """What this owner paid or has locked, without fees."""
        paid = [b for b in self.bills.values() if b.payer == owner and b.state in _MOVED]
        tokens = [t for t in self.tokens.values() if t.customer == owner and t.spent_by != owner]
        return sum(b.amount_msat for b in paid) + sum(t.amount_msat for t in tokens)

    def get_fees_msat(self, owner: str) -> int:
        """What the payments cost that `get_out_msat` counts."""
        return sum(b.fee_msat for b in self.bills.values() if b.payer == owner)

    # -- Lightning --

    def make(
        self, owner: str, key: str, amount_msat: int, expires_at_s: int, payment_hash: str, own: str
    ) -> Bill:
        """Make an invoice, a hold one if a hash is given; the same key gives the same one."""
        made = self._made.get((owner, key))
        if made is not None:
            return self.bills[made]
        preimage = "" if payment_hash else own or sha256_hex(f"{owner}/{key}".encode())
        name = payment_hash or sha256_hex(bytes.fromhex(preimage))
        if name in self.bills:
            raise WalletError("OTHER", "this hash was used before")
        bill = Bill(owner, amount_msat, name, bool(payment_hash), expires_at_s, preimage)
        self.bills[name] = bill
        self._made[owner, key] = name
        return bill

    def pay(
        self, owner: str, key: str, bill: Bill, job: str, round_number: int, now_s: int, fails: bool
    ) -> Bill | None:
        """Pay once; None if this key's payment failed for good. Moves or locks the money."""
        known = self.attempts.get((owner, key))
        if known is not None:
            return None if known.has_failed else self.bills[known.payment_hash]
        if bill.payee == owner:
            raise WalletError("OTHER", "our own invoice")
        if bill.state != "pending":
            raise WalletError("ALREADY_PAID", f"the invoice is {bill.state}")
        if now_s >= bill.expires_at_s:
            raise WalletError("EXPIRED", "the invoice has expired")
        fee_msat = bill.amount_msat * FEE_PPM // 1_000_000
        if self.accounts[owner] < bill.amount_msat + fee_msat:
            raise WalletError("INSUFFICIENT_BALANCE", "not enough money", is_retriable=True)
        self.attempts[owner, key] = Attempt(
            bill.payment_hash, bill.amount_msat, job, round_number, fails
        )
        if fails:
            return None
        self.accounts[owner] -= bill.amount_msat + fee_msat
        bill.payer, bill.key, bill.fee_msat, bill.locked_at_s = owner, key, fee_msat, now_s
        bill.state = "accepted"
        if not bill.is_hold:
            self._settle(bill)
        return bill

    def settle(self, owner: str, preimage: str) -> Bill:
        """Take what is locked."""
        bill = self._find(owner, sha256_hex(bytes.fromhex(preimage)))
        if bill.state == "accepted":
            bill.preimage = preimage
            self._settle(bill)
        return bill

    def cancel(self, owner: str, payment_hash: str) -> Bill:
        """Give back, or withdraw."""
        bill = self._find(owner, payment_hash)
        self._cancel(bill)
        return bill

    def pass_time(self, now_s: int) -> None:
        """Unpaid invoices expire; locks that nobody ended go back."""
        for bill in self.bills.values():
            if bill.state == "pending" and now_s >= bill.expires_at_s:
                bill.state = "expired"
            elif bill.state == "accepted" and now_s >= bill.locked_at_s + LOCK_S:
                self._cancel(bill)

    # -- ecash --

    def lock(self, owner: str, key: str, token: Token) -> str:
        """Make a token; the same key gives the same one."""
        name = f"token-{sha256_hex(f'{owner}/{key}'.encode())}"
        if name not in self.tokens:
            if self.accounts[owner] < token.amount_msat:
                raise WalletError("INSUFFICIENT_BALANCE", "not enough money", is_retriable=True)
            self.accounts[owner] -= token.amount_msat
            self.tokens[name] = token
        return name

    def redeem(self, owner: str, name: str, signers: Iterable[str], now_s: int) -> int:
        """Spend with these signatures and our own; the customer alone after the locktime."""
        token = self.tokens.get(name)
        if token is None:
            raise WalletError("NOT_FOUND", "no such token")
        if token.spent_by == owner:
            return token.amount_msat
        if token.spent_by:
            raise WalletError("SPENT", "the token is spent")
        allowed = {token.provider, token.customer, token.arbiter} - {""}
        signed = {*signers, owner} & allowed
        is_refund = owner == token.customer and now_s >= token.locktime_s
        if len(signed) < 2 and not is_refund:
            raise WalletError("LOCK_DIFFERS", "too few signatures")
        token.spent_by = owner
        self.accounts[owner] += token.amount_msat
        return token.amount_msat

    # -- inside --

    def _find(self, owner: str, payment_hash: str) -> Bill:
        bill = self.bills.get(payment_hash)
        if bill is None or bill.payee != owner:
            raise WalletError("NOT_FOUND", "no such invoice of ours")
        return bill

    def _settle(self, bill: Bill) -> None:
        bill.state = "settled"
        self.accounts[bill.payee] = self.accounts.get(bill.payee, 0) + bill.amount_msat
        self.fees_msat += bill.fee_msat

    def _cancel(self, bill: Bill) -> None:
        if bill.state == "accepted":
            self.accounts[bill.payer] += bill.amount_msat + bill.fee_msat
            bill.fee_msat = 0
        if bill.state in ("accepted", "pending"):
            bill.state = "canceled"

    def _list_locked(self) -> Iterable[int]:
        for bill in self.bills.values():
            if bill.state == "accepted":
                yield bill.amount_msat + bill.fee_msat
        for token in self.tokens.values():
            if not token.spent_by:
                yield token.amount_msat


_MOVED = frozenset({"accepted", "settled"})
