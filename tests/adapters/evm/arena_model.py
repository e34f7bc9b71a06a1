"""What the arena must answer: the ledger's rules in Python, and a short list of what is added.

Money moves through `kumiai.settlement.ledger.step`, the executable specification; whatever that
rejects, the contract must refuse. This model adds only what `IArena` documents beyond it, marked
with DEVIATION: states and clocks, slashes that are clamped, delegations that are slashed as shares,
refunds shared by rule, and tasks that expire. Every action returns the names of the errors with
which it may be refused; an empty set says that it must succeed, and then it has been applied here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.adapters.evm.arena_books import (
    CANCELLED,
    CLOSED,
    DUST,
    ENDED,
    EXPIRED,
    OPEN,
    PPM,
    RUNNING,
    STOPPED,
    TRAINER,
    VALIDATOR,
    ArenaBooks,
    Errors,
    Pool,
    Root,
    Rules,
    Seat,
)

from kumiai.settlement.certificates import ChainCertificate, ChainSlash
from kumiai.settlement.ledger import (
    Delegate,
    Fund,
    LedgerCommand,
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    SettleFinal,
    SettleRound,
    Stake,
    delegation_account,
    escrow_account,
    stake_account,
)

__all__ = [
    "CANCELLED",
    "CLOSED",
    "ENDED",
    "EXPIRED",
    "OPEN",
    "PPM",
    "RUNNING",
    "STOPPED",
    "TRAINER",
    "VALIDATOR",
    "ArenaModel",
    "Errors",
    "Pool",
    "Rules",
]


class ArenaModel(ArenaBooks):
    """One task. `now` is the time of the call that is being judged."""

    # ---- members and payers

    def fund(self, payer: str, amount: int) -> Errors:
        gates = self._joinable() | self._payable(payer, amount)
        return self._try(Fund(self._key(), self.task, payer, amount), gates, self._funded)

    def _funded(self, command: LedgerCommand) -> None:
        assert isinstance(command, Fund)
        self.wallets[command.payer] -= command.amount
        known = self.contributions.get(command.payer, 0)
        self.contributions[command.payer] = known + command.amount

    def stake(self, member: str, role: int, amount: int) -> Errors:
        gates = self._joinable() | self._payable(member, amount)
        seat = self.seats.get(member)
        if seat is not None and seat.exit_at:
            gates.add("TooEarly")
        if seat is not None and seat.role != role:
            gates.add("OtherRole")
        least = self.rules.trainer_stake_min
        if role == VALIDATOR:
            least = self.rules.validator_stake_min
        if self.get_stake(member) + amount < least:
            gates.add("StakeTooSmall")

        def then(command: LedgerCommand) -> None:
            self.wallets[member] -= amount
            self.seats.setdefault(member, Seat(role))

        return self._try(Stake(self._key(), self.task, member, amount), gates, then)

    def unstake(self, member: str) -> Errors:
        seat = self.seats.get(member)
        gates: Errors = set() if self.status == OPEN else {"WrongStatus"}
        if seat is None or seat.exit_at:
            gates.add("NotMember")
        if not gates and seat is not None:
            seat.exit_at = self.now + self.rules.cool_down
        return gates

    def withdraw(self, member: str) -> Errors:
        seat = self.seats.get(member) or Seat(0)
        gates: Errors = {"StakeHeld"} if seat.holds else set()
        begin = seat.exit_at
        if self.status == CANCELLED:
            begin = 0
        elif not begin and self.status in ENDED:
            begin = self.ended_at + self.rules.cool_down
        elif not begin:
            gates.add("WrongStatus")
        if self.now < begin:
            gates.add("TooEarly")
        amount = self.get_stake(member)
        if not amount:
            gates.add("NothingToWithdraw")
        command = ReleaseStake(self._key(), self.task, member)
        has_left = bool(seat.exit_at)
        if has_left and self.status not in ENDED:
            # DEVIATION: who left before the start is paid while the task is open
            if gates:
                return gates
            self._book([(stake_account(self.task, member), -amount), (member, amount)])
        elif refused := self._try(command, gates, lambda _: None):
            return refused
        self.wallets[member] += amount
        if has_left:
            del self.seats[member]
        return set()

    def delegate(self, delegator: str, node: str, amount: int) -> Errors:
        gates = self._joinable() | self._payable(delegator, amount)
        seat = self.seats.get(node)
        if seat is None or seat.exit_at:
            gates.add("NotMember")
        pool = self.pools.setdefault(node, Pool())
        every = sum(pool.shares.values())
        if every and not pool.total:
            gates.add("StakeTooSmall")  # DEVIATION: a pool that lost everything takes nothing

        def then(command: LedgerCommand) -> None:
            self.wallets[delegator] -= amount
            shares = amount * every // pool.total if every else amount
            pool.shares[delegator] = pool.shares.get(delegator, 0) + shares
            pool.total += amount
            self._follow_pool(node)

        return self._try(Delegate(self._key(), self.task, delegator, node, amount), gates, then)

    def undelegate(self, delegator: str, node: str) -> Errors:
        pool = self.pools.get(node, Pool())
        amount = pool.get_amount(delegator)
        gates = self._bound(node)
        if not amount:
            gates.add("NothingToWithdraw")
        if gates:
            return gates
        if self.status in ENDED:
            self._must(ReleaseDelegation(self._key(), self.task, delegator, node))
        else:  # DEVIATION: a node that left before the start frees what it was lent
            account = delegation_account(self.task, node, delegator)
            self._book([(account, -amount), (delegator, amount)])
        self.wallets[delegator] += amount
        pool.total -= amount
        pool.shares.pop(delegator)
        self._follow_pool(node)
        return set()

    def _bound(self, node: str) -> Errors:
        """Why what was lent to `node` cannot be taken back yet."""
        seat = self.seats.get(node)
        if seat is None or seat.exit_at:
            return set()
        if self.status not in ENDED:
            return {"WrongStatus"}
        if self.status == CANCELLED or not self.rules.delegation_slash_ppm:
            return set()
        gates: Errors = {"StakeHeld"} if seat.holds else set()
        if self.now < self.ended_at + self.rules.cool_down:
            gates.add("TooEarly")
        return gates

    def refund(self, payer: str) -> Errors:
        gates: Errors = set() if self.status in ENDED else {"WrongStatus"}
        if self.held:
            gates.add("StakeHeld")
        part = self.contributions.get(payer, 0)
        if not part:
            gates.add("NothingToWithdraw")
        if gates:
            return gates
        # DEVIATION: the rule says how much, not the payer
        amount = self.escrow * part // sum(self.contributions.values())
        if self.rules.slash_to_task:  # DEVIATION: slashed stake may make it more than was put in
            self._book([(escrow_account(self.task), -amount), (payer, amount)])
        else:
            self._must(Refund(self._key(), self.task, payer, amount))
        del self.contributions[payer]
        self.wallets[payer] += amount
        return set()

    # ---- settlement

    def start(self, members: Sequence[str]) -> Errors:
        gates: Errors = set() if self.status == OPEN else {"WrongStatus"}
        if self.now > self.rules.ends_at:
            gates.add("Expired")
        seats = [self.seats.get(each) for each in members]
        if not seats or any(s is None or s.exit_at or s.role != VALIDATOR for s in seats):
            gates.add("BadCommittee")
        if not gates:
            self.status = RUNNING
        return gates

    def settle(
        self,
        certificate: ChainCertificate,
        payments: Sequence[tuple[str, int]],
        slashes: Sequence[ChainSlash],
        *,
        has_quorum: bool,
    ) -> Errors:
        c = certificate
        is_corrected = self.status in (CLOSED, EXPIRED) and self.round_last <= self.void_up_to
        gates = self._unpaused() if self.status in (RUNNING, STOPPED) else set()
        if self.status != RUNNING and not (c.is_final and (self.status == STOPPED or is_corrected)):
            gates.add("WrongStatus")
        if c.round <= self.round_last:
            gates.add("RoundNotNext")
        if not has_quorum:
            gates.add("NoQuorum")
        if c.paid + c.locked > (self.locked if c.is_final else self.escrow) or (
            c.is_final and c.locked
        ):
            gates.add("Overdrawn")
        if is_corrected:  # DEVIATION: the ledger knows no second end; it moves no pay anyway
            if not gates and not (gates := self._take(slashes)):
                self.round_last = c.round
                self.roots[c.round] = Root(
                    dict(self.cumulative), self.now + self.rules.activation_delay
                )
            return gates
        takes = self._clamp(slashes)
        burnt = tuple((s.member, take) for s, take in zip(slashes, takes, strict=True))
        evidence = tuple(each.evidence.hex() for each in slashes)
        paid, command = tuple(payments), None
        if c.is_final:
            command = SettleFinal(self._key(), self.task, paid, burnt, evidence)
        else:
            command = SettleRound(self._key(), self.task, c.round, paid, c.locked, burnt, evidence)
        staked = {each.member: self.get_stake(each.member) for each in slashes}

        def then(_: LedgerCommand) -> None:
            self.round_last = c.round
            self._credit(payments)
            self.roots[c.round] = Root(
                dict(self.cumulative), self.now + self.rules.activation_delay
            )
            if c.is_final:
                self.status, self.ended_at = CLOSED, self.now
            self._after_burns(slashes, takes, staked)

        return self._try(command, gates, then)

    def _credit(self, payments: Iterable[tuple[str, int]]) -> None:
        for who, amount in payments:
            self.cumulative[who] = self.cumulative.get(who, 0) + amount
            self.paid += amount

    def verdict(self, slashes: Sequence[ChainSlash], *, has_quorum: bool) -> Errors:
        gates = self._slashable()
        if self.status in (RUNNING, STOPPED):
            gates |= self._unpaused()
        if not has_quorum:
            gates.add("NoQuorum")
        return gates or self._take(slashes)

    def _take(self, slashes: Sequence[ChainSlash]) -> Errors:
        gates = set()
        names = [(each.member, each.evidence) for each in slashes]
        if len(set(names)) < len(names) or self.evidence & set(names):
            gates.add("EvidenceUsed")
        if gates:
            return gates
        takes = self._clamp(slashes)
        staked = {each.member: self.get_stake(each.member) for each in slashes}
        marks = tuple(each.evidence.hex() for each in slashes)
        self._burn([(s.member, take) for s, take in zip(slashes, takes, strict=True)], marks)
        self._after_burns(slashes, takes, staked)
        return set()

    def convict(self, member: str, ppm: int, proof: object) -> Errors:
        gates = self._slashable()
        if member not in self.seats:
            gates.add("NotMember")
        if (member, proof) in self.proofs:
            gates.add("EvidenceUsed")
        if gates:
            return gates
        self.proofs.add((member, proof))
        staked = self.get_stake(member)
        take = -(-staked * ppm // PPM)
        self._burn([(member, take)], (f"proof-{len(self.proofs)}",))
        self._after_burn(member, take, staked)
        return set()

    def equivocate(self, member: str, round_: int, attempt: int) -> Errors:
        seat = self.seats.get(member)
        if seat is None or seat.role != VALIDATOR or not self.get_stake(member):
            return {"NotMember"} | self._slashable()
        return self.convict(member, self.rules.slash_ppm, (round_, attempt))

    def claim(self, round_: int, account: str, cumulative: int, *, is_leaf: bool) -> Errors:
        gates = self._unpaused() if self.status in (RUNNING, STOPPED) else set()
        lowest = min((each for _, each in self.held), default=0)
        if lowest and round_ >= lowest:
            gates.add("RootIsBlocked")
        root = self.roots.get(round_)
        if root is None or round_ <= self.void_up_to or self.now < root.active_at:
            gates.add("RootInactive")
        if not is_leaf:
            gates.add("BadProof")
        amount = self.compute_entitled(cumulative) - self.claimed.get(account, 0)
        if amount <= 0:
            gates.add("NothingToClaim")
        if not gates:
            self.claimed[account] = self.claimed.get(account, 0) + amount
            self.wallets[account] += amount
        return gates

    # ---- ends, guardians, arbiter

    def cancel(self) -> Errors:
        if self.status != OPEN:
            return {"WrongStatus"}
        self._end(CANCELLED, ())
        return set()

    def expire(self) -> Errors:
        if self.status not in (OPEN, RUNNING, STOPPED):
            return {"WrongStatus"}
        begin = self.ended_at if self.status == STOPPED else self.rules.ends_at
        if self.now <= begin + self.rules.grace:
            return {"TooEarly"}
        if self.status == OPEN:
            return self.cancel()
        pot = self.locked
        if not self.paid:
            self._end(EXPIRED, ())
            return set()
        # DEVIATION: the ledger knows no expiry; it is an end that shares the pot by what was paid
        shares = [(who, pot * got // self.paid) for who, got in self.cumulative.items()]
        rest = pot - sum(share for _, share in shares)
        self._end(EXPIRED, (*shares, (DUST, rest)))
        self.bonus = pot
        return set()

    def _end(self, status: int, payments: Sequence[tuple[str, int]]) -> None:
        self._must(SettleFinal(self._key(), self.task, tuple(payments)))
        self.status, self.ended_at = status, self.now

    def order(self, action: int, until: int, *, has_quorum: bool) -> Errors:
        gates: Errors = set()
        if self.status not in (RUNNING, STOPPED) or (action == 2 and self.status != RUNNING):
            gates.add("WrongStatus")
        if not has_quorum:
            gates.add("NoQuorum")
        if not gates:
            self.orders += 1
            if action == 2:
                self.status, self.ended_at = STOPPED, self.now
            else:
                self.paused_until = until
        return gates

    def hold(self, member: str, round_: int) -> Errors:
        gates: Errors = {"WrongStatus"} if self.status in (OPEN, CANCELLED) else set()
        if not round_:
            gates.add("RoundNotNext")
        if member not in self.seats:
            gates.add("NotMember")
        if len(self.held) >= 16:
            gates.add("StakeHeld")
        if not gates:
            self.held.append((member, round_))
            self.seats[member].holds += 1
        return gates

    def release(self, member: str, round_: int, *, is_disabled: bool) -> Errors:
        if (member, round_) not in self.held:
            return {"NotMember"}
        self.held.remove((member, round_))
        self.seats[member].holds -= 1
        if is_disabled:
            self.void_up_to = self.round_last
        return set()
