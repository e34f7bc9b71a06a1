"""A round's updates beside those shown in the rounds before, where updates may be old.

Who copies what another showed is flagged, and an old update is not blamed for its likeness to a
step that was made of its like (`proofs.stale`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.nodes import ports
from kumiai.proofs import flags as flag
from kumiai.proofs.similarity import Finding
from kumiai.proofs.stale import find_excused, find_shown
from kumiai.tasks.document import TaskDocument

IntVector = NDArray[np.int32]


def read_last_step(decoded: DecodedBlobs, job: ports.ScoreJob) -> NDArray[np.int64] | None:
    """Return how the global model moved a round ago; None in the first round, or if it did not."""
    if job.previous_model is None or job.previous_model == job.model:
        return None
    # in 64 bits: two models within +-128 can be 256 apart
    return np.subtract(
        decoded.get("model", job.model), decoded.get("model", job.previous_model), dtype=np.int64
    )


def look_back(
    task: TaskDocument,
    decoded: DecodedBlobs,
    job: ports.ScoreJob,
    updates: Sequence[IntVector | None],
    findings: Sequence[Finding],
) -> list[Finding]:
    """Return the findings with what `job.shown` adds to them, and takes away.

    What was shown and cannot be read is no original of anybody's.
    """
    places = [i for i, update_P in enumerate(updates) if update_P is not None]
    if not places:
        return list(findings)
    rows_NP = np.stack([update_P for update_P in updates if update_P is not None])
    flags = {i: findings[i].flags for i in places}
    for number in sorted({number for number, _, _ in job.shown}):
        owners, shown_MP = _read_shown(decoded, job, number)
        own = [[job.updates[i].member == owner for owner in owners] for i in places]
        is_own_NM = np.array(own, dtype=bool).reshape(len(places), len(owners))
        limit_ppm = task.validation.duplicate_cosine_ppm
        for i, is_copy in zip(
            places, find_shown(rows_NP, shown_MP, is_own_NM, limit_ppm), strict=True
        ):
            flags[i] |= flag.SHOWN if is_copy else 0
        previous_P = read_last_step(decoded, job) if number == job.round - 1 else None
        if previous_P is not None and len(shown_MP):
            excused = find_excused(rows_NP, shown_MP, previous_P)
            for i, is_excused in zip(places, excused, strict=True):
                if is_excused and job.updates[i].staleness:
                    flags[i] &= ~flag.REPLAY
    return [
        Finding(flags.get(i, finding.flags), finding.duplicate_of)
        for i, finding in enumerate(findings)
    ]


def _read_shown(
    decoded: DecodedBlobs, job: ports.ScoreJob, number: int
) -> tuple[list[str], IntVector]:
    """Return whose and what was shown in round `number`, as far as it can be read [M, P]."""
    found = [
        (member, decoded.find("update", blob))
        for place, member, blob in job.shown
        if place == number
    ]
    rows = [update_P for _, update_P in found if update_P is not None]
    owners = [member for member, update_P in found if update_P is not None]
    return owners, np.stack(rows) if rows else np.zeros((0, decoded.size), dtype=np.int32)
