"""The worked example of AIArena's documentation comes out to the printed digits.

R_0 = 309,157.68 a day; trainers A 3000 (+1000 delegated) and B 3500; validators 3000, 6000, 3000;
g = (0.501435, 0.498565), F = (0.472768, 0.280226, 0.247006); gamma = 0, alpha = eps = 1.
"""

from decimal import ROUND_HALF_UP, Decimal

from kumiai.base.amounts import PPM
from kumiai.settlement.delegation import split_delegated_v1
from kumiai.settlement.pools import (
    compute_effective_stake,
    share_trainer_pool,
    share_validator_pool,
    split_pools,
)

UNIT = 1_000_000  # the example's coin in our smallest unit
BUDGET = 309_157_680_000


def in_coins(amount: int, digits: str) -> str:
    rounded = (Decimal(amount) / UNIT).quantize(Decimal(digits), rounding=ROUND_HALF_UP)
    return f"{rounded:,}"


def test_the_pools():
    trainer_pool, validator_pool = split_pools(BUDGET, 0, 3000 + 3500, 3000 + 6000 + 3000)
    assert in_coins(trainer_pool, "0.01") == "108,622.97"
    assert in_coins(validator_pool, "0.01") == "200,534.71"
    assert trainer_pool + validator_pool == BUDGET


def test_trainer_a_with_its_delegators():
    pool, _ = split_pools(BUDGET, 0, 6500, 12000)
    stakes = [compute_effective_stake(3000, 1000, PPM), 3500]
    (node_a, node_b), rest = share_trainer_pool(pool, [501_435, 498_565], stakes)
    assert in_coins(node_a, "0.1") == "58,087.4"
    assert node_a + node_b + rest == pool


def test_delegators_of_a_from_the_printed_reward():
    split = split_delegated_v1(58_084 * UNIT, 3000, 400_000, [1000])
    assert in_coins(split.delegators[0], "0.1") == "8,712.6"
    assert split.node + split.delegators[0] == 58_084 * UNIT


def test_validators():
    _, pool = split_pools(BUDGET, 0, 6500, 12000)
    shares, rest = share_validator_pool(pool, [472_768, 280_226, 247_006], [3000, 6000, 3000])
    assert [in_coins(share, "0.1") for share in shares] == ["74,054.4", "87,789.2", "38,691.0"]
    assert sum(shares) + rest == pool


def test_docs_version_1_validator_reward_in_correct_arithmetic():
    """1074*(1100/2450)*(600/700)*0.5*(0.9+0.1*500/600): the docs print 204.11, 203.21 is right."""
    reward = 1074 * UNIT * 1100 * 600 // (2450 * 700) // 2
    split = split_delegated_v1(reward, 500, 900_000, [100])
    assert in_coins(split.node, "0.01") == "203.21"
