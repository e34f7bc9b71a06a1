"""One task from its first round to its final ranking, in all worlds at once.

The round is the protocol's: members reveal, the committee's sheets become consensus and verdicts,
VALID members share the trainers' pool by rank and stake, validators theirs by F; the share
`locked_ppm` waits. The end is the protocol's too: the second hold-out's ranking shares the locked
pot, probes decide how much of validators' held pay they get, evidence burns stake.

What an update is truly worth is a model: with x = rounds of honest work so far, the loss above its
floor is gain * (1 + x)^-decay. An update of relative size u adds u / players to x in one round; its
true contribution is that round's gain at u = 1, times u / players. A validator measures

    v_ij = truth_i + sd * (luck * e_i + e_ij),    sd = noise / players * round^-noise_decay

with standard normal e; the second hold-out shares the luck e_i and has its own e_ij. Values are
whole ppm of a nat, as sheets hold them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.sim.economy import rules
from kumiai.adapters.sim.economy.conduct import (
    Conduct,
    find_caught,
    find_taken_in,
    write_sheets,
)
from kumiai.adapters.sim.economy.parameters import Parameters
from kumiai.base.amounts import PPM
from kumiai.rounds.final import VALID_SHARE
from kumiai.rounds.scoring import INVALID_UNTIL_EJECTED

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Sheets = NDArray[np.int32]  # half the memory: a round is bound by it

VALUE_MAX = 2**25  # ppm of a nat: 33 nats; a place of five bits fits beside it


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays a season, in B = worlds x tasks rows."""

    conduct_BN: Ints
    scoring_BV: Ints
    trainer_stakes_BN: Ints
    validator_stakes_BV: Ints
    lent_BD: Ints
    nodes_BD: Ints  # trainers' seats, then validators'
    ability_BN: Floats
    effort_BN: Floats
    size_BN: Floats  # share of its owner's data that a name works on
    victims_BN: Ints
    friend_N: Bools


@dataclass(frozen=True, slots=True)
class RoundLuck:
    """One round's draws, spread over all worlds."""

    member_BN: Floats
    bytes_BN: Floats
    audit_BN: Floats
    score_VBN: Floats
    final_VBN: Floats


@dataclass(slots=True)
class Books:
    """What a season leaves. Money in the smallest unit; every unit of the budget is somewhere."""

    trainers_BN: Ints
    validators_BV: Ints
    delegators_BD: Ints
    refund_B: Ints
    burns_BN: Ints
    validator_burns_BV: Ints
    present_BN: Ints  # rounds in which a seat took part (and paid for its effort)
    poisoned_BN: Ints  # rounds in which a poisoned update entered the model
    valid_BN: Ints
    progress_RB: Floats  # x after each round


class Season:
    """The state of B tasks; `play_round` for every round, then `settle`."""

    def __init__(self, cast: Cast, parameters: Parameters) -> None:
        """Nobody has done anything yet."""
        self.cast, self.parameters = cast, parameters
        rows, seats = cast.conduct_BN.shape
        validators = cast.scoring_BV.shape[1]
        zeros_BN = np.zeros((rows, seats), dtype=np.int64)
        lent_BM = rules.sum_by_node(cast.lent_BD, cast.nodes_BD, seats + validators)
        self.lent_BN, self.lent_BV = lent_BM[:, :seats], lent_BM[:, seats:]
        self.balance_BN, self.last_BN = zeros_BN.copy(), zeros_BN.copy()
        self.invalid_BN, self.evidence_BN = zeros_BN.copy(), zeros_BN.copy()
        self.judged_BN, self.final_BN = zeros_BN.copy(), zeros_BN.copy()
        self.locked_B = np.zeros(rows, dtype=np.int64)
        self.held_BV = np.zeros((rows, validators), dtype=np.int64)
        self.held_BD = np.zeros(cast.lent_BD.shape, dtype=np.int64)
        self.asked_B = np.zeros(rows, dtype=np.int64)
        self.taken_in_BV = np.zeros((rows, validators), dtype=np.int64)
        self.x_B = np.zeros(rows)
        self.closeness_sum_BV = np.zeros((rows, validators))
        self.books = Books(
            trainers_BN=zeros_BN.copy(),
            validators_BV=np.zeros((rows, validators), dtype=np.int64),
            delegators_BD=np.zeros(cast.lent_BD.shape, dtype=np.int64),
            refund_B=np.zeros(rows, dtype=np.int64),
            burns_BN=zeros_BN.copy(),
            validator_burns_BV=np.zeros((rows, validators), dtype=np.int64),
            present_BN=zeros_BN.copy(),
            poisoned_BN=zeros_BN.copy(),
            valid_BN=zeros_BN.copy(),
            progress_RB=np.zeros((parameters.task_rounds, rows)),
        )

    def play_round(self, index: int, luck: RoundLuck) -> None:
        """Play round `index` (1..): work, scores, verdicts, aggregation, pay."""
        cast, parameters = self.cast, self.parameters
        active_BN = (cast.conduct_BN != Conduct.EMPTY) & (self.invalid_BN < INVALID_UNTIL_EJECTED)
        caught_BN = active_BN & find_caught(
            cast.conduct_BN, luck.bytes_BN, luck.audit_BN, parameters
        )
        players_BN = active_BN & ~caught_BN
        count_B = np.maximum(players_BN.sum(axis=1), 1)
        size_BN = self._measure_updates()
        gain_B = parameters.gain * (
            (1 + self.x_B) ** -parameters.decay - (2 + self.x_B) ** -parameters.decay
        )
        truth_BN = size_BN * (gain_B / count_B)[:, None] * players_BN
        sd_B = parameters.noise / count_B * index**-parameters.noise_decay
        lucky_BN = truth_BN + parameters.luck * sd_B[:, None] * luck.member_BN
        seen_VBN = self._observe(lucky_BN, sd_B, luck.score_VBN, players_BN)
        values_VBN, flags_VBN = write_sheets(
            cast.scoring_BV, seen_VBN, caught_BN, self.last_BN, cast.friend_N, sd_B
        )
        final_VBN, _ = write_sheets(
            cast.scoring_BV,
            self._observe(lucky_BN, sd_B, luck.final_VBN, players_BN),
            caught_BN,
            self.last_BN,
            cast.friend_N,
            sd_B,
        )
        verdicts = self._judge(values_VBN, flags_VBN, active_BN)
        consensus_BN, deviations_VBN, valid_BN, included_BN, balances_BN = verdicts
        self._count_probes(values_VBN, flags_VBN, active_BN)
        self._learn(index, size_BN, included_BN)
        scores_BV = rules.score_validators(
            deviations_VBN, active_BN, parameters.deviation_lambda_ppm
        )
        self.closeness_sum_BV += scores_BV
        self._pay(np.where(valid_BN, consensus_BN, 0), scores_BV, active_BN)
        final_BN = rules.find_weighted_median(
            *rules.sort_sheets(final_VBN, cast.validator_stakes_BV)
        )
        self.final_BN += np.where(active_BN, final_BN, 0)
        self.balance_BN = balances_BN
        self.last_BN = np.where(active_BN, consensus_BN, 0)
        self.judged_BN += active_BN
        self.books.present_BN += active_BN
        self.books.valid_BN += valid_BN

    def settle(self, recheck_BV: Floats) -> Books:
        """End the task: the locked pot by the final ranking, held pay by the probes, burns.

        recheck_BV: uniform draws, for whom of those who lied a recheck finds (`rules`): it loses
        its held pay, with its backers' part of it, and no stake.
        """
        cast, parameters, books = self.cast, self.parameters, self.books
        established_BN = VALID_SHARE * books.valid_BN >= np.maximum(1, self.judged_BN)
        may_earn_BN = established_BN & (cast.conduct_BN != Conduct.PROBE)
        values_BN = np.where(may_earn_BN & (self.judged_BN > 0), self.final_BN, 0)
        own_BN, lent_part_BN, gross_BN = self._share_trainers(values_BN, self.locked_B, PPM)
        self._pay_backers(own_BN, lent_part_BN, books.trainers_BN)
        books.refund_B += self.locked_B - gross_BN.sum(axis=1)
        asked_B1 = np.maximum(self.asked_B, 1)[:, None]
        honest_ppm_BV = PPM - PPM * self.taken_in_BV // asked_B1
        convicted_BV = rules.find_convicted(
            cast.scoring_BV != 0, recheck_BV, parameters.recheck, parameters.task_rounds
        )
        honest_ppm_BV = np.where(convicted_BV, 0, honest_ppm_BV)
        released_BV = rules.cut_ppm(self.held_BV, honest_ppm_BV)
        books.validators_BV += released_BV
        node_BD = cast.nodes_BD - cast.conduct_BN.shape[1]
        honest_ppm_BD = np.take_along_axis(honest_ppm_BV, np.maximum(node_BD, 0), axis=1)
        freed_BD = rules.cut_ppm(self.held_BD, honest_ppm_BD)
        books.delegators_BD += freed_BD
        books.refund_B += (self.held_BV - released_BV).sum(axis=1)
        books.refund_B += (self.held_BD - freed_BD).sum(axis=1)
        is_probe_BN = cast.conduct_BN == Conduct.PROBE
        books.burns_BN = rules.compute_burns(
            cast.trainer_stakes_BN, np.where(is_probe_BN, 0, self.evidence_BN), parameters.slash_ppm
        )
        return books

    def _measure_updates(self) -> Floats:
        """The relative size u of every update: what it moves the model by, 1 for honest work."""
        cast, parameters = self.cast, self.parameters
        size_BN: Floats = cast.ability_BN * (
            (cast.effort_BN * cast.size_BN) ** parameters.effort_power
        )
        size_BN[cast.conduct_BN == Conduct.POISONER] *= -parameters.poison
        copied_BN = np.take_along_axis(size_BN, cast.victims_BN, axis=1)
        return np.where(cast.conduct_BN == Conduct.COPIER, copied_BN, size_BN)

    def _observe(
        self, lucky_BN: Floats, sd_B: Floats, luck_VBN: Floats, players_BN: Bools
    ) -> Sheets:
        """What honest validators measure; who is flagged does not play and is worth 0."""
        seen_VBN = luck_VBN * (sd_B[:, None] * players_BN)
        seen_VBN += lucky_BN * players_BN
        np.rint(np.clip(seen_VBN, -VALUE_MAX, VALUE_MAX, out=seen_VBN), out=seen_VBN)
        return seen_VBN.astype(np.int32)

    def _judge(
        self, values_VBN: Ints, flags_VBN: Bools, active_BN: Bools
    ) -> tuple[Ints, Floats, Bools, Bools, Ints]:
        """Verdicts as in `rounds.agreement`, blame and inclusion as in `rounds.scoring`."""
        stakes_BV = self.cast.validator_stakes_BV
        floor = self.parameters.harm_floor_ppm
        value_BN, deviations_VBN = rules.combine_scores(values_VBN, stakes_BV)
        limit_B = rules.find_harm_limit(self.balance_BN, self.judged_BN > 0, floor)
        found = rules.find_verdicts(
            value_BN, self.balance_BN, values_VBN, flags_VBN, stakes_BV, limit_B, floor
        )
        flagged_BN, harmful_BN, valid_BN, carried_BN = (active_BN & each for each in found)
        self.evidence_BN += flagged_BN
        self.invalid_BN += flagged_BN | harmful_BN
        balance_BN = self.balance_BN + np.where(active_BN, value_BN, 0)
        return value_BN, deviations_VBN, valid_BN, valid_BN | carried_BN, balance_BN

    def _count_probes(self, values_VBN: Ints, flags_VBN: Bools, active_BN: Bools) -> None:
        first, count = self.parameters.trainers, self.parameters.canaries
        if not count:
            return
        probes = slice(first, first + count)
        shown_BX = active_BN[:, probes]  # an ejected probe asks nobody
        self.asked_B += shown_BX.sum(axis=1)
        self.taken_in_BV += find_taken_in(
            values_VBN[:, :, probes] * shown_BX, flags_VBN[:, :, probes]
        )

    def _learn(self, index: int, size_BN: Floats, included_BN: Bools) -> None:
        count_B = np.maximum(included_BN.sum(axis=1), 1)
        self.x_B = np.maximum(0.0, self.x_B + (size_BN * included_BN).sum(axis=1) / count_B)
        self.books.progress_RB[index - 1] = self.x_B
        poisoned_BN = included_BN & (self.cast.conduct_BN == Conduct.POISONER)
        self.books.poisoned_BN += poisoned_BN

    def _pay(self, values_BN: Ints, scores_BV: Floats, active_BN: Bools) -> None:
        """Settle a round as `rounds.settle` does; the share `locked_ppm` waits for the end."""
        cast, parameters, books = self.cast, self.parameters, self.books
        staked_B = (cast.trainer_stakes_BN * active_BN).sum(axis=1)
        pool_B = rules.split_pools(
            parameters.budget, parameters.gamma_ppm, staked_B, cast.validator_stakes_BV.sum(axis=1)
        )
        at_once_ppm = PPM - parameters.locked_ppm
        own_BN, part_BN, gross_BN = self._share_trainers(values_BN, pool_B, at_once_ppm)
        paid_B = self._pay_backers(own_BN, part_BN, books.trainers_BN)
        locked_B = gross_BN.sum(axis=1) - paid_B
        self.locked_B += locked_B
        measure_BV = self._measure(cast.validator_stakes_BV, self.lent_BV)
        own_measure_BV = cast.validator_stakes_BV**parameters.alpha
        full_BV, alone_BV = rules.share_by_score(scores_BV, own_measure_BV, measure_BV)
        _, part_BV, gross_BV = rules.pay_nodes(
            parameters.budget - pool_B, (full_BV, alone_BV), PPM, parameters.sigma_ppm
        )
        self._hold_validators(gross_BV, part_BV)
        books.refund_B += parameters.budget - gross_BN.sum(axis=1) - gross_BV.sum(axis=1)

    def _measure(self, own_BN: Ints, lent_BN: Ints) -> Ints:
        weighed_BN = rules.cut_ppm(lent_BN, self.parameters.delegation_weight_ppm)
        measure_BN: Ints = (own_BN + weighed_BN) ** self.parameters.alpha
        return measure_BN

    def _share_trainers(
        self, values_BN: Ints, pool_B: Ints, at_once_ppm: int
    ) -> tuple[Ints, Ints, Ints]:
        """Return (immediate pay, the backers' part of it, gross), node by node."""
        own_BN = self.cast.trainer_stakes_BN
        shares = rules.share_by_rank(
            values_BN,
            own_BN**self.parameters.alpha,
            self._measure(own_BN, self.lent_BN),
            self.parameters.rank_ratio_ppm,
        )
        return rules.pay_nodes(pool_B, shares, at_once_ppm, self.parameters.sigma_ppm)

    def _pay_backers(self, at_once_BN: Ints, part_BN: Ints, own_BN: Ints) -> Ints:
        """Pay trainers and their backers; return what was paid, task by task."""
        amounts_BD, reached_BN = self._split(part_BN, self.lent_BN, 0)
        self.books.delegators_BD += amounts_BD
        own_BN += at_once_BN - reached_BN
        paid_B: Ints = at_once_BN.sum(axis=1)
        return paid_B

    def _hold_validators(self, gross_BV: Ints, part_BV: Ints) -> None:
        parameters = self.parameters
        amounts_BD, reached_BV = self._split(part_BV, self.lent_BV, self.cast.conduct_BN.shape[1])
        own_BV = gross_BV - reached_BV
        kept_BV = rules.cut_ppm(own_BV, parameters.locked_ppm)
        kept_BD = rules.cut_ppm(amounts_BD, parameters.locked_ppm)
        self.books.validators_BV += own_BV - kept_BV
        self.books.delegators_BD += amounts_BD - kept_BD
        self.held_BV += kept_BV
        self.held_BD += kept_BD

    def _split(self, part_BN: Ints, lent_BN: Ints, offset: int) -> tuple[Ints, Ints]:
        """As `rules.split_backers`, for the backers of the nodes from seat `offset` on."""
        node_BD = self.cast.nodes_BD - offset
        backs_BD = (node_BD >= 0) & (node_BD < part_BN.shape[1])
        lent_BD = np.where(backs_BD, self.cast.lent_BD, 0)
        return rules.split_backers(part_BN, lent_BD, np.where(backs_BD, node_BD, 0), lent_BN)
