"""The trainer: works on its own data, binds itself to the result, shows it when all are bound.

Where an update may be older than its round (`training.staleness_max`), a trainer that is not ready
when a round goes on does not throw its work away: it finishes, and commits in the first round that
still takes commitments then. Meanwhile it starts nothing else. What was committed is spent, shown
or not; what has become too old is given up for work on the current model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kumiai.base.keys import SigningKey
from kumiai.nodes.masks import MaskHolder
from kumiai.nodes.member import Enrolment, enrol_or_rejoin
from kumiai.nodes.ports import OpenJob, OpenResult, TrainJob, TrainResult
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
from kumiai.proofs.trace import Trace, TracePlace, count_segments, list_opened, list_states
from kumiai.rounds.audits import find_challenge
from kumiai.rounds.commitments import commit_update
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import AssignmentState, RoundPhase, RoundState, RunPhase, RunState, Tally
from kumiai.tasks.audit import is_audited
from kumiai.tasks.buffered import allows_stale


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
        if isinstance(event, JobDone) and isinstance(event.result, OpenResult):
            return self._show_trace(memory, run, event.result)
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
            return self._take_part(memory, run, current, place)
        if current.phase is RoundPhase.REVEAL and assignment.state is AssignmentState.COMMITTED:
            return self._reveal(memory, run, place)
        if current.phase is RoundPhase.CHALLENGE and assignment.state is AssignmentState.REVEALED:
            return self._open_trace(memory, run, current, place)
        return memory, ()

    def _take_part(
        self, memory: Memory, run: RunState, current: RoundState, place: tuple[int, int]
    ) -> tuple[Memory, tuple[Action, ...]]:
        """Go on with what is under way, commit what is ready, or begin anew."""
        assert run.task is not None
        age_max = run.task.training.staleness_max
        if not age_max:
            return self._train(memory, run, current, place)
        if memory.working[0] and place[0] - memory.working[0] <= age_max:
            return memory, ()
        kept = memory.result
        if kept is None or self._is_spent(memory, run) or place[0] - kept.round > age_max:
            return self._train(memory, run, current, place)
        return self._commit(memory, run, kept, place)

    def _is_spent(self, memory: Memory, run: RunState) -> bool:
        """Tell whether the work that is kept counted already."""
        counted = run.members[self.key.pubkey].committed
        return memory.committed > (0, 0) and counted >= memory.committed

    def _train(
        self, memory: Memory, run: RunState, current: RoundState, place: tuple[int, int]
    ) -> tuple[Memory, tuple[Action, ...]]:
        if ("train", *place) in memory.done:
            return memory, ()
        assert run.task is not None
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
        if is_audited(run.task):
            every = run.task.audit.checkpoint_every
            job = replace(job, attempt=current.attempt, checkpoint_every=every)
        if self.masks is not None:
            cards = self.masks.list_cards(current, self.key.pubkey)
            job = replace(job, attempt=current.attempt, cards=cards)
        remembered = replace(
            _did(memory, "train", place),
            trained_count=before + 1,
            working=place,
            result=None,
            traced=job if job.checkpoint_every else None,
        )
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
        origin = (event.round, event.attempt)
        if origin != memory.working:
            return memory, ()  # given up: too old, or the round went on without us
        kept = event if result.update else None
        finished = replace(memory, working=(0, 0), committed=(0, 0), result=kept)
        if current is None or run.task is None:
            return finished, ()
        place = (current.index, current.attempt)
        if kept is None and place == origin:  # the work failed (see the result's log): say so
            named = {"task": run.task_id, "round": event.round, "attempt": event.attempt}
            return finished, (Publish(Kind.DECLINE, named),)
        if not allows_stale(run.task):
            return self._commit(finished, run, event, place) if place == origin else (finished, ())
        assignment = current.assignments.get(self.key.pubkey)
        is_offered = assignment is not None and assignment.state is AssignmentState.OFFERED
        is_open = run.phase is RunPhase.TRAINING and current.phase is RoundPhase.TRAIN
        if not is_open or not is_offered:
            return finished, ()  # until the next round begins, or this one goes on
        return self._take_part(finished, run, current, place)

    def _commit(
        self, memory: Memory, run: RunState, kept: JobDone, place: tuple[int, int]
    ) -> tuple[Memory, tuple[Action, ...]]:
        """Bind what is ready in round `place`, once an attempt; if older, say what it began at."""
        if ("commit", *place) in memory.done:
            return memory, ()
        result = kept.result
        assert isinstance(result, TrainResult)
        salt = derive_salt(self.key, "update", run.task_id, *place)
        content: dict[str, object] = {
            "task": run.task_id,
            "round": place[0],
            "attempt": place[1],
            "commitment": commit_update(
                run.task_id,
                *place,
                self.key.pubkey,
                result.update,
                salt,
                (self._trace(run, place, result).root, result.iteration_count)
                if result.trace
                else None,
            ),
        }
        if kept.round < place[0]:
            content["base"] = kept.round
        included = _find_included(run, self.key.pubkey)
        states = {included: memory.codec_states.get(included, ""), place[0]: result.codec_state}
        bound = replace(_did(memory, "commit", place), committed=place, codec_states=states)
        return bound, (Publish(Kind.COMMIT, content),)

    def _reveal(
        self, memory: Memory, run: RunState, place: tuple[int, int]
    ) -> tuple[Memory, tuple[Action, ...]]:
        kept = memory.result
        if ("reveal", *place) in memory.done or kept is None or memory.committed != place:
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
        if result.trace:
            content["trace_root"] = self._trace(run, place, result).root
            content["machine"] = result.machine
        return _did(memory, "reveal", place), (Publish(Kind.REVEAL, content),)

    def _trace(self, run: RunState, place: tuple[int, int], result: TrainResult) -> Trace:
        assert run.task is not None
        named = TracePlace(run.task_id, *place, self.key.pubkey)
        every = run.task.audit.checkpoint_every
        return Trace(named, every, result.iteration_count, result.trace)

    def _open_trace(
        self, memory: Memory, run: RunState, current: RoundState, place: tuple[int, int]
    ) -> tuple[Memory, tuple[Action, ...]]:
        """Put the drawn states where validators can fetch them, before the leaves are shown."""
        challenge = find_challenge(current, self.key.pubkey)
        known = memory.result.result if memory.result is not None else None
        if challenge is None or ("open", *place) in memory.done or memory.traced is None:
            return memory, ()
        if not isinstance(known, TrainResult) or memory.committed != place:
            return memory, ()
        last = count_segments(known.iteration_count, memory.traced.checkpoint_every)
        job = OpenJob(place[0], memory.traced, list_states(challenge.segments, last))
        return _did(memory, "open", place), (Work(current.attempt, job),)

    def _show_trace(
        self, memory: Memory, run: RunState, opened: OpenResult
    ) -> tuple[Memory, tuple[Action, ...]]:
        current, kept = run.round, memory.result
        if current is None or current.phase is not RoundPhase.CHALLENGE or not opened.digests:
            return memory, ()
        place = (current.index, current.attempt)
        challenge = find_challenge(current, self.key.pubkey)
        if challenge is None or kept is None or memory.committed != place:
            return memory, ()
        result = kept.result
        assert isinstance(result, TrainResult)
        trace = self._trace(run, place, result)
        wanted = list_opened(challenge.segments, len(result.trace) - 1)
        leaves = [[leaf.index, leaf.digest, list(leaf.path)] for leaf in trace.open(wanted)]
        named = {"task": run.task_id, "round": place[0], "attempt": place[1]}
        return memory, (Publish(Kind.OPEN_TRACE, {**named, "leaves": leaves}),)


def _find_included(run: RunState, member: str) -> int:
    return run.tallies.get(member, Tally()).round_included


def _did(memory: Memory, what: str, place: tuple[int, int]) -> Memory:
    """Remember what was done in this round; older rounds are forgotten, so memory stays bounded."""
    kept = frozenset(entry for entry in memory.done if entry[1] >= place[0] - 1 or entry[1] == 0)
    return replace(memory, done=kept | {(what, *place)})
