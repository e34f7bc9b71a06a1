"""Random rounds: small numbers (many ties, much rounding) beside amounts in wei."""

from dataclasses import replace

from hypothesis import strategies as st

from kumiai.base.amounts import PPM
from kumiai.settlement.claims import RewardTerms, RoundInput, Trainer, Validator
from kumiai.settlement.slashing import Slash

AMOUNTS = st.integers(0, 5) | st.integers(0, 1000) | st.integers(0, 10**24)
STAKES = st.integers(0, 3) | st.integers(1, 500) | st.integers(1, 10**24)
SHARES_PPM = st.sampled_from([0, 1, 333_333, 500_000, 900_000, PPM]) | st.integers(0, PPM)
VALUES = st.none() | st.integers(-2, 6) | st.integers(-(10**6), 10**6)
DELEGATIONS = st.lists(STAKES, max_size=3).map(
    lambda amounts: tuple((f"d{index}", amount) for index, amount in enumerate(amounts))
)


def terms(rules=("rank", "ordinal", "value")):
    return st.builds(
        RewardTerms,
        gamma_ppm=st.integers(0, PPM // 2),
        rank_ratio_ppm=st.sampled_from([PPM, PPM + 1, 1_500_000, 4_000_000, 10**9]),
        alpha=st.integers(1, 3),
        delegation_weight_ppm=SHARES_PPM,
        locked_ppm=SHARES_PPM,
        slash_ppm=SHARES_PPM,
        rule=st.sampled_from(rules),
    )


def trainer_lists(min_size=0):
    one = st.builds(
        Trainer,
        member=st.just("t"),
        stake=STAKES,
        value=VALUES,
        tie_group=st.sampled_from(["", "", "", "x", "y"]),
        sigma_ppm=SHARES_PPM,
        delegations=DELEGATIONS,
    )
    return st.lists(one, min_size=min_size, max_size=6).map(lambda seats: _named("t", seats))


def validator_lists(min_size=0):
    one = st.builds(
        Validator,
        member=st.just("v"),
        stake=STAKES,
        score=st.integers(0, 3) | st.integers(0, 10**18),
        sigma_ppm=SHARES_PPM,
        delegations=DELEGATIONS,
    )
    return st.lists(one, min_size=min_size, max_size=4).map(lambda seats: _named("v", seats))


@st.composite
def rounds(draw, min_trainers=0, min_validators=0, rules=("rank", "ordinal", "value")):
    trainers = draw(trainer_lists(min_trainers))
    validators = draw(validator_lists(min_validators))
    members = [seat.member for seat in trainers + validators]
    slashes = ()
    if members:
        slash = st.builds(Slash, st.sampled_from(members), st.sampled_from(["e1", "e2", "e3"]))
        slashes = tuple(draw(st.lists(slash, max_size=4)))
    return RoundInput(draw(AMOUNTS), draw(terms(rules)), trainers, validators, slashes)


def _named(letter, seats):
    return tuple(replace(seat, member=f"{letter}{index}") for index, seat in enumerate(seats))
