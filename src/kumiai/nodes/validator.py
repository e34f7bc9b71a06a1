"""The validator: draws the beacon, scores on its own hold-out, aggregates, and signs the round."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from kumiai.base import canonical
from kumiai.base.keys import SigningKey
from kumiai.consensus import beacon
from kumiai.nodes import auditing, rechecking
from kumiai.nodes.jobs import make_aggregate_job, make_score_job
from kumiai.nodes.member import Enrolment, enrol_or_rejoin
from kumiai.nodes.ports import (
    AggregateResult,
    AuditResult,
    CurveJob,
    CurveResult,
    RecheckResult,
    ScoreResult,
)
from kumiai.nodes.role import (
    Action,
    BuildModel,
    Input,
    JobDone,
    Memory,
    ModelBuilt,
    Publish,
    Work,
    derive_salt,
)
from kumiai.nodes.sealing import sign_for_chain
from kumiai.rounds.certificate import complete_body
from kumiai.rounds.commitments import commit_final, commit_scores
from kumiai.rounds.kinds import Kind
from kumiai.rounds.round import ATTEMPTS_PER_ROUND_MAX, compute_beacon_index
from kumiai.rounds.state import RoundPhase, RoundState, RunPhase, RunState
from kumiai.rounds.widths import needs_curve
from kumiai.tasks.aggregators import has_root

Place = tuple[int, int]
Steps = tuple[Memory, tuple[Action, ...]]


def compute_chain_length(rounds: int) -> int:
    """Return how long a beacon chain must be for a run of that many rounds, replays included."""
    return (rounds + 2) * ATTEMPTS_PER_ROUND_MAX


def make_beacon_tip(key: SigningKey, rounds: int) -> str:
    """Return the tip that a validator publishes when it enrols."""
    return beacon.compute_element(_beacon_secret(key), compute_chain_length(rounds), 0)


@dataclass(frozen=True, slots=True)
class Validator:
    """A member of the committee with a private hold-out.

    holdout: the blob of the data that it was handed, and the salt that the customer binds it with.
    """

    key: SigningKey
    enrolment: Enrolment
    holdout: tuple[str, str] = ("", "")

    def step(self, memory: Memory, run: RunState, event: Input) -> Steps:
        """Take one input; see `Role`."""
        memory = rechecking.note_judged(memory, run)
        if isinstance(event, ModelBuilt):
            return memory, (Publish(Kind.READY, {"task": run.task_id, "model": event.model}),)
        if isinstance(event, JobDone):
            return self._on_done(memory, run, event)
        entered = enrol_or_rejoin(self.key, self.enrolment, memory, run)
        if entered is not None:
            return entered
        if run.phase is RunPhase.WARMUP:
            return _once(memory, "ready", (0, 0), (self._begin(run),))
        current = run.round
        if current is None or self.key.pubkey not in current.committee:
            return memory, ()
        place = (current.index, current.attempt)
        if run.phase is RunPhase.FINALIZING:
            return self._finalise(memory, run, current, place)
        if current.phase is RoundPhase.REVEAL:
            return _once(memory, "beacon", place, (self._draw(run, place),))
        if current.phase is RoundPhase.SCORE:
            return self._begin_score(memory, run, current, place)
        if current.phase in (RoundPhase.JURY, RoundPhase.JURY_REVEAL):
            return self._sit_in_jury(memory, run, current, place)
        if current.phase is RoundPhase.SCORE_REVEAL:
            return self._reveal(memory, run, place)
        if current.phase is RoundPhase.CERTIFY:
            job = make_aggregate_job(current, run.model, run.server_state, run.model_previous)
            return _once(memory, "aggregate", place, (Work(current.attempt, job),))
        return memory, ()

    def _begin(self, run: RunState) -> Action:
        """Build the first model, unless the customer has bound itself to another hold-out."""
        if rechecking.is_bound(run, self.key.pubkey, *self.holdout):
            return BuildModel()
        return Publish(Kind.WITHDRAW, {"task": run.task_id})

    def _draw(self, run: RunState, place: Place) -> Action:
        assert run.task is not None
        length = compute_chain_length(run.task.training.rounds)
        index = compute_beacon_index(*place)
        element = beacon.compute_element(_beacon_secret(self.key), length, index)
        return Publish(Kind.BEACON, {**_named(run, place), "element": element})

    def _begin_score(
        self, memory: Memory, run: RunState, current: RoundState, place: Place
    ) -> Steps:
        """Replay what one was drawn for, then score: the commitment binds both."""
        job = auditing.make_audit_job(run, current, self.key.pubkey)
        first = self._score(run, current) if job is None else Work(current.attempt, job)
        return _once(memory, "score", place, (first,))

    def _sit_in_jury(
        self, memory: Memory, run: RunState, current: RoundState, place: Place
    ) -> Steps:
        if current.phase is RoundPhase.JURY:
            job = auditing.make_jury_job(run, current, self.key.pubkey)
            return _once(memory, "jury", place, () if job is None else (Work(place[1], job),))
        found = memory.audit.result if memory.audit is not None else None
        if self.key.pubkey not in current.audits.commits or not isinstance(found, AuditResult):
            return memory, ()
        content = {**_named(run, place), **auditing.write_reveal(self.key, run, place, found)}
        return _once(memory, "jury-reveal", place, (Publish(Kind.JURY_REVEAL, content),))

    def _on_audited(self, memory: Memory, run: RunState, event: JobDone) -> Steps:
        current, found = run.round, event.result
        assert current is not None and isinstance(found, AuditResult)
        place, kept = (event.round, event.attempt), replace(memory, audit=event)
        if current.phase is RoundPhase.SCORE:
            return kept, (self._score(run, current),)
        if current.phase is RoundPhase.JURY:
            content = {**_named(run, place), **auditing.write_commit(self.key, run, place, found)}
            return kept, (Publish(Kind.JURY_COMMIT, content),)
        return memory, ()

    def _score(self, run: RunState, current: RoundState) -> Action:
        assert run.task is not None
        job = make_score_job(
            current, self.key.pubkey, run.model, run.model_previous, has_root(run.task)
        )
        return Work(current.attempt, job)

    def _on_done(self, memory: Memory, run: RunState, event: JobDone) -> Steps:
        current, place = run.round, (event.round, event.attempt)
        if current is None or (current.index, current.attempt) != place:
            return memory, ()
        if isinstance(event.result, AuditResult):
            return self._on_audited(memory, run, event)
        if isinstance(event.result, ScoreResult):
            sheet = self._sheet(run, place, event.result, memory)
            salt = derive_salt(self.key, "scores", run.task_id, *place)
            commitment = commit_scores(run.task_id, *place, self.key.pubkey, sheet, salt)
            values = tuple(line.final for line in event.result.lines)
            kept = replace(
                memory, result=event, finals={**memory.finals, place[0]: (place[1], values)}
            )
            action = Publish(Kind.SCORE_COMMIT, {**_named(run, place), "commitment": commitment})
            return kept, (action,)
        if isinstance(event.result, RecheckResult):
            said = rechecking.write_word(current, event.result)
            return memory, tuple(Publish(kind, {**_named(run, place), **c}) for kind, c in said)
        if isinstance(event.result, CurveResult) and run.phase is RunPhase.FINALIZING:
            found = event.result
            content = {"model": found.model, "accuracies": list(found.accuracies_ppm)}
            return memory, (Publish(Kind.CURVE, {**_named(run, place), **content}),)
        if isinstance(event.result, AggregateResult) and current.phase is RoundPhase.CERTIFY:
            result = event.result
            return memory, (self._certify(run, place, result.model, result.server_state or ""),)
        return memory, ()

    def _reveal(self, memory: Memory, run: RunState, place: Place) -> Steps:
        kept = memory.result
        if kept is None or (kept.round, kept.attempt) != place:
            return memory, ()
        assert isinstance(kept.result, ScoreResult)
        sheet = self._sheet(run, place, kept.result, memory)
        lines, loss_ppm, accuracy_ppm, final_commitment, *rest = sheet
        assert run.task is not None
        names = ("root",) * has_root(run.task)
        more = dict(zip((*names, "machine", "audits"), rest, strict=False))
        content = {
            **_named(run, place),
            "salt": derive_salt(self.key, "scores", run.task_id, *place),
            "lines": lines,
            "loss_ppm": loss_ppm,
            "accuracy_ppm": accuracy_ppm,
            "final_commitment": final_commitment,
            **more,
        }
        return _once(memory, "reveal", place, (Publish(Kind.SCORE_REVEAL, content),))

    def _sheet(
        self, run: RunState, place: Place, result: ScoreResult, memory: Memory
    ) -> list[object]:
        """[lines, loss, accuracy, commitment to the second hold-out's values], root and audits."""
        assert run.task is not None
        order = {line.member: index for index, line in enumerate(result.lines)}
        lines = [
            [line.value, line.error, line.standalone, line.flags, order.get(line.duplicate_of, -1)]
            for line in result.lines
        ]
        values = [line.final for line in result.lines]
        salt = derive_salt(self.key, "final", run.task_id, *place)
        bound = commit_final(run.task_id, *place, self.key.pubkey, values, salt)
        root = [result.root] if has_root(run.task) else []
        found, audits = memory.audit, []
        if found is not None and (found.round, found.attempt) == place:
            assert isinstance(found.result, AuditResult)
            audits = auditing.list_findings(found.result)
        return [lines, result.loss_ppm, result.accuracy_ppm, bound, *root, *audits]

    def _certify(self, run: RunState, place: Place, model: str, server_state: str) -> Action:
        assert run.round is not None
        body = complete_body(run.round.draft, model, server_state)
        body_hash = canonical.sha256_hex(canonical.encode(body))
        content = {
            **_named(run, place),
            "body_hash": body_hash,
            "model": model,
            "server_state": server_state,
            **sign_for_chain(run, body, body_hash, self.enrolment.funds_key),
        }
        return Publish(Kind.CERTIFY, content)

    def _finalise(self, memory: Memory, run: RunState, current: RoundState, place: Place) -> Steps:
        if current.phase is RoundPhase.CERTIFY:
            return _once(
                memory, "certify", place, (self._certify(run, place, run.model, run.server_state),)
            )
        if current.phase in (RoundPhase.RECHECK, RoundPhase.RECHECK_JURY):
            return self._recheck(memory, run, current, place)
        opened: list[Action] = []
        if needs_curve(run):
            job = CurveJob(current.index, self.key.pubkey, run.model)
            opened.append(Work(current.attempt, job))
        for round_index, (attempt, values) in sorted(memory.finals.items()):
            part = run.finals.get(round_index)
            if part is None or self.key.pubkey not in part.commitments:
                continue
            salt = derive_salt(self.key, "final", run.task_id, round_index, attempt)
            named = {"task": run.task_id, "round": round_index, "attempt": attempt}
            content = {**named, "salt": salt, "values": list(values)}
            opened.append(Publish(Kind.FINAL_REVEAL, content))
        return _once(memory, "finals", place, tuple(opened))

    def _recheck(self, memory: Memory, run: RunState, current: RoundState, place: Place) -> Steps:
        job = rechecking.make_recheck_job(memory, run, current, self.key.pubkey)
        what = "recheck" if current.phase is RoundPhase.RECHECK else "recheck-jury"
        return _once(memory, what, place, () if job is None else (Work(place[1], job),))


def _named(run: RunState, place: Place) -> dict[str, object]:
    return {"task": run.task_id, "round": place[0], "attempt": place[1]}


def _once(memory: Memory, what: str, place: Place, actions: tuple[Action, ...]) -> Steps:
    if (what, *place) in memory.done:
        return memory, ()
    kept = frozenset(entry for entry in memory.done if entry[1] >= place[0] - 1 or entry[1] == 0)
    return replace(memory, done=kept | {(what, *place)}), actions


def _beacon_secret(key: SigningKey) -> bytes:
    return hashlib.sha256(key.secret + b"/beacon").digest()
