"""The trainer: works on its own data, binds itself to the result, shows it when all are bound."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kumiai.base.keys import SigningKey
from kumiai.nodes.masks import MaskHolder
from kumiai.nodes.member import Enrolment, enrol_or_rejoin
from kumiai.nodes.ports import TrainJob, TrainResult
from kumiai.nodes.role import (
    Action,
    Input,
    JobDone,
    Memory,
    Publish,
    Work,
    derive_salt,
    derive_seed,
)
from kumiai.rounds.commitments import commit_update
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import AssignmentState, RoundPhase, RoundState, RunState, Tally


@dataclass(frozen=True, slots=True)
class Trainer:
    """A member with data and compute."""

    key: SigningKey
    enrolment: Enrolment
    masks: MaskHolder | None = None  # in a secure run

    def step(
        self, memory: Memory, run: RunState, event: Input
    ) -> tuple[Memory, tuple[Action, ...]]:
        """Take one input; see `Role`."""
        if isinstance(event, JobDone) and isinstance(event.result, TrainResult):
            return self._on_trained(memory, run, event)
        entered = enrol_or_rejoin(self.key, self.enrolment, memory, run)
        if entered is not None:
            return entered
        current = run.round
        assignment = current.assignments.get(self.key.pubkey) if current else None
        if current is None or assignment is None:
            return memory, ()
        place = (current.index, current.attempt)
        if self.masks is not None and current.phase in (RoundPhase.DEAL, RoundPhase.UNMASK):
            return self._care_for_masks(memory, run, current, self.masks)
        if current.phase is RoundPhase.TRAIN and assignment.state is AssignmentState.OFFERED:
            return self._train(memory, run, current, place)
        if current.phase is RoundPhase.REVEAL and assignment.state is AssignmentState.COMMITTED:
            return self._reveal(memory, run, place)
        return memory, ()

    def _train(
        self, memory: Memory, run: RunState, current: RoundState, place: tuple[int, int]
    ) -> tuple[Memory, tuple[Action, ...]]:
        if ("train", *place) in memory.done:
            return memory, ()
        seed = derive_seed(run.task_id, *place, self.key.pubkey)
        # What did not enter the model goes as if never sent: its state is not built upon. The log
        # says what entered, so a resumed run asks for the same work.
        state = memory.codec_states.get(_find_included(run, self.key.pubkey), "")
        before = memory.trained_count
        job = TrainJob(
            current.index,
            self.key.pubkey,
            run.model,
            seed,
            state,
            run.server_state,
            before,
            current.assignments[self.key.pubkey].width_ppm,
        )
        if self.masks is not None:
            cards = self.masks.list_cards(current, self.key.pubkey)
            job = replace(job, attempt=current.attempt, cards=cards)
        remembered = replace(_did(memory, "train", place), trained_count=before + 1)
        return remembered, (Work(current.attempt, job),)

    def _care_for_masks(
        self, memory: Memory, run: RunState, current: RoundState, masks: MaskHolder
    ) -> tuple[Memory, tuple[Action, ...]]:
        """Deal, or open, once an attempt: who is asked again for shares has shown the others."""
        member, place = self.key.pubkey, (current.index, current.attempt)
        kind = Kind.DEAL if current.phase is RoundPhase.DEAL else Kind.UNMASK
        if (kind.name, *place) in memory.done:
            return memory, ()
        found = masks.deal if kind is Kind.DEAL else masks.unmask
        content = found(run, current, member)
        if content is None:
            return memory, ()
        named = {"task": run.task_id, "round": place[0], "attempt": place[1]}
        return _did(memory, kind.name, place), (Publish(kind, {**named, **content}),)

    def _on_trained(
        self, memory: Memory, run: RunState, event: JobDone
    ) -> tuple[Memory, tuple[Action, ...]]:
        result, current = event.result, run.round
        assert isinstance(result, TrainResult)
        place = (event.round, event.attempt)
        if current is None or (current.index, current.attempt) != place:
            return memory, ()  # too late: the round went on without us
        named = {"task": run.task_id, "round": event.round, "attempt": event.attempt}
        if not result.update:  # the work failed (see the result's log): say so instead of silence
            return memory, (Publish(Kind.DECLINE, named),)
        salt = derive_salt(self.key, "update", run.task_id, *place)
        commitment = commit_update(run.task_id, *place, self.key.pubkey, result.update, salt)
        action = Publish(Kind.COMMIT, {**named, "commitment": commitment})
        included = _find_included(run, self.key.pubkey)
        states = {included: memory.codec_states.get(included, ""), event.round: result.codec_state}
        return replace(memory, result=event, codec_states=states), (action,)

    def _reveal(
        self, memory: Memory, run: RunState, place: tuple[int, int]
    ) -> tuple[Memory, tuple[Action, ...]]:
        kept = memory.result
        if ("reveal", *place) in memory.done or kept is None or (kept.round, kept.attempt) != place:
            return memory, ()
        result = kept.result
        assert isinstance(result, TrainResult)
        content = {
            "task": run.task_id,
            "round": place[0],
            "attempt": place[1],
            "blob": result.update,
            "size_bytes": result.size_bytes,
            "salt": derive_salt(self.key, "update", run.task_id, *place),
            "samples": result.sample_count,
            "iterations": result.iteration_count,
            "flop": str(result.flop),
            "loss_ppm": result.loss_ppm,
            "epsilon_milli": result.epsilon_milli,
        }
        return _did(memory, "reveal", place), (Publish(Kind.REVEAL, content),)


def _find_included(run: RunState, member: str) -> int:
    return run.tallies.get(member, Tally()).round_included


def _did(memory: Memory, what: str, place: tuple[int, int]) -> Memory:
    """Remember what was done in this round; older rounds are forgotten, so memory stays bounded."""
    kept = frozenset(entry for entry in memory.done if entry[1] >= place[0] - 1 or entry[1] == 0)
    return replace(memory, done=kept | {(what, *place)})
