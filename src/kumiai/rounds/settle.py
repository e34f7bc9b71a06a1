"""From verdicts to money: the settlement rules applied to what the log says.

Trainers get 10 % of a round's reward at once and 90 % by the final ranking. Validators' reward is
held back in the same proportion until the customer has opened its probes; what a validator (and who
backs it) gets of that shrinks by the share of probes it took for good work, and by what rechecks
found (`rechecks`). Stake is burnt only at the end and only on evidence that anyone can recompute;
probes, being the customer's own, are left out of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kumiai.base import canonical
from kumiai.base.amounts import PPM, multiply_ppm
from kumiai.rounds import final
from kumiai.rounds.audits import list_wrong_auditors
from kumiai.rounds.effects import MoneyMoved
from kumiai.rounds.payslips import make_final_receipts, make_round_receipts, show_line
from kumiai.rounds.rechecks import compute_losses
from kumiai.rounds.state import AssignmentState, Payments, RunState, Tally
from kumiai.rounds.widths import compute_widths
from kumiai.settlement.claims import (
    FinalInput,
    RewardTerms,
    RoundInput,
    Trainer,
    Validator,
)
from kumiai.settlement.ledger import (
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    SettleFinal,
    SettleRound,
)
from kumiai.settlement.pools import budget_of_round
from kumiai.settlement.settle import settle_final as share_locked
from kumiai.settlement.settle import settle_round as share_round
from kumiai.settlement.slashing import Slash, compute_burns
from kumiai.settlement.validators import compute_validator_score


def settle_round(state: RunState) -> RunState:
    """Work out what the judged round pays; nothing moves before it is certified."""
    assert state.round is not None and state.task is not None
    current, rewards = state.round, state.task.rewards
    settled = share_round(
        RoundInput(
            budget=budget_of_round(rewards.budget, state.task.training.rounds, current.index),
            terms=_terms(state),
            trainers=tuple(_trainer_claim(state, key) for key in current.trainers),
            validators=tuple(_validator_claim(state, key) for key in current.committee),
        )
    )
    paid: dict[str, int] = {}
    held = dict(state.held)
    money: dict[str, Mapping[str, str]] = {}
    for line in settled.lines:
        share_ppm = 0 if line.role == "trainer" else rewards.locked_ppm
        kept = multiply_ppm(line.own, share_ppm)
        _add(paid, line.member, line.own - kept)
        _hold(held, line.member, line.member, kept)
        money[line.member] = show_line(line, line.own - kept, line.locked + kept)
    backing: dict[str, int] = {}
    committee = frozenset(current.committee)
    for item in settled.delegator_lines:
        kept = multiply_ppm(item.amount, rewards.locked_ppm if item.node in committee else 0)
        _add(paid, item.delegator, item.amount - kept)
        _add(backing, item.delegator, item.amount - kept)
        _hold(held, item.node, item.delegator, kept)
    receipts = make_round_receipts(state, money, backing)
    payments = Payments(
        command=SettleRound(
            key=f"{state.task_id}/round/{current.index}",
            task=state.task_id,
            round=current.index,
            payments=tuple((who, paid[who]) for who in sorted(paid) if paid[who]),
            locked=settled.locked + sum(held.values()) - sum(state.held.values()),
        ),
        tallies=_tally_round(state, paid),
        locked_pot=state.locked_pot + settled.locked,
        held=held,
    )
    return replace(state, round=replace(current, receipts=receipts, payments=payments))


def settle_final(state: RunState) -> RunState:
    """Work out the end: locked part by final ranking, held part by the probes, burns, widths."""
    assert state.round is not None and state.task is not None
    values = final.compute_final_values(state)
    settled = share_locked(
        FinalInput(
            locked=state.locked_pot,
            terms=_terms(state),
            trainers=tuple(
                _final_claim(state, key, values)
                for key, member in sorted(state.members.items())
                if member.role == "trainer" and key not in (state.canaries or ())
            ),
        )
    )
    paid: dict[str, int] = {}
    backing: dict[str, int] = {}
    money: dict[str, Mapping[str, str]] = {}
    for line in settled.lines:
        _add(paid, line.member, line.own)
        money[line.member] = show_line(line, line.own, 0)
    for item in settled.delegator_lines:
        _add(paid, item.delegator, item.amount)
        _add(backing, item.delegator, item.amount)
    errors = final.compute_canary_errors(state)
    losses = compute_losses(state, state.round)
    released: dict[str, int] = {}
    for (node, payee), amount in sorted(state.held.items()):
        lost_ppm = min(PPM, errors.get(node, 0) + losses.get(node, 0))
        lost_ppm = PPM if node in state.evidence else lost_ppm
        part = multiply_ppm(amount, PPM - lost_ppm)
        _add(paid, payee, part)
        _add(released if node == payee else backing, payee, part)
    burns = _compute_final_burns(state)
    widths = compute_widths(state, values)
    receipts = make_final_receipts(state, money, released, backing, values, widths, burns)
    tallies = dict(state.tallies)
    for who, amount in paid.items():
        tally = tallies.get(who, Tally())
        tallies[who] = replace(tally, earned=tally.earned + amount)
    for culprit, amount, _ in burns:
        tally = tallies.get(culprit, Tally())
        tallies[culprit] = replace(tally, slashed=tally.slashed + amount)
    payments = Payments(
        command=SettleFinal(
            key=f"{state.task_id}/final",
            task=state.task_id,
            payments=tuple((who, paid[who]) for who in sorted(paid) if paid[who]),
            burnt=tuple((member, amount) for member, amount, _ in burns),
            evidence=tuple(evidence for _, _, evidence in burns),
        ),
        tallies=tallies,
        locked_pot=0,
        held={},
        widths_ppm=widths,
    )
    return replace(state, round=replace(state.round, receipts=receipts, payments=payments))


def apply_payments(state: RunState) -> tuple[RunState, tuple[MoneyMoved, ...]]:
    """Carry out the open round's settlement, now that a quorum has signed it."""
    assert state.round is not None and state.round.payments is not None
    payments = state.round.payments
    moved = replace(
        state,
        tallies=payments.tallies,
        locked_pot=payments.locked_pot,
        held=payments.held,
        widths_ppm=payments.widths_ppm or state.widths_ppm,
    )
    effects = [MoneyMoved(payments.command)]
    if isinstance(payments.command, SettleFinal):
        effects += _releases(moved)
    return moved, tuple(effects)


def close_unfinished(state: RunState) -> tuple[MoneyMoved, ...]:
    """End a run early: verified work keeps its pay, locked parts by what is known, the rest
    returns.

    The final ranking cannot be had, so each trainer's locked part is shared by the contributions
    certified so far, and validators get what was held back.
    """
    if not state.funded:
        return ()
    values = {key: tally.value for key, tally in state.tallies.items()}
    settled = share_locked(
        FinalInput(
            locked=state.locked_pot,
            terms=_terms(state),
            trainers=tuple(
                _final_claim(state, key, values)
                for key, member in sorted(state.members.items())
                if member.role == "trainer"
            ),
        )
    )
    paid: dict[str, int] = {}
    for line in settled.lines:
        _add(paid, line.member, line.own)
    for item in settled.delegator_lines:
        _add(paid, item.delegator, item.amount)
    for (_, payee), amount in sorted(state.held.items()):
        _add(paid, payee, amount)
    command = SettleFinal(
        key=f"{state.task_id}/final",
        task=state.task_id,
        payments=tuple((who, paid[who]) for who in sorted(paid) if paid[who]),
    )
    return (MoneyMoved(command), *_releases(state))


def _releases(state: RunState) -> list[MoneyMoved]:
    """Stakes and delegations go back to their owners. The budget's rest: see `refund_command`."""
    task = state.task_id
    commands: list[MoneyMoved] = []
    for member, amount in sorted(state.stakes.items()):
        if amount:
            commands.append(MoneyMoved(ReleaseStake(f"{task}/release/{member}", task, member)))
    for delegator, node in sorted({(d.delegator, d.node) for d in state.delegations}):
        pair = canonical.sha256_hex(canonical.encode([delegator, node]))
        key = f"{task}/release/{pair}"
        commands.append(MoneyMoved(ReleaseDelegation(key, task, delegator, node)))
    return commands


def refund_command(state: RunState, escrow_rest: int) -> Refund:
    """What the closed task did not spend goes back to the customer."""
    key = f"{state.task_id}/refund"
    return Refund(key, state.task_id, state.customer, escrow_rest)


def _terms(state: RunState) -> RewardTerms:
    assert state.task is not None
    rewards = state.task.rewards
    return RewardTerms(
        gamma_ppm=rewards.gamma_ppm,
        rank_ratio_ppm=rewards.rank_ratio_ppm,
        alpha=rewards.alpha,
        delegation_weight_ppm=rewards.delegation_weight_ppm,
        locked_ppm=rewards.locked_ppm,
        slash_ppm=rewards.slash_ppm,
    )


def _backers(state: RunState, node: str) -> tuple[tuple[str, int], ...]:
    sums: dict[str, int] = {}
    for item in state.delegations:
        if item.node == node:
            _add(sums, item.delegator, item.amount)
    return tuple(sorted(sums.items()))


def _trainer_claim(state: RunState, key: str) -> Trainer:
    assert state.round is not None
    judgement = next((j for j in state.round.judgements if j.member == key), None)
    is_valid = judgement is not None and judgement.verdict is AssignmentState.VALID
    member = state.members[key]
    return Trainer(
        member=key,
        stake=member.stake,
        value=judgement.value if judgement is not None and is_valid else None,
        sigma_ppm=member.sigma_ppm,
        delegations=_backers(state, key),
    )


def _final_claim(state: RunState, key: str, values: Mapping[str, int]) -> Trainer:
    member = state.members[key]
    value = values.get(key, 0)
    return Trainer(
        member=key,
        stake=member.stake,
        value=value if value > 0 else None,
        sigma_ppm=member.sigma_ppm,
        delegations=_backers(state, key),
    )


def _validator_claim(state: RunState, key: str) -> Validator:
    assert state.round is not None and state.task is not None
    sheets = sorted(state.round.score_sheets)
    score = 0
    has_drawn = key in state.round.beacon_shares  # who withholds its element chooses the beacon
    if key in sheets and has_drawn and key not in list_wrong_auditors(state.round):
        place = sheets.index(key)
        deviations = [j.deviations[place] for j in state.round.judgements]
        distance_ppm = sum(deviations) // max(1, len(deviations))
        score = compute_validator_score(
            PPM, distance_ppm, 0, state.task.rewards.deviation_lambda_ppm
        )
    member = state.members[key]
    return Validator(
        member=key,
        stake=member.stake,
        score=score,
        sigma_ppm=member.sigma_ppm,
        delegations=_backers(state, key),
    )


def _compute_final_burns(state: RunState) -> list[tuple[str, int, str]]:
    """(member, amount, evidence) for every recomputable proof against a member that is no probe."""
    assert state.task is not None
    slashes = tuple(
        Slash(member, proof)
        for member, proofs in sorted(state.evidence.items())
        if member not in (state.canaries or ())
        for proof in proofs
    )
    burns = compute_burns(dict(state.stakes), slashes, state.task.rewards.slash_ppm)
    return [(burn.member, burn.amount, burn.evidence) for burn in burns if burn.amount]


def _tally_round(state: RunState, paid: Mapping[str, int]) -> dict[str, Tally]:
    assert state.round is not None
    tallies = dict(state.tallies)
    judged = {j.member: j for j in state.round.judgements}
    included = {member for member, _, _ in state.round.included}
    for key, assignment in state.round.assignments.items():
        tally, judgement = tallies.get(key, Tally()), judged.get(key)
        is_valid = judgement is not None and judgement.verdict is AssignmentState.VALID
        is_invalid = judgement is not None and judgement.verdict is AssignmentState.INVALID
        tallies[key] = replace(
            tally,
            value=tally.value + (judgement.value if judgement is not None and is_valid else 0),
            balance=tally.balance + (judgement.value if judgement is not None else 0),
            error_squared=tally.error_squared
            + (judgement.error**2 if judgement is not None and is_valid else 0),
            rounds_judged=tally.rounds_judged + (judgement is not None),
            rounds_valid=tally.rounds_valid + is_valid,
            rounds_invalid=tally.rounds_invalid + is_invalid,
            samples=tally.samples + assignment.samples,
            flop=tally.flop + assignment.flop,
            bytes_sent=tally.bytes_sent + assignment.size_bytes,
            round_included=state.round.index if key in included else tally.round_included,
        )
    for who, amount in paid.items():
        tally = tallies.get(who, Tally())
        tallies[who] = replace(tally, earned=tally.earned + amount)
    return tallies


def _add(sums: dict[str, int], who: str, amount: int) -> None:
    sums[who] = sums.get(who, 0) + amount


def _hold(held: dict[tuple[str, str], int], node: str, payee: str, amount: int) -> None:
    if amount:
        held[node, payee] = held.get((node, payee), 0) + amount
