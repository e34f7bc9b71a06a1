"""Many tasks, one after the other: who staked, who earned, who was backed, in every world.

A season is one task in each of K places; people stay in their place, so the places are independent
of each other and each is one observation. Between seasons the profit is partly staked again and
delegators that chase yield move. Deviators neither grow nor shrink: they keep their stake's size
relative to the others', so that every season asks the same question again.

Profit of a seat = pay - work - taking part - stake bound elsewhere (capital) - burnt stake, and a
poisoner's bribe. It is told in mean pays of its role in a round (`People` has the reference).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.sim.economy.conduct import (
    WORKING_SCORES,
    WORLDS,
    Conduct,
    World,
    seat_trainers,
    seat_validators,
    set_effort,
)
from kumiai.adapters.sim.economy.parameters import Parameters
from kumiai.adapters.sim.economy.people import (
    STAKE_MIN,
    Luck,
    People,
    compute_reference_pays,
    count_reserved,
    draw_luck,
    draw_people,
)
from kumiai.adapters.sim.economy.rules import check_sizes, sum_by_node
from kumiai.adapters.sim.economy.season import Books, Cast, RoundLuck, Season

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TOP_NODES = 3  # among which a delegator that chases yield picks


@dataclass(slots=True)
class Wealth:
    """What W worlds' people hold: stakes and loans [W, K, seat], and whom delegators back."""

    trainers: Ints
    validators: Ints
    loans: Ints
    nodes: Ints


@dataclass(frozen=True, slots=True)
class Played:
    """One seed: S seasons of K places in W worlds; profits in mean pays of a round.

    honest_SWK, deviating_SWK: what the deviators of world w earned in world 0, and in their own.
    """

    honest_SWK: Floats
    deviating_SWK: Floats
    by_conduct: dict[str, float]
    loss_T: Floats  # world 0, every round of all seasons, nat above the floor
    loss_W: Floats  # at the seasons' end, by world
    stake_gini_S: Floats
    income_gini_S: Floats
    valid_share: float  # of honest trainers' rounds
    closeness: float  # mean F of honest validators
    is_balanced: bool  # every unit of every budget is somewhere


def play_seed(
    parameters: Parameters,
    tasks: int,
    seasons: int,
    seed: int,
    worlds: tuple[World, ...] = WORLDS,
) -> Played:
    """Play one seed; `worlds` begins with the honest one. InputError: see `rules.check_sizes`."""
    people = draw_people(parameters, tasks, seed)
    wealth = _start(people, len(worlds))
    found: list[tuple[Floats, Floats]] = []
    totals: dict[str, list[float]] = {}
    losses, ends, ginis, notes = [], [], [], []
    for index in range(seasons):
        luck = draw_luck(parameters, tasks, seed, index)
        cast = _cast(people, wealth, worlds, parameters)
        _check_cast(cast, parameters)
        season = Season(cast, parameters)
        for number in range(parameters.task_rounds):
            season.play_round(number + 1, _spread(luck, number, len(worlds)))
        books = season.settle(np.tile(luck.recheck_KV, (len(worlds), 1)))
        profits = _compute_profits(cast, books, people, parameters, len(worlds))
        found.append(_compare(profits, worlds, parameters))
        _collect(totals, cast, profits, tasks)
        loss_RWK = _to_loss(books.progress_RB, parameters, len(worlds))
        losses.append(loss_RWK[:, 0].mean(axis=1))
        ends.append(loss_RWK[-1].mean(axis=1))
        ginis.append(_measure_inequality(wealth, books, len(worlds), parameters))
        notes.append(_check(season, cast, books, parameters, tasks))
        _reinvest(wealth, books, profits, people, parameters)
        _move_delegators(wealth, books, cast, people, worlds, parameters, (seed, index))
    pays = compute_reference_pays(parameters)
    return Played(
        honest_SWK=np.stack([honest for honest, _ in found]),
        deviating_SWK=np.stack([deviating for _, deviating in found]),
        by_conduct={name: float(np.mean(values)) / pays[0] for name, values in totals.items()},
        loss_T=np.concatenate(losses) / 1e6,
        loss_W=np.mean(ends, axis=0) / 1e6,
        stake_gini_S=np.array([gini[0] for gini in ginis]),
        income_gini_S=np.array([gini[1] for gini in ginis]),
        valid_share=float(np.mean([note[0] for note in notes])),
        closeness=float(np.mean([note[1] for note in notes])),
        is_balanced=all(note[2] for note in notes),
    )


def _start(people: People, worlds: int) -> Wealth:
    def copies(amounts: Ints) -> Ints:
        return np.repeat(amounts[None], worlds, axis=0)

    return Wealth(
        copies(people.trainer_stakes_KN),
        copies(people.validator_stakes_KV),
        copies(people.wealth_KD),
        copies(people.nodes_KD),
    )


def _cast(
    people: People, wealth: Wealth, worlds: tuple[World, ...], parameters: Parameters
) -> Cast:
    """Who does what with which stake, worlds and places in one axis."""
    conduct = np.stack([seat_trainers(w, people.mix_KN, parameters) for w in worlds])
    scoring = np.stack([seat_validators(w, people.scoring_KV, parameters) for w in worlds])
    stakes = wealth.trainers.copy()
    ability = np.repeat(people.ability_KN[None], len(worlds), axis=0)
    size = np.ones(conduct.shape)
    spare = parameters.trainers + parameters.canaries
    ability[:, :, spare:] = people.ability_KN[None, :, :1]
    names = parameters.sybils
    for place, world in enumerate(worlds):
        if world.splits:
            part = stakes[place, :, 0] // names
            stakes[place, :, spare:] = part[:, None]
            stakes[place, :, 0] -= (names - 1) * part
            if not world.copies_itself:
                size[place, :, 0] = size[place, :, spare:].T[0] = 1 / names
                size[place, :, spare:] = 1 / names
        if world.is_whale:
            stakes[place, :, 0] = np.rint(stakes[place, :, 0] * parameters.whale)
    stakes[conduct == Conduct.EMPTY] = 0
    probes = conduct == Conduct.PROBE
    stakes[probes] = STAKE_MIN
    friend_N = np.zeros(conduct.shape[-1], dtype=bool)
    friend_N[: parameters.friends] = True
    flat = conduct.reshape(-1, conduct.shape[-1])
    return Cast(
        conduct_BN=flat,
        scoring_BV=scoring.reshape(-1, parameters.validators),
        trainer_stakes_BN=stakes.reshape(flat.shape),
        validator_stakes_BV=wealth.validators.reshape(-1, parameters.validators),
        lent_BD=wealth.loans.reshape(len(flat), parameters.delegators),
        nodes_BD=wealth.nodes.reshape(len(flat), parameters.delegators),
        ability_BN=ability.reshape(flat.shape),
        effort_BN=set_effort(flat, parameters),
        size_BN=size.reshape(flat.shape),
        victims_BN=np.tile(people.victims_KN, (len(worlds), 1)),
        friend_N=friend_N,
    )


def _check_cast(cast: Cast, parameters: Parameters) -> None:
    """Refuse stakes too large for the rules' integers; they also grow from season to season."""
    stakes_BM = np.concatenate([cast.trainer_stakes_BN, cast.validator_stakes_BV], axis=1)
    lent_BM = sum_by_node(cast.lent_BD, cast.nodes_BD, stakes_BM.shape[1])
    check_sizes(
        stakes_BM.astype(np.float64) + lent_BM,
        cast.lent_BD.astype(np.float64),
        parameters,
    )


def _spread(luck: Luck, number: int, worlds: int) -> RoundLuck:
    """The same luck in every world."""
    return RoundLuck(
        np.tile(luck.member_RKN[number], (worlds, 1)),
        np.tile(luck.bytes_RKN[number], (worlds, 1)),
        np.tile(luck.audit_RKN[number], (worlds, 1)),
        np.tile(luck.score_RVKN[number], (1, worlds, 1)),
        np.tile(luck.final_RVKN[number], (1, worlds, 1)),
    )


def _compute_profits(
    cast: Cast, books: Books, people: People, parameters: Parameters, worlds: int
) -> tuple[Floats, Floats, Floats]:
    """Profits of a season by seat, in units: trainers, validators, delegators [W, K, seat]."""
    trainer_pay, validator_pay = compute_reference_pays(parameters)
    rounds = parameters.task_rounds
    work_BN = np.tile(people.work_KN, (worlds, 1)) * cast.effort_BN * cast.size_BN
    spare = parameters.trainers + parameters.canaries
    work_BN[:, spare:] = (work_BN[:, :1] / np.maximum(cast.size_BN[:, :1], 1e-9)) * (
        cast.effort_BN[:, spare:] * cast.size_BN[:, spare:]
    )
    cost_BN = trainer_pay * (parameters.cost_base + parameters.cost * work_BN) * books.present_BN
    trainers_BN = (
        books.trainers_BN
        - cost_BN
        - books.burns_BN
        - parameters.capital * rounds * cast.trainer_stakes_BN
        + parameters.bribe * trainer_pay * books.poisoned_BN
    )
    scores_BV = np.isin(cast.scoring_BV, WORKING_SCORES)
    cost_BV = validator_pay * rounds * (parameters.cost_base + parameters.cost_score * scores_BV)
    validators_BV = (
        books.validators_BV
        - cost_BV
        - books.validator_burns_BV
        - parameters.capital * rounds * cast.validator_stakes_BV
    )
    delegators_BD = books.delegators_BD - parameters.capital * rounds * cast.lent_BD
    shape = (worlds, len(people.mix_KN), -1)
    return (
        trainers_BN.reshape(shape),
        validators_BV.reshape(shape),
        delegators_BD.reshape(*shape[:2], parameters.delegators),
    )


def _compare(
    profits: tuple[Floats, Floats, Floats], worlds: tuple[World, ...], parameters: Parameters
) -> tuple[Floats, Floats]:
    """Deviators' profit a round in world 0 and in their own world, in mean pays: [W, K] each."""
    pays = compute_reference_pays(parameters)
    trainers, validators, delegators = profits
    honest, deviating = [], []
    spare = parameters.trainers + parameters.canaries
    colluders = parameters.count_colluders()
    for place, world in enumerate(worlds):
        for kept, w in ((honest, 0), (deviating, place)):
            if world.role == "validator":
                profit = validators[w, :, 0] / pays[1]
            elif world.role == "delegator":
                profit = delegators[w, :, 0] / pays[0] if delegators.shape[-1] else np.zeros(1)
            elif world.role == "group":
                profit = trainers[w, :, : parameters.friends].sum(axis=1)
                profit = profit + validators[w, :, :colluders].sum(axis=1)
                profit = profit / (pays[0] * (parameters.friends + colluders))
            else:
                profit = (trainers[w, :, 0] + trainers[w, :, spare:].sum(axis=1)) / pays[0]
            kept.append(np.broadcast_to(profit, trainers.shape[1:2]) / parameters.task_rounds)
    return np.stack(honest), np.stack(deviating)


def _collect(
    totals: dict[str, list[float]], cast: Cast, profits: tuple[Floats, Floats, Floats], tasks: int
) -> None:
    """Mean profit a season of everybody in world 0, by what they do."""
    trainers_KN, validators_KV, delegators_KD = (profit[0] for profit in profits)
    conduct_KN, scoring_KV = cast.conduct_BN[:tasks], cast.scoring_BV[:tasks]
    for kind in Conduct:
        chosen = trainers_KN[conduct_KN == kind]
        if len(chosen) and kind not in (Conduct.PROBE, Conduct.EMPTY):
            totals.setdefault(kind.name.lower(), []).append(float(chosen.mean()))
    for name, chosen in (
        ("validator", validators_KV[scoring_KV == 0]),
        ("lazy_validator", validators_KV[scoring_KV != 0]),
        ("delegator", delegators_KD),
    ):
        if chosen.size:
            totals.setdefault(name, []).append(float(chosen.mean()))


def _to_loss(progress_RB: Floats, parameters: Parameters, worlds: int) -> Floats:
    loss = parameters.gain * (1 + progress_RB) ** -parameters.decay
    shaped: Floats = loss.reshape(len(loss), worlds, -1)
    return shaped


def compute_gini(amounts: Floats | Ints) -> float:
    """Half the mean difference of two people, over the mean; 0 equal, 1 one has all."""
    ordered = np.sort(np.maximum(amounts, 0).astype(np.float64).ravel())
    total = ordered.sum()
    if total <= 0:
        return 0.0
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * ranks - len(ordered) - 1) @ ordered / (len(ordered) * total))


def _measure_inequality(
    wealth: Wealth, books: Books, worlds: int, parameters: Parameters
) -> tuple[float, float]:
    """Gini of all stake and loans, and of all income, in world 0."""
    seats = slice(0, parameters.trainers)
    stakes = [wealth.trainers[0, :, seats], wealth.validators[0], wealth.loans[0]]
    tasks = len(books.refund_B) // worlds
    incomes = [
        books.trainers_BN[:tasks, seats],
        books.validators_BV[:tasks],
        books.delegators_BD[:tasks],
    ]
    return (
        compute_gini(np.concatenate([part.ravel() for part in stakes])),
        compute_gini(np.concatenate([part.ravel() for part in incomes])),
    )


def _check(
    season: Season, cast: Cast, books: Books, parameters: Parameters, tasks: int
) -> tuple[float, float, bool]:
    """(share of honest rounds that counted, honest validators' F, every unit is somewhere)."""
    honest_KN = cast.conduct_BN[:tasks] == Conduct.HONEST
    rounds = parameters.task_rounds
    valid = float(books.valid_BN[:tasks][honest_KN].mean()) / rounds
    honest_KV = cast.scoring_BV[:tasks] == 0
    closeness = float(season.closeness_sum_BV[:tasks][honest_KV].mean()) / rounds
    paid_B = books.trainers_BN.sum(axis=1) + books.validators_BV.sum(axis=1)
    paid_B += books.delegators_BD.sum(axis=1) + books.refund_B
    return valid, closeness, bool((paid_B == parameters.budget * rounds).all())


def _reinvest(
    wealth: Wealth,
    books: Books,
    profits: tuple[Floats, Floats, Floats],
    people: People,
    parameters: Parameters,
) -> None:
    """Stake part of the profit again; a loss and burnt stake are gone whole."""
    shape = wealth.trainers.shape
    burns = books.burns_BN.reshape(shape)
    validator_burns = books.validator_burns_BV.reshape(wealth.validators.shape)
    nothing = np.zeros(1, dtype=np.int64)
    for stakes, profit, burnt, least in (
        (wealth.trainers, profits[0], burns, STAKE_MIN),
        (wealth.validators, profits[1], validator_burns, STAKE_MIN),
        (wealth.loans, profits[2], nothing, 0),
    ):
        earned = profit + burnt  # burns are in the profit already
        change = np.where(earned > 0, parameters.reinvest * earned, earned)
        stakes[:] = np.maximum(least, np.rint(stakes - burnt + change)).astype(np.int64)
    trainers, validators = count_reserved(parameters)
    _follow(wealth.trainers, people.trainer_stakes_KN, trainers, parameters.trainers)
    _follow(wealth.validators, people.validator_stakes_KV, validators, parameters.validators)
    if parameters.delegators > 1:
        _follow(wealth.loans, people.wealth_KD, 1, parameters.delegators)


def _follow(stakes: Ints, first: Ints, reserved: int, seats: int) -> None:
    """Deviators' stakes grow as the mean of the others in their place."""
    others = slice(reserved, seats)
    if reserved >= seats:
        return
    growth = stakes[:, :, others].mean(axis=-1) / np.maximum(first[:, others].mean(axis=-1), 1)
    stakes[:, :, :reserved] = np.rint(first[None, :, :reserved] * growth[..., None])


def _move_delegators(
    wealth: Wealth,
    books: Books,
    cast: Cast,
    people: People,
    worlds: tuple[World, ...],
    parameters: Parameters,
    seed: tuple[int, int],
) -> None:
    """Delegators that chase yield back one of the nodes that paid its backers best."""
    if not parameters.delegators:
        return
    node_count = cast.conduct_BN.shape[1] + parameters.validators
    rows = np.arange(len(cast.nodes_BD))[:, None] * node_count
    index = (rows + cast.nodes_BD).ravel()
    size = len(cast.nodes_BD) * node_count
    earned = np.bincount(index, weights=books.delegators_BD.ravel(), minlength=size)
    lent = np.bincount(index, weights=cast.lent_BD.ravel(), minlength=size)
    yields_BM = (earned / np.maximum(lent, 1)).reshape(-1, node_count)
    best_BX = np.argsort(-yields_BM, axis=1, kind="stable")[:, :TOP_NODES]
    picks_KD = np.random.default_rng([seed[0], 2, seed[1]]).integers(
        0, TOP_NODES, people.nodes_KD.shape
    )
    shape = wealth.nodes.shape
    chosen = np.take_along_axis(best_BX, np.tile(picks_KD, (shape[0], 1)), axis=1).reshape(shape)
    chasing = np.repeat(people.chasing_KD[None], shape[0], axis=0)
    chasing[:, :, 0] = np.array([world.chases for world in worlds])[:, None]
    wealth.nodes[:] = np.where(chasing, chosen, wealth.nodes)
