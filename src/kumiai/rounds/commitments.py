"""Commitments: a hash that binds its author to something before anybody may see it.

Each is sha256 over a canonical array that names its purpose, the task, the round, the author and a
secret salt. Naming the author means that a commitment cannot be stolen by publishing it as one's
own; the salt means that a small set of possible contents cannot be guessed from the hash.
"""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.base import canonical


def commit_update(
    task_id: str,
    round_index: int,
    attempt: int,
    member: str,
    blob: str,
    salt: str,
    trace: tuple[str, int] | None = None,
) -> str:
    """Bind a trainer to the update `blob` (sha256 of its bytes).

    trace: in audited runs, the root of its trace and its iterations, which give the tree's size.
    """
    bound = [] if trace is None else list(trace)
    return _hash("update", [task_id, round_index, attempt, member, blob, salt, *bound])


def commit_scores(
    task_id: str,
    round_index: int,
    attempt: int,
    validator: str,
    sheet: Sequence[object],
    salt: str,
) -> str:
    """Bind a validator to [lines, loss_ppm, accuracy_ppm, final_commitment]."""
    return _hash("scores", [task_id, round_index, attempt, validator, list(sheet), salt])


def commit_jury(
    task_id: str, round_index: int, attempt: int, validator: str, sheet: Sequence[object], salt: str
) -> str:
    """Bind a juror to [machine, lines] about the accused."""
    return _hash("jury", [task_id, round_index, attempt, validator, list(sheet), salt])


def commit_final(
    task_id: str, round_index: int, attempt: int, validator: str, values: Sequence[int], salt: str
) -> str:
    """Bind a validator to its second hold-out's values until the run has ended."""
    return _hash("final", [task_id, round_index, attempt, validator, list(values), salt])


def commit_holdout(task_id: str, validator: str, blob: str, salt: str) -> str:
    """Bind the customer to the hold-out `blob` (sha256 of its bytes) that this validator gets."""
    return _hash("holdout", [task_id, validator, blob, salt])


def commit_canaries(members: Sequence[str], salt: str) -> str:
    """Bind the customer to which members are probes; independent of their order."""
    return _hash("canaries", [sorted(members), salt])


def _hash(purpose: str, fields: list[object]) -> str:
    return canonical.sha256_hex(canonical.encode([f"kumiai/{purpose}/1", *fields]))
