"""Who paid whom: the ledger's history summed into one line a pair of accounts and a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kumiai.apps.view import FlowView
from kumiai.settlement.ledger import (
    Delegate,
    Fund,
    LedgerCommand,
    Refund,
    SettleFinal,
    SettleRound,
    Stake,
)

ESCROW, BURNT = "task escrow", "burnt"


def summarise(commands: Iterable[LedgerCommand], names: Mapping[str, str]) -> tuple[FlowView, ...]:
    """Return the run's money flows; deposits and releases of stake are not part of them."""
    sums: dict[tuple[str, str, str], int] = {}

    def add(source: str, target: str, kind: str, amount: int) -> None:
        key = (names.get(source, source), names.get(target, target), kind)
        sums[key] = sums.get(key, 0) + amount

    for command in commands:
        match command:
            case Fund():
                add(command.payer, ESCROW, "fund", command.amount)
            case Refund():
                add(ESCROW, command.payer, "refund", command.amount)
            case SettleRound() | SettleFinal():
                kind = "round" if isinstance(command, SettleRound) else "final"
                for who, amount in command.payments:
                    add(ESCROW, who, kind, amount)
                for who, amount in command.burnt:
                    add(who, BURNT, "slash", amount)
            case Stake() | Delegate():
                pass
    return tuple(
        FlowView(source, target, amount, kind)
        for (source, target, kind), amount in sorted(sums.items())
        if amount
    )
