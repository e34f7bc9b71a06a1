"""A round's updates beside those shown in the rounds before, where updates may be old.

Who copies what another showed is flagged, and an old update is not blamed for its likeness to a
step that was made of its like (`proofs.stale`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.compute.decoded import UPDATE, DecodedBlobs
from kumiai.nodes import ports
from kumiai.proofs import flags as flag
from kumiai.proofs.similarity import Finding, SimilarityLimits, find_flags
from kumiai.proofs.stale import find_copies_by_base, find_excused

IntMatrix = NDArray[np.int32]


class Shown(NamedTuple):
    """What earlier rounds showed, as far as it can be read: rows [M, P], and whose, when, from."""

    rows_MP: IntMatrix
    owners: list[str]
    rounds: list[int]
    bases: list[int]


def read_last_step(decoded: DecodedBlobs, job: ports.ScoreJob) -> NDArray[np.int64] | None:
    """Return how the global model moved a round ago; None in the first round, or if it did not."""
    if job.previous_model is None or job.previous_model == job.model:
        return None
    # in 64 bits: two models within +-128 can be 256 apart
    return np.subtract(
        decoded.get("model", job.model), decoded.get("model", job.previous_model), dtype=np.int64
    )


def find_flags_looking_back(
    decoded: DecodedBlobs,
    job: ports.ScoreJob,
    refs: Sequence[ports.UpdateRef],
    rows_NP: IntMatrix,
    previous_P: NDArray[np.int64] | None,
    limits: SimilarityLimits,
) -> list[Finding]:
    """As `find_flags` for the updates `refs`, beside what `job.shown` names.

    What was shown and cannot be read is no original of anybody's; nor is one's own.
    """
    shown, count = _read_shown(decoded, job), len(refs)
    is_copy = find_copies_by_base(
        rows_NP,
        [job.round - ref.staleness for ref in refs],
        shown.rows_MP,
        shown.bases,
        limits.duplicate_cosine_ppm,
    )
    heights = [ref.commit_height for ref in refs]
    found = find_flags(rows_NP, heights, previous_P, limits, is_copy[:, :count])
    last = [number == job.round - 1 for number in shown.rounds]
    excused = np.zeros(count, dtype=bool)
    if previous_P is not None and any(last):
        excused = find_excused(rows_NP, shown.rows_MP[last], previous_P)
    findings = []
    for place, (ref, finding) in enumerate(zip(refs, found, strict=True)):
        flags = finding.flags
        if ref.staleness and excused[place]:
            flags &= ~flag.REPLAY
        originals = zip(is_copy[place, count:], shown.owners, strict=True)
        if any(is_one and owner != ref.member for is_one, owner in originals):
            flags |= flag.SHOWN
        findings.append(Finding(flags, finding.duplicate_of))
    return findings


def _read_shown(decoded: DecodedBlobs, job: ports.ScoreJob) -> Shown:
    found = [(decoded.find(UPDATE, blob), who, when, base) for when, who, blob, base in job.shown]
    read = [(row_P, who, when, base) for row_P, who, when, base in found if row_P is not None]
    rows = [row_P for row_P, *_ in read]
    return Shown(
        np.stack(rows) if rows else np.zeros((0, decoded.size), dtype=np.int32),
        [who for _, who, _, _ in read],
        [when for _, _, when, _ in read],
        [base for *_, base in read],
    )
