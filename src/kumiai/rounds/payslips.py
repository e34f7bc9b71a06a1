"""The receipts of a round and of the end: every member's numbers and the reason in words.

Built before the committee signs, so that their Merkle root is part of what it signs.
"""

from __future__ import annotations

from collections.abc import Mapping

from kumiai.rounds.receipt import Receipt, explain_assignment, make_receipt
from kumiai.rounds.rechecks import find_convicted
from kumiai.rounds.state import NodeState, RunState
from kumiai.rounds.widths import is_live
from kumiai.settlement.claims import PayLine

Money = Mapping[str, Mapping[str, str]]


def make_round_receipts(
    state: RunState, money: Money, backing: Mapping[str, int]
) -> tuple[Receipt, ...]:
    """Return the open round's receipts: trainers, committee, then whoever backed them.

    money: `show_line` by member; backing: what each delegator gets at once.
    """
    assert state.round is not None and state.task is not None
    current = state.round
    judged = {j.member: j for j in current.judgements}
    included = {member for member, _, _ in current.included}
    place = (current.index, current.attempt)
    receipts = []
    for key in current.trainers:
        assignment, judgement = current.assignments[key], judged.get(key)
        verdict, reason, detail = explain_assignment(assignment, judgement, key in included)
        receipts.append(
            make_receipt(
                state,
                key,
                *place,
                role="trainer",
                verdict=verdict,
                reason=reason,
                detail=detail,
                judgement=judgement,
                assignment=assignment,
                money=money[key],
                width_ppm=assignment.width_ppm if is_live(state.task) else 0,
            )
        )
    for key in current.committee:
        reason = "scored" if key in current.score_sheets else "silent"
        if reason == "scored" and key not in current.beacon_shares:
            reason = "no-element"
        receipts.append(
            make_receipt(
                state, key, *place, role="validator", verdict="-", reason=reason, money=money[key]
            )
        )
    receipts += _backer_receipts(state, place, backing, "backed")
    return tuple(receipts)


def make_final_receipts(  # the end gathers every strand once; splitting it would only hide that
    state: RunState,
    money: Money,
    released: Mapping[str, int],
    backing: Mapping[str, int],
    values: Mapping[str, int],
    widths: Mapping[str, int],
    burns: list[tuple[str, int, str]],
) -> tuple[Receipt, ...]:
    """Return the last receipts: who gets which part of what was locked or held, and why."""
    assert state.round is not None
    place = (state.round.index, state.round.attempt)
    slashed: dict[str, int] = {}
    for culprit, amount, _ in burns:
        slashed[culprit] = slashed.get(culprit, 0) + amount
    receipts, convicted = [], find_convicted(state.round)
    for key, member in sorted(state.members.items()):
        if member.role == "delegator":
            continue
        if member.role == "validator":
            is_whole = released.get(key, 0) == state.held.get((key, key), 0)
            reason = "final-validator" if is_whole else "final-lessened"
            if key in convicted:
                reason = "false-scores"
            if key in state.evidence:
                is_out = member.state is NodeState.EJECTED
                reason = "final-proven" if is_out else "final-refuted"
            shown = show_amount(released.get(key, 0))
        elif key in (state.canaries or ()):
            reason, shown = "canary", show_amount(0)
        else:
            reason = "final" if values.get(key, 0) > 0 else "final-none"
            reason = "final-convicted" if member.is_convicted else reason
            shown = dict(money[key])
        receipts.append(
            make_receipt(
                state,
                key,
                *place,
                role=member.role,
                verdict="-",
                reason=reason,
                money={**shown, "slashed": str(slashed.get(key, 0))},
                width_ppm=widths.get(key, 0),
            )
        )
    receipts += _backer_receipts(state, place, backing, "final-backed")
    return tuple(receipts)


def _backer_receipts(
    state: RunState, place: tuple[int, int], backing: Mapping[str, int], reason: str
) -> list[Receipt]:
    return [
        make_receipt(
            state,
            key,
            *place,
            role="delegator",
            verdict="-",
            reason=reason,
            money=show_amount(backing[key]),
        )
        for key in sorted(backing)
        if key in state.members
    ]


def show_line(line: PayLine, amount: int, locked: int) -> dict[str, str]:
    """The numbers that `amount` follows from; see docs/receipts.md for the arithmetic."""
    return {
        "pool": str(line.pool),
        "weight": str(line.weight),
        "weight_total": str(line.weight_total),
        "gross": str(line.gross),
        "gross_alone": str(line.gross_alone),
        "to_backers": str(line.delegators),
        "amount": str(amount),
        "locked": str(locked),
        "slashed": "0",
    }


def show_amount(amount: int) -> dict[str, str]:
    """Return the numbers of an amount that no pool was shared for."""
    zero = dict.fromkeys(
        ("pool", "weight", "weight_total", "gross", "gross_alone", "to_backers", "locked"), "0"
    )
    return {**zero, "amount": str(amount), "slashed": "0"}
