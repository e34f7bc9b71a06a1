"""A run's ledger with a contract behind it: every command also happens on the chain.

The local ledger stays the executable specification. It judges each command first; then the command
becomes transactions, written down under keys of their own before any is sent, so that a run that is
taken up again sends nothing twice. Nothing waits for a block but at barriers: before anybody is
backed, before the task is started, and at the end.

    Deposit            test money made for the member, as far as `prepare` has not
    Fund, Stake, ...   the member's own transaction
    SettleRound, Final one transaction with the committee's signatures, taken by `seal` before
    Refund, Release... at `release`, when the challenge window has passed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kumiai.adapters.evm.abi import Call
from kumiai.adapters.evm.accounts import Account, compact_signature
from kumiai.adapters.evm.bindings.credit import calls as credit
from kumiai.adapters.evm.bindings.iarena import calls as arena
from kumiai.adapters.evm.bindings.iarena.structs import Certificate, Quorum, Slash
from kumiai.adapters.evm.books import Desk
from kumiai.adapters.evm.outbox_request import Request
from kumiai.adapters.evm.sender import Sender
from kumiai.base.errors import InternalError
from kumiai.nodes.ports import LedgerPort
from kumiai.rounds.signed import ChainRound
from kumiai.settlement.ledger import (
    Delegate,
    Deposit,
    Fund,
    LedgerCommand,
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    SettleFinal,
    SettleRound,
    Stake,
    Withdraw,
)
from kumiai.settlement.payroll import PayProof

ROLES = {"trainer": 1, "validator": 2}  # IArena.Role
OUTSIDE = "0x000000000000000000000000000000000000dead"  # where withdrawn test money goes


class Judge(LedgerPort, Protocol):
    """The local ledger: it also tells what has taken effect."""

    def accounts(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is who on the chain. accounts, roles: by the ledger's names; owner: the customer's name.

    minter: may make test money. document: the task's hash, which members agree to by staking.
    """

    accounts: Mapping[str, Account]
    roles: Mapping[str, str]
    owner: str
    minter: Account
    document: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction of this run: what it was for (`sort`), under which key, of which round."""

    sort: str
    key: str
    round: int = 0


@dataclass(slots=True)
class EvmLedger:
    """LedgerPort over `judge` and a task's contract. Not for several threads."""

    judge: Judge
    sender: Sender
    desk: Desk
    cast: Cast
    sent: list[Sent] = field(default_factory=list)
    settled: list[ChainRound] = field(default_factory=list)
    unsettled: str = ""  # why the end was not settled on the chain, if it was not
    _sealed: tuple[ChainRound, Sequence[tuple[str, str]]] | None = None
    _late: list[LedgerCommand] = field(default_factory=list)
    _ready: dict[str, int] = field(default_factory=dict)  # money that waits in wallets, approved
    _open: list[str] = field(default_factory=list)  # keys that no barrier has waited for
    _is_started: bool = False
    _names: set[str] = field(default_factory=set)  # keys of `sent`

    def prepare(self, amounts: Mapping[str, int]) -> None:
        """Give each name its money, and let the arena take it, all in two waits."""
        needed = {name: amount for name, amount in sorted(amounts.items()) if amount}
        for name, amount in needed.items():
            self._mint(name, amount, f"prepare/{name}")
        self.wait()
        for name, amount in needed.items():
            self._approve(name, amount, f"prepare/{name}")
            self._ready[name] = amount
        self.wait()

    def apply(self, command: LedgerCommand) -> None:
        """Judge a command by the rules, then carry it out on the chain.

        Raises what the local ledger raises, and ChainError where a barrier fails.
        """
        self.judge.apply(command)
        match command:
            case Deposit(key, _, name, amount):
                if amount and self._ready.get(name, 0) < amount:
                    self._mint(name, amount, key)
                    self.wait()
                    self._approve(name, amount, key)
                    self.wait()
                    self._ready[name] = self._ready.get(name, 0) + amount
            case Fund(key, _, payer, amount):
                self._pay("fund", key, payer, amount, arena.fund(self.desk.task_key, amount))
            case Stake(key, _, member, amount):
                role = ROLES[self.cast.roles[member]]
                call = arena.stake(self.desk.task_key, role, amount, self.cast.document, 0, b"")
                self._pay("stake", key, member, amount, call)
            case Delegate(key, _, delegator, node, amount):
                if self.sent and self.sent[-1].sort != "delegate":
                    self.wait()  # who is backed must be staked by then
                address = self.cast.accounts[node].address
                call = arena.delegate(self.desk.task_key, address, amount)
                self._pay("delegate", key, delegator, amount, call)
            case Withdraw(key, _, name, amount):
                out = credit.transfer(OUTSIDE, amount)
                self._send("send", key, self.cast.accounts[name], self.desk.token, out)
            case SettleRound() | SettleFinal():
                self._settle(command)
            case Refund() | ReleaseStake() | ReleaseDelegation():
                if not self.unsettled:  # else the contract holds it until the task has expired
                    self._late.append(command)

    def balance(self, account: str) -> int:
        """Return what `account` holds by the rules; names as in `settlement.accounts`."""
        return self.judge.balance(account)

    def accounts(self) -> dict[str, int]:
        """Return every account that does not stand at zero, by the rules."""
        return self.judge.accounts()

    def seal(self, settled: ChainRound, signatures: Sequence[tuple[str, str]]) -> None:
        """Take what the contract will be shown; the round's own command follows."""
        self._sealed = (settled, signatures)

    def wait(self) -> None:
        """Wait until all that was sent is settled; raises the first refusal."""
        waiting, self._open = self._open, []
        if waiting:
            self.sender.wait(waiting)

    def claim(self, round_index: int, proofs: Iterable[PayProof]) -> None:
        """Claim for each account under the root of a round; who has a key here sends its own."""
        by_address = {account.address: account for account in self.cast.accounts.values()}
        for proof in proofs:
            call = arena.claim(
                self.desk.task_key, round_index, proof.account, proof.cumulative, proof.path
            )
            account = by_address.get(proof.account, self._owner)
            key = f"{proof.account}/{round_index}"
            self._send("claim", key, account, self.desk.arena, call, round_index)

    def release(self) -> None:
        """Take back what the closed task owes: stakes, lent stakes, the budget's rest."""
        for command in self._late:
            match command:
                case Refund(key, _, payer, amount) if amount:
                    call: Call[Any] = arena.refund(self.desk.task_key)
                    self._send_as(payer, "refund", key, call)
                case ReleaseStake(key, _, member):
                    address = self.cast.accounts[member].address
                    call = arena.withdraw_stake(self.desk.task_key, address)
                    self._send_as(member, "withdraw", key, call)
                case ReleaseDelegation(key, _, delegator, node):
                    address = self.cast.accounts[node].address
                    call = arena.undelegate(self.desk.task_key, address)
                    self._send_as(delegator, "undelegate", key, call)

    @property
    def _owner(self) -> Account:
        return self.cast.accounts[self.cast.owner]

    def _settle(self, command: SettleRound | SettleFinal) -> None:
        if self._sealed is None:
            if isinstance(command, SettleRound):
                raise InternalError(f"round {command.round} has no signatures for the contract")
            self._give_up()
            return
        (settled, signatures), self._sealed = self._sealed, None
        if not self._is_started:
            self.wait()
            call: Call[Any] = arena.start(self.desk.task_key, settled.committee)
            self._send("start", command.task, self._owner, self.desk.arena, call)
            self.wait()
            self._is_started = True
        sort = "final" if settled.certificate.is_final else "settle"
        index = settled.certificate.round
        self._send(
            sort, command.key, self._owner, self.desk.arena, make_settle(settled, signatures), index
        )
        self.settled.append(settled)

    def _give_up(self) -> None:
        """The run ended early, and no committee has signed an end for the contract."""
        if not self._is_started:
            self.wait()
            self._send_as(self.cast.owner, "close", "cancel", arena.cancel(self.desk.task_key))
            return
        self.unsettled = (
            "the run ended early, so no committee signed an end for the contract: after the task's "
            "deadline and grace anyone may expire it (kumiai chain expire)"
        )

    def _mint(self, name: str, amount: int, key: str) -> None:
        call = credit.mint(self.cast.accounts[name].address, amount)
        self._send("mint", key, self.cast.minter, self.desk.token, call)

    def _approve(self, name: str, amount: int, key: str) -> None:
        call = credit.approve(self.desk.arena, self._ready.get(name, 0) + amount)
        self._send("approve", key, self.cast.accounts[name], self.desk.token, call)

    def _pay(self, sort: str, key: str, name: str, amount: int, call: Call[Any]) -> None:
        """Send what takes `amount` out of a wallet; nothing moves, nothing is sent."""
        if amount:
            self._ready[name] = self._ready.get(name, 0) - amount
            self._send_as(name, sort, key, call)

    def _send_as(self, name: str, sort: str, key: str, call: Call[Any]) -> None:
        self._send(sort, key, self.cast.accounts[name], self.desk.arena, call)

    def _send(
        self, sort: str, key: str, account: Account, to: str, call: Call[Any], index: int = 0
    ) -> None:
        """Write a transaction down under a key of its sort; a known one adds nothing.

        One that was mined and failed gets another key: its own is used up.
        """
        name = f"{sort}/{key}"
        while (before := self.sender.get_outcome(name)) is not None and before.is_success is False:
            name += "/again"
        self.sender.submit(account.address, [Request(name, to, call.data)])
        self._open.append(name)
        if name not in self._names:
            self._names.add(name)
            self.sent.append(Sent(sort, name, index))


def make_settle(settled: ChainRound, signatures: Sequence[tuple[str, str]]) -> Call[Any]:
    """Return the call that settles a round: certificate, slashes, and the committee's signatures.

    signatures: (address, r s and recovery id as hex); those of strangers are left out.
    """
    by_address = dict(signatures)
    given = settled.certificate
    signed = [by_address.get(address) for address in settled.committee]
    bits = sum(1 << place for place, signature in enumerate(signed) if signature)
    certificate = Certificate(
        task=given.task,
        round=given.round,
        attempt=given.attempt,
        isFinal=given.is_final,
        body=given.body,
        submissions=given.submissions,
        payments=given.payments,
        paid=given.paid,
        locked=given.locked,
        slashes=given.slashes,
        nextCommittee=given.next_committee,
    )
    slashes = tuple(Slash(s.member, s.amount, s.evidence) for s in settled.slashes)
    packed = b"".join(_compact(bytes.fromhex(signature)) for signature in signed if signature)
    return arena.settle(certificate, slashes, Quorum(settled.committee, bits, packed))


def _compact(signature: bytes) -> bytes:
    """r, s and recovery id (0 or 1) as r and vs."""
    return compact_signature(signature[:64] + bytes([27 + signature[64]]))
