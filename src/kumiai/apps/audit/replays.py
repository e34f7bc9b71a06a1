"""Were the audits right? Opened segments, trained again from the run's own files.

That verdicts follow from what validators signed, and money from verdicts, the log's own fold shows.
Here the replays themselves are done anew, on this machine: shards and opened states are blobs of
the run. Equal digests are proof anywhere; a difference is an error on a machine of the trainer's
class, and a note elsewhere. Of many audits a random sample is replayed, drawn at every call.
"""

from __future__ import annotations

import random

import torch

from kumiai.adapters.compute.audited import AuditedCompute
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.task_work import make_settings
from kumiai.apps.audit.subject import Subject
from kumiai.apps.workload import load_run_recipe
from kumiai.nodes.auditing import make_target
from kumiai.proofs.verdict import Verdict
from kumiai.rounds.audits import conclude_audit
from kumiai.rounds.opened import Challenge
from kumiai.rounds.state import RoundState
from kumiai.tasks.audit import is_audited

REPLAYS_MAX = 200  # audits


def check_replays(subject: Subject) -> int:
    """Replay the opened audits of certified rounds; return how many were."""
    state = subject.replay.state
    if state.task is None or not is_audited(state.task):
        return 0
    opened = [
        (current, challenge)
        for current in subject.replay.rounds.values()
        for challenge in current.audits.challenges
        if challenge.member in current.audits.opened
    ]
    chosen = opened
    if len(opened) > REPLAYS_MAX:
        chosen = random.SystemRandom().sample(opened, REPLAYS_MAX)
        subject.report.note(
            "replays", f"{len(chosen)} of {len(opened)} audits, drawn at random, were replayed"
        )
    recipe = load_run_recipe(subject.run_dir.read_plan(), state.task)
    engine = Engine(recipe, make_settings(state.task, recipe), "inline", None)
    compute = AuditedCompute(state.task, recipe, engine, subject.blobs, {}, {})
    torch.set_num_threads(1)
    for current, challenge in chosen:
        _check_one(subject, compute, current, challenge)
    return len(chosen)


def _check_one(
    subject: Subject, compute: AuditedCompute, current: RoundState, challenge: Challenge
) -> None:
    state = subject.replay.state
    assert state.task is not None
    every = state.task.audit.checkpoint_every
    target = make_target(state.task_id, current, challenge, state.shards, every)
    model, _, _ = subject.replay.models_before[current.index]
    (found, segment, _), _ = compute.replay(model, current.index, target)
    certified = conclude_audit(current, challenge.member)
    where = f"round {current.index}"
    name = state.members[challenge.member].name
    if found == Verdict.INCONCLUSIVE:
        subject.report.note(
            where,
            f"{name}'s trace was made on a machine of another class, and differs here: "
            "only a machine of its class can tell",
        )
    elif found == Verdict.MISSING:
        subject.report.note(where, f"{name}'s opened states are not in this folder")
    elif certified in (Verdict.VALID, Verdict.INVALID) and found != certified:
        subject.report.error(
            where, f"{name}'s trace was certified {certified}, its replay gives {found} ({segment})"
        )
