"""The verdicts of a run without its messages: who enters the model, as a committee would decide.

Scores come from the run's own scoring, verdicts, credit and expulsion from its own rules
(`rounds.scoring`, `rounds.agreement`); only signatures, deadlines and money are left out. All
validators are honest here and of equal stake, members commit in the order of their index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.measure import HoldoutMeasure, Samples
from kumiai.adapters.compute.scoring import score_round
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.base.canonical import sha256_hex
from kumiai.learning.fixed_point import IntVector
from kumiai.learning.layout import Layout
from kumiai.learning.recipe import Recipe
from kumiai.nodes import ports
from kumiai.rounds.scoring import apply_verdicts, judge_round
from kumiai.rounds.state import (
    Assignment,
    AssignmentState,
    Member,
    NodeState,
    RoundPhase,
    RoundState,
    RunState,
    ScoreSheet,
    Tally,
)
from kumiai.tasks.document import TaskDocument


class Committee:
    """Judges rounds one after another; what it knows of the members lies in a run's state."""

    def __init__(
        self,
        task: TaskDocument,
        recipe: Recipe,
        layout: Layout,
        holdouts: Sequence[tuple[Samples, Samples]],
        member_count: int,
    ) -> None:
        """holdouts: parts A and B of each validator."""
        parts = [part for pair in holdouts for part in pair]
        self._measure = HoldoutMeasure(recipe, layout, parts)
        self._decoded = DecodedBlobs(MemoryBlobs(), layout.size)
        self._task, self._models = task, [""]
        self._trainers = [_name("trainer", index) for index in range(member_count)]
        self._judges = [_name("validator", index) for index in range(len(holdouts))]
        members = {key: _enrol(key, "trainer") for key in self._trainers}
        members |= {key: _enrol(key, "validator") for key in self._judges}
        self._state = RunState(task=task, members=members)

    @property
    def active(self) -> list[int]:
        """The members that have not been expelled."""
        states = [self._state.members[key].state for key in self._trainers]
        return [index for index, state in enumerate(states) if state is NodeState.ACTIVE]

    def judge(self, number: int, model_P: IntVector, updates_NP: IntVector) -> list[int]:
        """Return who of all members enters the model of round `number`, the expelled never."""
        model = sha256_hex(f"model/{number}".encode())
        self._decoded.keep("model", model, model_P.copy())
        refs = []
        for index in self.active:
            blob = sha256_hex(f"update/{number}/{index}".encode())
            self._decoded.keep("update", blob, updates_NP[index].copy())
            refs.append(ports.UpdateRef(self._trainers[index], blob, index))
        seed = sha256_hex(f"beacon/{self._task.seed}/{number}".encode())
        jobs = [
            ports.ScoreJob(number, judge, model, self._models[-1] or None, tuple(refs), seed)
            for judge in self._judges
        ]
        results = score_round(self._task, self._measure, self._decoded, jobs)
        self._models.append(model)
        current = self._open(number, refs, {r.validator: _show(r) for r in results})
        judged = judge_round(replace(self._state, round=current))
        assert judged.round is not None
        self._state = apply_verdicts(replace(judged, tallies=_add_balances(judged)))
        entered = {member for member, _, _ in judged.round.included}
        return [index for index, key in enumerate(self._trainers) if key in entered]

    def _open(
        self, number: int, refs: Sequence[ports.UpdateRef], sheets: dict[str, ScoreSheet]
    ) -> RoundState:
        return RoundState(
            index=number,
            attempt=1,
            phase=RoundPhase.SCORE_REVEAL,
            phase_started_ms=0,
            deadline_ms=0,
            trainers=tuple(ref.member for ref in refs),
            committee=tuple(self._judges),
            assignments={
                ref.member: Assignment(ref.member, AssignmentState.REVEALED, blob=ref.blob)
                for ref in refs
            },
            revealed=tuple(ref.member for ref in refs),
            score_sheets=sheets,
        )


def split_holdouts(
    features: torch.Tensor, labels: torch.Tensor, validators: int
) -> list[tuple[Samples, Samples]]:
    """Deal shuffled samples like cards: parts A and B of each validator."""
    count = 2 * validators
    parts = [(features[place::count], labels[place::count]) for place in range(count)]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _show(result: ports.ScoreResult) -> ScoreSheet:
    order = {line.member: index for index, line in enumerate(result.lines)}
    lines = tuple(
        (line.value, line.error, line.standalone, line.flags, order.get(line.duplicate_of, -1))
        for line in result.lines
    )
    return ScoreSheet(result.validator, lines, result.loss_ppm, result.accuracy_ppm, "")


def _add_balances(state: RunState) -> dict[str, Tally]:
    """As the settlement does at the end of a round."""
    assert state.round is not None
    tallies = dict(state.tallies)
    for judgement in state.round.judgements:
        tally = tallies.get(judgement.member, Tally())
        tallies[judgement.member] = replace(tally, balance=tally.balance + judgement.value)
    return tallies


def _enrol(key: str, role: str) -> Member:
    return Member(key, role, key[:8], "", 1_000, 0, NodeState.ACTIVE, "")


def _name(role: str, index: int) -> str:
    return sha256_hex(f"{role}/{index}".encode())
