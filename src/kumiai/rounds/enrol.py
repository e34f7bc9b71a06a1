"""Before the first round: the task is posted and funded, members enrol, the committee is ready.

TASK (customer) opens the run and names who orders, who holds the money and who may stop it. ESCROW
(the money's keeper) attests deposits. ENROL (member) needs an attested stake. START (customer)
closes enrolment. READY (validator) names the digest of the initial model; a quorum must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kumiai.base import canonical
from kumiai.base.errors import InputError
from kumiai.base.log import Record
from kumiai.consensus.quorum import compute_quorum
from kumiai.learning.privacy.masking import is_public_key
from kumiai.rounds.audit_forms import check_shards
from kumiai.rounds.effects import Outcome, PhaseEntered, refuse
from kumiai.rounds.holdouts import check_bound
from kumiai.rounds.kinds import parse_amount
from kumiai.rounds.onchain import (
    find_address_flaw,
    find_amount_flaw,
    find_chain_flaw,
    found_committee,
    read_chain,
)
from kumiai.rounds.opened import Holdouts
from kumiai.rounds.state import (
    RUN_TABLE,
    Delegation,
    Member,
    NodeState,
    RunPhase,
    RunState,
    check_transition,
)
from kumiai.tasks.document import TaskDocument, compute_task_id, task_from_document
from kumiai.tasks.secure import is_secure

NAME_LENGTH_MAX = 40
GUARDIAN_COUNT_MAX = 64
MEMBER_COUNT_MAX = 20_000
DELEGATION_COUNT_MAX = 100_000
ROLES = ("trainer", "validator", "delegator")


def on_task(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """The customer posts the task: the first record of every log."""
    if state.phase is not RunPhase.DRAFT or state.task is not None:
        return refuse(state, "wrong-phase", "this log has its task already")
    try:
        task = task_from_document(content["document"])
    except (InputError, ValueError) as error:
        return refuse(state, "bad-task", str(error))
    guardians = tuple(content["guardians"])
    if not all(
        canonical.is_hash(key) for key in (content["orderer"], content["escrow"], *guardians)
    ):
        return refuse(state, "bad-key", "orderer, escrow and guardians are 64 hex digits each")
    if len(set(guardians)) != len(guardians) or len(guardians) > GUARDIAN_COUNT_MAX:
        return refuse(state, "bad-guardians", "guardians are distinct and at most 64")
    if guardians and task.governance.guardians_required > len(guardians):
        return refuse(state, "bad-guardians", "more guardian signatures required than guardians")
    replicas = tuple(content.get("replicas", ()))
    flaw = _find_replicas_flaw(task, replicas)
    if flaw:
        return refuse(state, "bad-replicas", flaw)
    flaw = find_chain_flaw(task, record.event.pubkey, content)
    if flaw:
        return refuse(state, "bad-chain", flaw)
    return Outcome(
        replace(
            state,
            task=task,
            task_id=compute_task_id(task),
            customer=record.event.pubkey,
            orderer=content["orderer"],
            escrow=content["escrow"],
            replicas=replicas,
            guardians=guardians,
            chain=read_chain(task, content),
            canary_commitment=content["canaries"],
            deadline_ms=record.time_ms + task.deadlines.enrol_ms,
        )
    )


def _find_replicas_flaw(task: TaskDocument, replicas: tuple[object, ...]) -> str:
    """Return why these cannot be the keys that order, "" if they can."""
    wanted = task.validation.validators if task.validation.ordering == "committee" else 0
    if len(replicas) != wanted:
        return f"replicas names {len(replicas)} keys; validation asks for {wanted}"
    if not all(canonical.is_hash(key) for key in replicas) or len(set(replicas)) != wanted:
        return "replicas are 64 hex digits each, and distinct"
    return ""


def on_escrow(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """The keeper of the money attests a deposit: entry is "fund", "stake" or "delegate"."""
    if record.event.pubkey != state.escrow:
        return refuse(state, "not-escrow", "only the run's escrow attests deposits")
    if state.phase not in (RunPhase.DRAFT, RunPhase.FUNDED, RunPhase.ENROLLING):
        return refuse(state, "wrong-phase", f"no deposits during {state.phase}")
    try:
        amount = parse_amount(content["amount"])
    except ValueError as error:
        return refuse(state, "bad-amount", str(error))
    if flaw := find_amount_flaw(state, amount):
        return refuse(state, "bad-amount", flaw)
    member, node = content["member"], content["node"]
    if content["entry"] == "fund":
        return _on_fund(state, record, amount)
    if content["entry"] == "stake":
        if member in state.stakes:
            return refuse(state, "already-staked", f"{member[:12]} has its stake attested already")
        if len(state.stakes) >= MEMBER_COUNT_MAX:
            return refuse(state, "full", f"{MEMBER_COUNT_MAX} members are the most")
        return Outcome(replace(state, stakes={**state.stakes, member: amount}))
    if content["entry"] == "delegate":
        if node not in state.members or state.members[node].role == "delegator":
            return refuse(state, "no-such-node", f"{node[:12]} is no enrolled trainer or validator")
        if len(state.delegations) >= DELEGATION_COUNT_MAX:
            return refuse(state, "full", f"{DELEGATION_COUNT_MAX} delegations are the most")
        added = Delegation(delegator=member, node=node, amount=amount)
        return Outcome(replace(state, delegations=(*state.delegations, added)))
    return refuse(state, "bad-entry", f"entry {content['entry']!r} is unknown")


def on_enrol(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A member takes a role, signing the terms' hash (the task id) with its key."""
    if state.phase is not RunPhase.ENROLLING or state.task is None:
        return refuse(state, "wrong-phase", f"no enrolment during {state.phase}")
    member, role = record.event.pubkey, content["role"]
    if member in state.members:
        return refuse(state, "already-enrolled", "one key has one role in a task")
    if role not in ROLES:
        return refuse(state, "bad-role", f"role {role!r} is none of {ROLES}")
    if content["terms"] != state.task_id:
        return refuse(state, "terms-not-signed", "terms must be the task id")
    if not 0 < len(content["name"]) <= NAME_LENGTH_MAX or not content["name"].isprintable():
        return refuse(state, "bad-name", f"a name has 1 to {NAME_LENGTH_MAX} printable characters")
    if not 0 <= content["sigma_ppm"] <= 1_000_000:
        return refuse(state, "bad-sigma", "sigma_ppm lies between 0 and 1000000")
    if flaw := find_address_flaw(state, member, content["address"], content["binding"]):
        return refuse(state, "bad-binding", flaw)
    least = {
        "trainer": state.task.rewards.trainer_stake_min,
        "validator": state.task.rewards.validator_stake_min,
        "delegator": 0,
    }[role]
    stake = state.stakes.get(member, 0)
    if stake < least:
        return refuse(state, "stake-too-small", f"stake {stake} is below the minimum {least}")
    if role == "validator" and not canonical.is_hash(content["beacon_tip"]):
        return refuse(state, "no-beacon", "a validator publishes the tip of its hash chain")
    share_key = content.get("share_key", "")
    if bool(share_key) != (role == "trainer" and is_secure(state.task)):
        return refuse(state, "no-share-key", "trainers of a secure run have one, nobody else")
    if share_key and not is_public_key(share_key):
        return refuse(state, "bad-share-key", "share_key is no compressed point of the curve")
    enrolled = Member(
        pubkey=member,
        role=role,
        name=content["name"],
        address=content["address"],
        stake=stake,
        sigma_ppm=content["sigma_ppm"],
        state=NodeState.STANDBY,
        beacon_element=content["beacon_tip"],
        share_key=share_key,
    )
    return Outcome(replace(state, members={**state.members, member: enrolled}))


def on_start(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """The customer closes enrolment; the committee checks the initial model."""
    if record.event.pubkey != state.customer:
        return refuse(state, "not-customer", "only the customer closes enrolment")
    if state.phase is not RunPhase.ENROLLING or state.task is None:
        return refuse(state, "wrong-phase", f"cannot start during {state.phase}")
    roles = [member.role for member in state.members.values()]
    if "trainer" not in roles or "validator" not in roles:
        return refuse(state, "too-few", "a run needs at least one trainer and one validator")
    fault = check_shards(state, content)
    if fault is not None:
        return refuse(state, "bad-shards", fault)
    fault = check_bound(state, content)
    if fault is not None:
        return refuse(state, "bad-holdouts", fault)
    try:
        chain = found_committee(state)
    except ValueError as error:
        return refuse(state, "no-address", str(error))
    check_transition(RUN_TABLE, state.phase, RunPhase.WARMUP)
    deadline_ms = record.time_ms + state.task.deadlines.certify_ms
    shards = dict(content.get("shards", {}))
    warm = replace(
        state,
        phase=RunPhase.WARMUP,
        deadline_ms=deadline_ms,
        shards=shards,
        holdouts=Holdouts(dict(content.get("holdouts", {}))),
        chain=chain,
    )
    return Outcome(warm, (PhaseEntered(RunPhase.WARMUP, 0, 0, None, deadline_ms),))


def on_ready(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A validator names the initial model's digest."""
    member = state.members.get(record.event.pubkey)
    if state.phase is not RunPhase.WARMUP:
        return refuse(state, "wrong-phase", f"not warming up but {state.phase}")
    if member is None or member.role != "validator":
        return refuse(state, "not-validator", "only validators declare the initial model")
    if member.pubkey in state.ready:
        return refuse(state, "duplicate", "declared already")
    if not canonical.is_hash(content["model"]):
        return refuse(state, "bad-hash", "model is not a sha256")
    ready = {**state.ready, member.pubkey: content["model"]}
    return Outcome(replace(state, ready=ready))


def find_agreed_model(state: RunState) -> str | None:
    """Return the initial model that a quorum of the validators declared, if any."""
    size = sum(member.role == "validator" for member in state.members.values())
    for model in sorted(set(state.ready.values())):
        votes = sum(declared == model for declared in state.ready.values())
        if votes >= compute_quorum(size):
            return model
    return None


def _on_fund(state: RunState, record: Record, amount: int) -> Outcome:
    assert state.task is not None
    if state.phase is not RunPhase.DRAFT:
        return refuse(state, "already-funded", "the budget is in escrow already")
    if amount != state.task.rewards.budget:
        return refuse(
            state, "wrong-amount", f"{amount} arrived, the budget is {state.task.rewards.budget}"
        )
    check_transition(RUN_TABLE, RunPhase.DRAFT, RunPhase.FUNDED)
    check_transition(RUN_TABLE, RunPhase.FUNDED, RunPhase.ENROLLING)
    deadline_ms = record.time_ms + state.task.deadlines.enrol_ms
    opened = replace(state, phase=RunPhase.ENROLLING, funded=amount, deadline_ms=deadline_ms)
    return Outcome(
        opened,
        (
            PhaseEntered(RunPhase.FUNDED, 0, 0, None, deadline_ms),
            PhaseEntered(RunPhase.ENROLLING, 0, 0, None, deadline_ms),
        ),
    )
