"""What a validator does in audits: ask for replays, bind what they gave, show it.

As auditor it replays before it scores, and its score commitment binds both; as juror it replays
what others accused, commits, and reveals. It never looks at another's finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kumiai.base.keys import SigningKey
from kumiai.nodes.ports import AuditJob, AuditResult, AuditTarget
from kumiai.nodes.role import derive_salt, derive_seed
from kumiai.rounds.audits import list_accused, list_tasks
from kumiai.rounds.commitments import commit_jury
from kumiai.rounds.opened import Challenge
from kumiai.rounds.state import RoundState, RunState


def make_audit_job(run: RunState, current: RoundState, validator: str) -> AuditJob | None:
    """Return the replays that this validator was drawn for, None for none."""
    return _make_job(run, current, validator, list_tasks(current, validator))


def make_jury_job(run: RunState, current: RoundState, juror: str) -> AuditJob | None:
    """Return the replays of the accused that are asked of this juror, None for none."""
    return _make_job(run, current, juror, list_accused(current, juror))


def make_target(
    task_id: str,
    current: RoundState,
    challenge: Challenge,
    shards: Mapping[str, str],
    every: int,
) -> AuditTarget:
    """Return what the log says about an opened trace: the same for validators and verifiers."""
    member = challenge.member
    assignment = current.assignments[member]
    return AuditTarget(
        member=member,
        seed=derive_seed(task_id, current.index, current.attempt, member),
        shard=shards[member],
        update=assignment.blob,
        machine=assignment.machine,
        iterations=assignment.iterations,
        checkpoint_every=every,
        segments=challenge.segments,
        leaves=tuple((leaf.index, leaf.digest) for leaf in current.audits.opened[member]),
    )


def list_findings(result: AuditResult) -> list[object]:
    """Return [machine, lines] as events hold them."""
    return [result.machine, [list(line) for line in result.lines]]


def write_commit(
    key: SigningKey, run: RunState, place: tuple[int, int], result: AuditResult
) -> dict[str, object]:
    """Return the content of a juror's commitment."""
    salt = derive_salt(key, "jury", run.task_id, *place)
    bound = commit_jury(run.task_id, *place, key.pubkey, list_findings(result), salt)
    return {"commitment": bound}


def write_reveal(
    key: SigningKey, run: RunState, place: tuple[int, int], result: AuditResult
) -> dict[str, object]:
    """Return the content that opens it."""
    machine, lines = list_findings(result)
    salt = derive_salt(key, "jury", run.task_id, *place)
    return {"salt": salt, "machine": machine, "audits": lines}


def _make_job(
    run: RunState, current: RoundState, validator: str, tasks: Sequence[Challenge]
) -> AuditJob | None:
    if not tasks:
        return None
    assert run.task is not None
    every = run.task.audit.checkpoint_every
    targets = tuple(make_target(run.task_id, current, c, run.shards, every) for c in tasks)
    return AuditJob(current.index, validator, run.model, targets)
