"""Others' score sheets, computed anew from the hold-outs that the customer opened.

What is recomputed is `scoring.score_round`, as in the run and in `kumiai verify`; what is compared,
`proofs.sheets`. A scoring that this process has done itself on the very same data is not done
twice: the members of a local run live in one process, and their honest sheets are recognised. Who
invented its scores has done no such scoring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from kumiai.adapters.compute.decoded import DecodedBlobs, read_or_none
from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.adapters.compute.nesting import Nesting
from kumiai.adapters.compute.scoring import Holdout, score_round
from kumiai.adapters.compute.secure_work import GroupSums
from kumiai.learning.layout import Layout
from kumiai.learning.recipe import Recipe
from kumiai.nodes import ports
from kumiai.nodes.rechecking import read_result
from kumiai.proofs.sheets import SheetNumbers, is_honest
from kumiai.tasks.document import TaskDocument

HOLDOUT_BYTES_MAX = 2**31
SHEETS_KEPT_MAX = 4_096  # of this process's own scorings


class Rechecker:
    """Recomputes sheets for the validators of this process. own: their hold-outs as handed out."""

    def __init__(  # everything that scoring needs, and where the opened data are
        self,
        task: TaskDocument,
        recipe: Recipe,
        layout: Layout,
        blobs: ports.BlobPort,
        decoded: DecodedBlobs,
        nesting: Nesting,
        sums: GroupSums,
        own: Mapping[str, Holdout],
    ) -> None:
        self._task, self._recipe, self._layout, self._blobs = task, recipe, layout, blobs
        self._decoded, self._nesting, self._sums, self._own = decoded, nesting, sums, own
        self._done: dict[ports.ScoreJob, SheetNumbers] = {}

    def remember(
        self, jobs: Sequence[ports.ScoreJob], results: Sequence[ports.ScoreResult]
    ) -> None:
        """Keep what this process scored itself, the latest SHEETS_KEPT_MAX."""
        for job, result in zip(jobs, results, strict=True):
            self._done[replace(job, wants_root=False)] = read_result(result)
        while len(self._done) > SHEETS_KEPT_MAX:
            del self._done[next(iter(self._done))]

    def recheck(self, jobs: Sequence[ports.RecheckJob]) -> list[ports.RecheckResult]:
        """Tell which of the jobs' sheets are false; each is computed once, whoever asks.

        About a sheet whose hold-out cannot be read nothing is said.
        """
        targets = [target for job in jobs for target in job.targets]
        blobs = {target.job.validator: target.holdout for target in targets}
        holdouts = {author: read_holdout(self._blobs, blob) for author, blob in blobs.items()}
        readable = {author: found for author, found in holdouts.items() if found is not None}
        wanted = dict.fromkeys(t.job for t in targets if t.job.validator in readable)
        found = {job: self._done[job] for job in wanted if self._is_done(job, readable)}
        for number in dict.fromkeys(job.round for job in wanted):
            missing = [job for job in wanted if job.round == number and job not in found]
            found.update(zip(missing, self._score(missing, readable), strict=True))
        return [_answer(job, found) for job in jobs]

    def _is_done(self, job: ports.ScoreJob, holdouts: Mapping[str, Holdout]) -> bool:
        """Only on equal data: what the customer opens need not be what it handed out."""
        own, opened = self._own.get(job.validator), holdouts[job.validator]
        if job not in self._done or own is None:
            return False
        pairs = zip((*own.a, *own.b), (*opened.a, *opened.b), strict=True)
        return all(torch.equal(ours, theirs) for ours, theirs in pairs)

    def _score(
        self, jobs: Sequence[ports.ScoreJob], holdouts: Mapping[str, Holdout]
    ) -> list[SheetNumbers]:
        if not jobs:
            return []
        chosen = [holdouts[job.validator] for job in jobs]
        parts = [part for holdout in chosen for part in (holdout.a, holdout.b)]
        measure = HoldoutMeasure(self._recipe, self._layout, parts)
        results = score_round(self._task, measure, self._decoded, jobs, self._nesting, self._sums)
        return [read_result(result) for result in results]


def read_holdout(blobs: ports.BlobPort, name: str) -> Holdout | None:
    """Return the two hold-outs in a blob; None where it is missing or has another form."""

    def read() -> Holdout:
        try:
            tensors = load_tensors(blobs.get(name, HOLDOUT_BYTES_MAX))
            a, b = (tensors["xa"], tensors["ya"]), (tensors["xb"], tensors["yb"])
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"blob {name[:12]} holds no two hold-outs: {error}") from error
        return Holdout(a, b)

    return read_or_none(read)


def _answer(
    job: ports.RecheckJob, found: Mapping[ports.ScoreJob, SheetNumbers]
) -> ports.RecheckResult:
    lines = tuple(
        (t.job.round, t.job.validator, not is_honest(found[t.job], t.claimed))
        for t in job.targets
        if t.job in found
    )
    return ports.RecheckResult(job.validator, lines, job.is_jury)
