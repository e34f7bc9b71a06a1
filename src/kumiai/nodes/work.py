"""Batches of work: run together, remembered in the vault, never done twice.

A batch is all jobs of one sort that are waiting when the first of them is due, so an engine can
stack them. Its results are stored as one entry under the hash of its jobs: after a crash either the
whole batch is known or it is done again, because a stacked computation may round differently
when its members change.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from kumiai.base import canonical
from kumiai.base.errors import InternalError
from kumiai.nodes.ports import (
    AggregateJob,
    AggregateResult,
    AuditJob,
    AuditPort,
    AuditResult,
    ComputePort,
    CurveJob,
    CurveResult,
    JobResult,
    OpenJob,
    OpenResult,
    RecheckJob,
    RecheckResult,
    ScoreJob,
    ScoreLine,
    ScoreResult,
    TrainJob,
    TrainResult,
    VaultPort,
)
from kumiai.nodes.rechecking import RecheckPort
from kumiai.nodes.role import BuildModel, Work

Result = JobResult | str
Sort = tuple[str, int, int]  # (a name of _NAMES or "build", round, attempt)

_NAMES = {
    TrainJob: "train",
    ScoreJob: "score",
    AggregateJob: "aggregate",
    CurveJob: "curve",
    OpenJob: "open",
    AuditJob: "audit",
    RecheckJob: "recheck",
}


def sort_of(asked: Work | BuildModel) -> Sort:
    """Jobs of one sort may run together."""
    if isinstance(asked, BuildModel):
        return ("build", 0, 0)
    return (_NAMES[type(asked.job)], asked.job.round, asked.attempt)


def run_batch(
    batch: Sequence[Work | BuildModel], compute: ComputePort, vault: VaultPort
) -> list[Result]:
    """Return one result a job, from the vault if this very batch was done before."""
    key = _name_batch(batch)
    known = vault.get(key)
    if known is not None:
        return [_decode(entry) for entry in json.loads(known)]
    results = _compute(batch, compute)
    vault.put(key, json.dumps([_encode(result) for result in results]).encode())
    return results


def _compute(batch: Sequence[Work | BuildModel], compute: ComputePort) -> list[Result]:
    first = batch[0]
    if isinstance(first, BuildModel):
        return [compute.init_model()] * len(batch)
    jobs = [asked.job for asked in batch if isinstance(asked, Work)]
    if isinstance(first.job, TrainJob):
        return list(compute.train([job for job in jobs if isinstance(job, TrainJob)]))
    if isinstance(first.job, ScoreJob):
        return list(compute.score([job for job in jobs if isinstance(job, ScoreJob)]))
    if isinstance(first.job, CurveJob):
        return [compute.measure_curve(job) for job in jobs if isinstance(job, CurveJob)]
    if isinstance(first.job, RecheckJob):
        if not isinstance(compute, RecheckPort):
            raise InternalError(
                f"{type(compute).__name__} cannot recheck, which the run asks of it"
            )
        return list(compute.recheck([job for job in jobs if isinstance(job, RecheckJob)]))
    if isinstance(first.job, OpenJob | AuditJob):
        if not isinstance(compute, AuditPort):
            raise InternalError(f"{type(compute).__name__} cannot audit, which the run asks of it")
        if isinstance(first.job, OpenJob):
            return list(compute.open_traces([job for job in jobs if isinstance(job, OpenJob)]))
        return list(compute.audit([job for job in jobs if isinstance(job, AuditJob)]))
    return [compute.aggregate(job) for job in jobs if isinstance(job, AggregateJob)]


def _name_batch(batch: Sequence[Work | BuildModel]) -> str:
    """Jobs hold nothing but numbers, texts and tuples, of which `repr` tells everything."""
    described = [
        ("build",) if isinstance(asked, BuildModel) else (sort_of(asked), asked.job)
        for asked in batch
    ]
    return "work/" + canonical.sha256_hex(repr(described).encode())


def _encode(result: Result) -> object:
    if isinstance(result, str):
        return result
    entry = _list_fields(result)
    if isinstance(result, ScoreResult):
        entry["lines"] = [_list_fields(line) for line in result.lines]
    return [type(result).__name__, entry]


def _list_fields(record: JobResult | ScoreLine) -> dict[str, Any]:
    """As `dataclasses.asdict`, which copies deeply and costs more than the round's signatures."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _decode(entry: object) -> Result:
    if isinstance(entry, str):
        return entry
    assert isinstance(entry, list)
    name, fields = entry
    if name == "TrainResult":
        return TrainResult(**{**fields, "trace": tuple(fields["trace"])})
    if name == "OpenResult":
        return OpenResult(**{**fields, "digests": tuple(fields["digests"])})
    if name == "AuditResult":
        lines = tuple((verdict, segment, digest) for verdict, segment, digest in fields["lines"])
        return AuditResult(**{**fields, "lines": lines})
    if name == "RecheckResult":
        sheets = tuple((index, author, is_false) for index, author, is_false in fields["lines"])
        return RecheckResult(**{**fields, "lines": sheets})
    if name == "AggregateResult":
        return AggregateResult(**fields)
    if name == "CurveResult":
        return CurveResult(**{**fields, "accuracies_ppm": tuple(fields["accuracies_ppm"])})
    scores = tuple(ScoreLine(**line) for line in fields.pop("lines"))
    return ScoreResult(lines=scores, **fields)
