"""Which width each member's model gets: from what it contributed, by the accuracies that validators
signed.

After the last round every validator measures the final model at every width of the task's grid on
its second hold-out and signs the accuracies (`curve`). The rest follows from the log, in integers:

    a_w   median over the validators, weighed by stake, in ppm
    f_w   the nearest non-decreasing values to a_w (pooling adjacent violators, means rounded down)
    A_n = f_least + (f_1 - f_least) * value_n / best value     owed, values below 0 count as 0
    width the widest of the grid that is not wider than the narrowest one to reach A_n would be

that is the rule "score" of `learning/allocation.py`, in integers. Who contributed most gets the
full model. `rank` (docs/adr/0007) needs no curve:

    width = least + (1 - least) * value / best value

and so does `aequa` where no validator signed a curve. Source and deviations: see there.

`aequa-live` uses the rule of `rank` before every round too (`compute_live_widths`): value_n is then
the sum of the certified values so far, harm counted, and who comes later starts at the least width.
Until anybody's work has counted all widths are full: the first model is the seed's, of which
nothing need be kept from anybody, and everybody is measured on the same footing. What is handed out
at the end follows from the second hold-out, as the locked pay does. Source: the variant with
rewards during training of Tastan, Horvath and Nandakumar, "Aequa: Fair Model Rewards in
Collaborative Learning via Slimmable Networks", 2025; a reconstruction, the paper's text was not
available.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kumiai.base.amounts import PPM
from kumiai.base.log import Record
from kumiai.rounds.agreement import stake_weighted_median
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.state import NodeState, RoundPhase, RunPhase, RunState
from kumiai.tasks.document import TaskDocument


def needs_curve(state: RunState) -> bool:
    """Tell whether this task's widths follow from measured accuracies."""
    assert state.task is not None
    return state.task.model_rewards.policy == "aequa" and len(state.task.model.widths_ppm) > 1


def on_curve(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A validator signs how accurate the final model is at each width of the grid."""
    current = state.round
    if (
        state.phase is not RunPhase.FINALIZING
        or current is None
        or current.phase is not RoundPhase.SCORE_REVEAL
    ):
        return refuse(
            state, "wrong-phase", "the curve is measured when the last round is certified"
        )
    validator = record.event.pubkey
    if validator not in current.committee or not needs_curve(state):
        return refuse(state, "not-asked", "this run asks its committee alone, and only for aequa")
    if validator in state.curves:
        return refuse(state, "duplicate", "opened already")
    if (content["round"], content["attempt"], content["model"]) != (
        current.index,
        current.attempt,
        state.model,
    ):
        return refuse(state, "wrong-model", "the curve of the final model is asked for")
    assert state.task is not None
    accuracies, count = content["accuracies"], len(state.task.model.widths_ppm)
    if len(accuracies) != count or not all(_is_share(value) for value in accuracies):
        return refuse(state, "bad-curve", f"{count} integers within 0..{PPM} expected")
    return Outcome(replace(state, curves={**state.curves, validator: tuple(accuracies)}))


def has_all_curves(state: RunState) -> bool:
    """Tell whether every live member of the committee has signed its curve, if one is needed."""
    if not needs_curve(state) or state.round is None:
        return True
    live = (k for k in state.round.committee if state.members[k].state is NodeState.ACTIVE)
    return all(key in state.curves for key in live)


def compute_curve(state: RunState) -> tuple[int, ...]:
    """Return the fitted accuracy at each width of the grid in ppm; () if nobody signed any."""
    validators = sorted(state.curves)
    if not validators:
        return ()
    stakes = [state.members[key].stake for key in validators]
    columns = zip(*(state.curves[key] for key in validators), strict=True)
    return fit_monotone([stake_weighted_median(list(column), stakes) for column in columns])


def fit_monotone(values: Sequence[int]) -> tuple[int, ...]:
    """Return the non-decreasing values nearest in squares, each pool's mean rounded down."""
    pools: list[tuple[int, int]] = []  # (sum, count)
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] >= pools[-1][0] * pools[-2][1]:
            (sum_b, count_b), (sum_a, count_a) = pools.pop(), pools.pop()
            pools.append((sum_a + sum_b, count_a + count_b))
    return tuple(total // count for total, count in pools for _ in range(count))


def choose_width(
    value: int, best: int, grid: Sequence[int], fitted: Sequence[int], least: int
) -> int:
    """Return the width of `grid` that a contribution of `value` earns, `best` being the largest."""
    allowed = [(width, f) for width, f in zip(grid, fitted, strict=True) if width >= least]
    if best <= 0 or value <= 0:
        return allowed[0][0]
    if value >= best:
        return grid[-1]
    low, high = allowed[0][1], fitted[-1]
    # owed = low + (high - low) * value / best, kept as a fraction over `best`
    owed = low * best + (high - low) * value
    reached = next(i for i, (_, f) in enumerate(allowed) if f * best >= owed)
    is_exact = allowed[reached][1] * best == owed
    return allowed[reached if is_exact or reached == 0 else reached - 1][0]


def share_width(value: int, best: int, grid: Sequence[int], least: int) -> int:
    """Return the widest of `grid` within least + (1 - least) * value / best, `best` the largest.

    Never less than `least`, also where it lies between two widths of the grid.
    """
    earned = least + (PPM - least) * max(0, value) // best if best > 0 else least
    allowed = [width for width in grid if width >= least]
    return max((width for width in allowed if width <= earned), default=allowed[0])


def is_live(task: TaskDocument) -> bool:
    """Tell whether members' widths differ already while they train."""
    return task.model_rewards.policy == "aequa-live"


def compute_live_widths(state: RunState, trainers: Sequence[str]) -> dict[str, int]:
    """Return the width in ppm at which each of these trainers works in the round that opens.

    Full for all unless the task asks for widths while training and somebody's work has counted. The
    log alone decides: the sums are of certified rounds, so a replayed round gets the same widths.
    """
    assert state.task is not None
    is_moved = any(tally.rounds_valid > 0 for tally in state.tallies.values())
    if not is_live(state.task) or not is_moved:
        return dict.fromkeys(trainers, PPM)
    grid = state.task.model.widths_ppm
    least = max(state.task.model_rewards.width_min_ppm, grid[0])
    values = {key: tally.balance for key, tally in state.tallies.items()}
    best = max(values.values(), default=0)
    return {key: share_width(values.get(key, 0), best, grid, least) for key in trainers}


def compute_widths(state: RunState, values: Mapping[str, int]) -> dict[str, int]:
    """Return the width in ppm that every trainer's model gets; 0 means none.

    `equal`: the full model for everybody whose work ever counted. Who was never valid but never
    caught cheating either gets the narrowest; who was caught gets none.
    """
    assert state.task is not None
    grid = state.task.model.widths_ppm
    best = max(values.values(), default=0)
    least = max(state.task.model_rewards.width_min_ppm, grid[0])
    fitted = compute_curve(state) if needs_curve(state) else ()
    widths = {}
    for key, member in state.members.items():
        if member.role != "trainer" or key in (state.canaries or ()):
            continue
        tally = state.tallies.get(key)
        was_caught = member.invalid_count > 0 and (tally is None or tally.rounds_valid == 0)
        value = max(0, values.get(key, 0))
        is_out = member.is_convicted or member.state is NodeState.EJECTED
        if tally is None or was_caught or is_out:
            widths[key] = 0
        elif state.task.model_rewards.policy == "equal" and tally.rounds_valid > 0:
            widths[key] = PPM
        elif fitted:
            widths[key] = choose_width(value, best, grid, fitted, least)
        else:
            widths[key] = share_width(value, best, grid, least)
    return widths


def _is_share(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PPM
