"""A task file as terms on the chain: what its document says, and what only the chain asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kumiai.adapters.evm.bindings.iarena.structs import Terms
from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.tasks.document import TaskDocument, compute_task_id, parse_task

GUARDIANS_MAX = 16


@dataclass(frozen=True, slots=True)
class ChainTerms:
    """What the document does not say. Times in seconds, shares in ppm, addresses lower-case.

    activation_delay None: the document's challenge window. guardians_required None: as many as the
    document's governance section asks for.
    """

    token: str
    admission: str
    ends_in: int
    grace: int
    activation_delay: int | None
    cool_down: int
    sigma_min: int = 0
    sigma_max: int = PPM
    sigma_freeze: int = 0
    delegation_slash: int = 0
    slash_to_task: bool = False
    guardians: Sequence[str] = ()
    guardians_required: int | None = None

    def with_token(self, token: str) -> ChainTerms:
        """The same with another token."""
        return replace(self, token=token)


def read_task_file(path: Path, overrides: Mapping[str, str] | None = None) -> TaskDocument:
    """Return the task of a file; InputError names what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise InputError("task file", str(path), f"cannot be read: {reason}") from error
    return parse_task(text, overrides or {})


def make_terms(task: TaskDocument, chain: ChainTerms, now: int) -> Terms:
    """Return the terms that the contract keeps; `now`: the chain's time in Unix seconds."""
    if task.settlement.kind != "evm":
        fix = 'a task on a chain says so in its document: kind = "evm" in [settlement]'
        raise InputError("settlement.kind", task.settlement.kind, fix)
    guardians = tuple(sorted(set(chain.guardians)))
    if len(guardians) > GUARDIANS_MAX:
        raise InputError("--guardian", len(guardians), f"name at most {GUARDIANS_MAX}")
    required = chain.guardians_required
    if required is None:
        required = task.governance.guardians_required if guardians else 0
    if required > len(guardians) or (guardians and required < 1):
        fix = f"of {len(guardians)} guardians, 1 to {len(guardians)} can be required"
        raise InputError("--guardians-required", required, fix)
    delay = chain.activation_delay
    if delay is None:
        delay = -(-task.settlement.challenge_window_ms // 1_000)
    if chain.sigma_min > chain.sigma_max:
        raise InputError("--sigma-min", chain.sigma_min, "is above --sigma-max")
    return Terms(
        document=bytes.fromhex(compute_task_id(task)),
        token=chain.token,
        admission=chain.admission,
        endsAt=now + chain.ends_in,
        grace=chain.grace,
        activationDelay=delay,
        coolDown=chain.cool_down,
        sigmaFreeze=chain.sigma_freeze,
        sigmaMin=chain.sigma_min,
        sigmaMax=chain.sigma_max,
        slash=task.rewards.slash_ppm,
        delegationSlash=chain.delegation_slash,
        slashToTask=chain.slash_to_task,
        guardiansRequired=required,
        trainerStakeMin=task.rewards.trainer_stake_min,
        validatorStakeMin=task.rewards.validator_stake_min,
        guardians=guardians,
    )
