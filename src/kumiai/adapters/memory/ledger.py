"""The ledger in memory: the twin of the durable one, both led by the same pure `plan`."""

from __future__ import annotations

from dataclasses import dataclass

from kumiai.base.errors import Reject
from kumiai.settlement.ledger import LedgerCommand, LedgerRejectError, Posting, plan


@dataclass(frozen=True, slots=True)
class Applied:
    """One command that took effect, and the postings it made (ordered by account)."""

    command: LedgerCommand
    postings: tuple[Posting, ...]


class MemoryLedger:
    """LedgerPort without a disk."""

    def __init__(self) -> None:
        self._balances: dict[str, int] = {}
        self._marks: dict[str, str] = {}
        self._history: list[Applied] = []

    def apply(self, command: LedgerCommand) -> None:
        """Carry out `command` wholly; a key seen before with the same content changes nothing.

        Raises LedgerRejectError, with the numbers, where the rules forbid it.
        """
        entry = plan(command, self.balance, self._marks.get)
        if isinstance(entry, Reject):
            raise LedgerRejectError(entry)
        if not entry.marks:
            return
        for posting in entry.postings:
            self._balances[posting.account] = self.balance(posting.account) + posting.amount
        self._marks.update(entry.marks)
        self._history.append(Applied(command, entry.postings))

    def balance(self, account: str) -> int:
        """Return what `account` holds; 0 for one never heard of. Names: `settlement.accounts`."""
        return self._balances.get(account, 0)

    def accounts(self) -> dict[str, int]:
        """Return every account that does not stand at zero, ordered by name."""
        return {name: amount for name, amount in sorted(self._balances.items()) if amount}

    def history(self) -> tuple[Applied, ...]:
        """Return what took effect, oldest first."""
        return tuple(self._history)

    def marks(self) -> dict[str, str]:
        """Return what may happen only once and has: keys, rounds, ends, evidence."""
        return dict(self._marks)
