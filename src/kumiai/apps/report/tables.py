"""The rows of the page's tables, sorted and grouped the way people read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kumiai.apps.report.charts import sum_flows
from kumiai.apps.view import FlowView, MemberView, ReceiptView, RunView

ROLE_ORDER = ("trainer", "validator", "delegator", "customer", "canary")
VERDICT_ORDER = ("VALID", "INCONCLUSIVE", "-", "INVALID")
SYMBOLS = {"VALID": "✓", "INVALID": "✕", "INCONCLUSIVE": "?", "LATE": "◷", "NO_REPLY": "∅"}
ROUNDS_WITH_VALUES_MAX = 12  # more columns leave no room for numbers in the cells
FLOWS_MAX = 300
RECEIPTS_MAX = 3_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One member in one round: the verdict, its symbol, its contribution (None if not scored)."""

    round: int
    verdict: str
    symbol: str
    value_ppm: int | None
    width_ppm: int = 0  # it was given for the round; 0 where the task gives all the full one


@dataclass(frozen=True, slots=True)
class Tables:
    """What the template loops over. `*_left_out` count the rows that did not fit on a page."""

    groups: tuple[tuple[str, tuple[MemberView, ...]], ...]
    matrix: tuple[tuple[MemberView, tuple[Cell, ...]], ...]
    has_values: bool
    flows: tuple[FlowView, ...]
    flows_left_out: int
    receipts: tuple[tuple[MemberView, tuple[ReceiptView, ...]], ...]
    receipts_left_out: int
    workers: tuple[MemberView, ...]
    bytes_most: int
    flop_most: int
    has_epsilon: bool


def build_tables(view: RunView) -> Tables:
    """Sort and group everything once."""
    members = sort_members(view.members)
    flows = sort_flows(sum_flows(view.flows), members)
    receipts, left_out = _receipts(view, members)
    workers = tuple(member for member in members if member.bytes_sent or member.flop)
    return Tables(
        groups=tuple(
            (role, group)
            for role in ROLE_ORDER
            if (group := tuple(member for member in members if member.role == role))
        ),
        matrix=_matrix(view, members),
        has_values=len(view.rounds) <= ROUNDS_WITH_VALUES_MAX,
        flows=tuple(flows[:FLOWS_MAX]),
        flows_left_out=max(0, len(flows) - FLOWS_MAX),
        receipts=receipts,
        receipts_left_out=left_out,
        workers=workers,
        bytes_most=max((member.bytes_sent for member in workers), default=0),
        flop_most=max((member.flop for member in workers), default=0),
        has_epsilon=any(member.epsilon_milli for member in workers),
    )


def sort_members(members: Iterable[MemberView]) -> list[MemberView]:
    """By role, then the accepted before the refused, then by contribution, reward and name."""
    return sorted(
        members,
        key=lambda member: (
            ROLE_ORDER.index(member.role),
            VERDICT_ORDER.index(member.verdict),
            -member.contribution_ppm,
            -member.reward,
            member.name,
        ),
    )


def sort_flows(flows: Iterable[FlowView], members: list[MemberView]) -> list[FlowView]:
    """What came in, what each member got in the order of the table, what went back, what burnt."""
    place = {member.name: index for index, member in enumerate(members)}
    stages = {"fund": 0, "refund": 2, "slash": 3}
    return sorted(
        flows,
        key=lambda flow: (
            stages.get(flow.kind, 1),
            place.get(flow.target, -1),
            flow.kind != "round",
        ),
    )


def _matrix(
    view: RunView, members: list[MemberView]
) -> tuple[tuple[MemberView, tuple[Cell, ...]], ...]:
    rows = []
    for member in members:
        if not member.round_verdicts:
            continue
        cells = []
        for position, row in enumerate(view.rounds):
            given = member.round_verdicts
            verdict = given[position] if position < len(given) else "-"
            widths = member.round_widths_ppm
            cells.append(
                Cell(
                    row.round,
                    verdict,
                    SYMBOLS.get(verdict, "·"),
                    row.values.get(member.name),
                    widths[position] if position < len(widths) else 0,
                )
            )
        rows.append((member, tuple(cells)))
    return tuple(rows)


def _receipts(
    view: RunView, members: list[MemberView]
) -> tuple[tuple[tuple[MemberView, tuple[ReceiptView, ...]], ...], int]:
    """Each member's receipts in order, the final one (round 0) last; whole members only."""
    by_name: dict[str, list[ReceiptView]] = {}
    for receipt in view.receipts:
        by_name.setdefault(receipt.member, []).append(receipt)
    shown, count = [], 0
    for member in members:
        mine = by_name.get(member.name, [])
        if not mine or count + len(mine) > RECEIPTS_MAX:
            continue
        count += len(mine)
        shown.append((member, tuple(sorted(mine, key=lambda row: (row.round == 0, row.round)))))
    return tuple(shown), len(view.receipts) - count
