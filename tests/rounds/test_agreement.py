"""Combining scores: against a naive twin, and the attack that breaks the weighted mean."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kumiai.proofs import flags as flag
from kumiai.rounds.agreement import judge, stake_weighted_mean, stake_weighted_median
from kumiai.rounds.state import AssignmentState, ScoreSheet

values_and_weights = st.lists(
    st.tuples(st.integers(-(10**9), 10**9), st.integers(1, 50)), min_size=1, max_size=12
)


@given(values_and_weights)
def test_weighted_median_equals_the_median_of_repeated_values(pairs: list[tuple[int, int]]) -> None:
    """The dumb twin: write each value down as often as its weight says, take the middle."""
    values, weights = zip(*pairs, strict=True)
    repeated = sorted(v for v, w in pairs for _ in range(w))
    middle = len(repeated) // 2
    expected = (
        repeated[middle] if len(repeated) % 2 else (repeated[middle - 1] + repeated[middle]) // 2
    )
    assert stake_weighted_median(values, weights) == expected


@given(values_and_weights, st.randoms())
def test_weighted_median_does_not_depend_on_order(
    pairs: list[tuple[int, int]], rng: random.Random
) -> None:
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    assert stake_weighted_median(*zip(*pairs, strict=True)) == stake_weighted_median(
        *zip(*shuffled, strict=True)
    )


def test_a_third_of_the_stake_moves_the_mean_but_not_the_median() -> None:
    """The weighted mean ranks the worst model first under 31 % collusion; the median does not."""
    honest, colluding = [69], [31]
    truth, lie = [10_000, 9_000, -5_000], [-2_000_000, -2_000_000, 2_000_000]
    weights = honest + colluding
    means = [stake_weighted_mean([t, x], weights) for t, x in zip(truth, lie, strict=True)]
    medians = [stake_weighted_median([t, x], weights) for t, x in zip(truth, lie, strict=True)]
    assert means.index(max(means)) == 2
    assert medians == truth


@given(st.lists(st.integers(-(10**6), 10**6), min_size=4, max_size=4), st.integers(-(10**9), 10**9))
def test_one_liar_in_four_stays_inside_the_honest_range(honest: list[int], lie: int) -> None:
    sheets = [_sheet(f"v{i}", [(value, 0, value, 0, -1)]) for i, value in enumerate(honest[:3])]
    sheets.append(_sheet("v3", [(lie, 0, lie, 0, -1)]))
    (judged,) = judge(["m"], sheets, {f"v{i}": 100 for i in range(4)}, 10**12, {})
    assert min(honest[:3]) <= judged.value <= max(honest[:3])


def test_flags_need_a_majority_of_stake() -> None:
    line, flagged = (500, 0, 0, 0, -1), (500, 0, 0, flag.NO_WORK, -1)
    stakes = {"a": 100, "b": 100, "c": 199, "d": 1}
    (few,) = judge(
        ["m"], [_sheet(v, [flagged if v in "ab" else line]) for v in "abcd"], stakes, 2_000, {}
    )
    (many,) = judge(
        ["m"], [_sheet(v, [flagged if v in "abd" else line]) for v in "abcd"], stakes, 2_000, {}
    )
    assert few.verdict is AssignmentState.VALID
    assert (many.verdict, many.reason) == (AssignmentState.INVALID, "no-work")


def test_a_copy_names_its_original_and_shares_its_group() -> None:
    sheets = [
        _sheet(v, [(900, 0, 0, 0, -1), (0, 0, 0, flag.DUPLICATE, 0)]) for v in ("a", "b", "c")
    ]
    first, second = judge(["alice", "mallory"], sheets, dict.fromkeys("abc", 10), 2_000, {})
    assert first.verdict is AssignmentState.VALID
    assert (second.reason, second.detail, second.group) == ("copy", "alice", first.group)


def test_harm_is_a_matter_of_the_balance_too() -> None:
    sheets = [_sheet(v, [(-5_000, 100, 0, 0, -1)]) for v in ("a", "b", "c")]
    stakes = dict.fromkeys("abc", 10)
    (new,) = judge(["m"], sheets, stakes, 2_000, {})
    (proven,) = judge(["m"], sheets, stakes, 2_000, {"m": 50_000})
    (repeat,) = judge(["m"], sheets, stakes, 2_000, {"m": -50_000})
    assert new.reason == repeat.reason == "harmful"
    assert (proven.verdict, proven.reason) == (AssignmentState.INCONCLUSIVE, "no-gain")


def test_harm_done_is_made_good_before_anything_is_paid() -> None:
    sheets = [_sheet(v, [(5_000, 100, 0, 0, -1)]) for v in ("a", "b", "c")]
    stakes = dict.fromkeys("abc", 10)
    (debtor,) = judge(["m"], sheets, stakes, 2_000, {"m": -50_000})
    (clear,) = judge(["m"], sheets, stakes, 2_000, {"m": -4_000})
    assert debtor.verdict is AssignmentState.INCONCLUSIVE
    assert clear.verdict is AssignmentState.VALID


def _sheet(validator: str, lines: list[tuple[int, int, int, int, int]]) -> ScoreSheet:
    return ScoreSheet(validator, tuple(lines), 0, 0, "")
