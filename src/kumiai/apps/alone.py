"""Was it worth taking part? Each member's own network against the one it received, on equal data.

The comparison is the member's own and stays in its run's folder: nobody else has its data, so
nobody could check it, and it enters neither log nor seal. It is measured on the hold-outs where the
run opens them, else on the test part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kumiai.adapters.compute.alone import measure_alone
from kumiai.adapters.compute.measure import Samples
from kumiai.adapters.compute.task_work import make_settings
from kumiai.apps.finished import Finished, read_model
from kumiai.apps.scenarios import has_shard
from kumiai.base.amounts import PPM
from kumiai.nodes.role import derive_seed
from kumiai.rounds.state import RunPhase


@dataclass(frozen=True, slots=True)
class Comparison:
    """One member's accuracies on the same part. received_ppm: None where it earned no model."""

    alone_ppm: int
    received_ppm: int | None


def compare_alone(finished: Finished) -> tuple[str, dict[str, Comparison]]:
    """Return the part ("holdout" or "test") and every data owner's comparison, by public key."""
    task, state, workload = finished.task, finished.state, finished.workload
    name, part = _choose_part(finished)
    if not state.model or state.phase is not RunPhase.FINISHED or not len(part[1]):
        return "", {}
    owners = [p for p in finished.population.named("trainer") if has_shard(p)]
    keys = [finished.population.pubkey(person.name) for person in owners]
    accuracies = measure_alone(
        workload.recipe,
        make_settings(task, workload.recipe),
        workload.data.shards,
        [_count_rounds(finished, key) for key in keys],
        [derive_seed("alone", state.task_id, key) for key in keys],
        part,
    )
    received = _measure_received(finished, part)
    return name, {
        key: Comparison(round(PPM * alone), received.get(state.widths_ppm.get(key, 0)))
        for key, alone in zip(keys, accuracies, strict=True)
        if alone is not None
    }


def _choose_part(finished: Finished) -> tuple[str, Samples]:
    data = finished.workload.data
    if not finished.state.holdout_blobs:
        return "test", data.test
    parts = [part for both in data.validation for part in both]
    return "holdout", (torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))


def _count_rounds(finished: Finished, key: str) -> int:
    """In how many certified rounds this member delivered an update."""
    return sum(
        receipt["member"] == key and bool(receipt["blob"])
        for certified in finished.telemetry.certified
        for receipt in certified.receipts
    )


def _measure_received(finished: Finished, part: Samples) -> dict[int, int]:
    """The accuracy of the final model at each width that somebody received, both in ppm."""
    grid, recipe = list(finished.task.model.widths_ppm), finished.workload.recipe
    vector_P = torch.from_numpy(read_model(finished, finished.state.model))
    engine = finished.workload.engine
    return {
        width: round(
            PPM
            * float(engine.evaluate(vector_P[None], *part, recipe.widths[grid.index(width)])[1][0])
        )
        for width in sorted({w for w in finished.state.widths_ppm.values() if w})
    }
