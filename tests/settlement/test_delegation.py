import pytest

from kumiai.base.amounts import PPM
from kumiai.settlement.delegation import split_delegated, split_delegated_v1
from kumiai.settlement.slashing import Burn, Slash, compute_burns


def test_v2_1_shares_only_what_delegation_added():
    split = split_delegated(1000, 600, 250_000, [30, 10])
    assert split.delegators == (225, 75)  # (1 - 0.25) * 400, three to one
    assert split.node == 700


def test_v1_can_leave_a_node_with_less_than_it_had_alone_and_v2_1_cannot():
    # alone 500; a delegator with as much stake adds only 100
    assert split_delegated_v1(600, 10, 0, [10]).node == 300
    assert split_delegated(600, 500, 0, [10]).node == 500


def test_rounding_stays_with_the_node():
    split = split_delegated(11, 1, 0, [1, 1, 1])
    assert split.delegators == (3, 3, 3)
    assert split.node == 2


def test_nobody_delegated_everything_is_the_nodes():
    assert split_delegated(10, 10, 0, []).node == 10
    assert split_delegated_v1(10, 0, 0, []).node == 10
    assert split_delegated(10, 5, 0, [0]).node == 10


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="alone"):
        split_delegated(10, 11, 0, [])
    with pytest.raises(ValueError, match="sigma"):
        split_delegated(10, 1, PPM + 1, [1])


# --- slashing ---


def test_a_slash_burns_a_part_of_own_stake_rounded_up():
    assert compute_burns({"m": 1005}, [Slash("m", "e")], 100_000) == (Burn("m", "e", 101),)


def test_one_piece_of_evidence_burns_once():
    stakes = {"m": 1000}
    once = compute_burns(stakes, [Slash("m", "e")], 100_000)
    assert compute_burns(stakes, [Slash("m", "e"), Slash("m", "e")], 100_000) == once
    assert compute_burns(stakes, [Slash("m", "e")], 100_000, frozenset({Slash("m", "e")})) == ()


def test_burns_never_exceed_the_stake():
    slashes = [Slash("m", f"e{index}") for index in range(5)]
    burns = compute_burns({"m": 10}, slashes, 300_000)
    assert [burn.amount for burn in burns] == [3, 3, 3, 1, 0]


def test_splitting_a_stake_does_not_make_cheating_cheaper():
    whole = compute_burns({"m": 15}, [Slash("m", "e")], 100_000)
    parts = compute_burns({"a": 7, "b": 8}, [Slash("a", "e"), Slash("b", "e")], 100_000)
    assert sum(burn.amount for burn in parts) >= whole[0].amount


def test_an_unknown_member_or_share_is_refused():
    with pytest.raises(ValueError, match="no stake"):
        compute_burns({}, [Slash("m", "e")], 0)
    with pytest.raises(ValueError, match="slash"):
        compute_burns({}, [], PPM + 1)
