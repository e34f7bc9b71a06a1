"""What every member does apart from its role's work: enrol, and come back after a silence."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kumiai.base import keys
from kumiai.base.keys import SigningKey
from kumiai.nodes.role import Action, Input, Memory, Publish
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import NodeState, RunPhase, RunState


@dataclass(frozen=True, slots=True)
class Enrolment:
    """How a member presents itself. `funds_key` receives money and vouches for the work key."""

    role: str
    name: str
    funds_key: SigningKey
    sigma_ppm: int = 0
    beacon_tip: str = ""
    share_key: str = ""  # of a trainer in a secure run


@dataclass(frozen=True, slots=True)
class Delegator:
    """A member that only puts stake behind others: it enrols and does nothing else."""

    key: SigningKey
    enrolment: Enrolment

    def step(
        self, memory: Memory, run: RunState, event: Input
    ) -> tuple[Memory, tuple[Action, ...]]:
        """Take one input; see `Role`."""
        return enrol_or_rejoin(self.key, self.enrolment, memory, run) or (memory, ())


def enrol_or_rejoin(
    key: SigningKey, enrolment: Enrolment, memory: Memory, run: RunState
) -> tuple[Memory, tuple[Action, ...]] | None:
    """Return what must be published before any other work, or None when nothing must."""
    if run.phase is RunPhase.ENROLLING and key.pubkey not in run.members:
        if ("enrol", 0, 0) in memory.done:
            return memory, ()
        remembered = replace(memory, done=memory.done | {("enrol", 0, 0)})
        return remembered, (Publish(Kind.ENROL, _enrol_content(key, enrolment, run)),)
    member = run.members.get(key.pubkey)
    if member is None or member.state is not NodeState.DROPPED:
        return None
    place = (len(run.certificates) + 1, run.round.attempt if run.round else run.attempts_used)
    mark = (f"rejoin/{member.missed_count}", *place)
    if mark in memory.done:
        return memory, ()
    remembered = replace(memory, done=memory.done | {mark})
    return remembered, (Publish(Kind.REJOIN, {"task": run.task_id}),)


def _enrol_content(key: SigningKey, enrolment: Enrolment, run: RunState) -> dict[str, object]:
    return {
        "task": run.task_id,
        "role": enrolment.role,
        "name": enrolment.name,
        "sigma_ppm": enrolment.sigma_ppm,
        "terms": run.task_id,
        "beacon_tip": enrolment.beacon_tip,
        "address": keys.compute_address(enrolment.funds_key),
        "binding": keys.sign_binding(enrolment.funds_key, key.pubkey),
        **({"share_key": enrolment.share_key} if enrolment.share_key else {}),
    }
