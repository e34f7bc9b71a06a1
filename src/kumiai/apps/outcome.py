"""After the last record: models and receipts written, the folder sealed, the view made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from kumiai.adapters.language.peft_format import make_adapter_files
from kumiai.adapters.store import seal
from kumiai.apps.alone import Comparison, compare_alone
from kumiai.apps.evidence import make_evidence_file
from kumiai.apps.finished import ExportedModel, Finished, read_model
from kumiai.apps.personal import write_personal
from kumiai.apps.picture import make_view
from kumiai.apps.population import Population
from kumiai.apps.receipts import make_receipt_files
from kumiai.apps.report import write_report
from kumiai.apps.rundir import UNSEALED, RunDir
from kumiai.apps.slugs import slug
from kumiai.apps.telemetry import Telemetry
from kumiai.apps.view import ReceiptView, RunView, save_view
from kumiai.base.amounts import PPM
from kumiai.learning.slim import extract_width
from kumiai.nodes.driver import EPOCH_S
from kumiai.rounds.receipt import hash_receipt
from kumiai.rounds.state import RunPhase, RunState
from kumiai.tasks.document import TaskDocument

_VERDICT_ORDER = ("VALID", "INVALID", "INCONCLUSIVE")


def write_results(finished: Finished, is_compared: bool = False) -> RunView:
    """Write receipts and models; return the view of the whole run.

    is_compared: every data owner also finds out what it reaches alone (`alone`).
    """
    receipts = _write_receipts(finished)
    _write_evidence(finished)
    view = make_view(finished, receipts, _write_models(finished), write_personal(finished))
    return add_comparison(view, *compare_alone(finished)) if is_compared else view


def add_comparison(view: RunView, part: str, found: Mapping[str, Comparison]) -> RunView:
    """Return the view with each member's comparison of what it received with what it has alone."""
    members = tuple(
        replace(
            member,
            alone_accuracy_ppm=found[member.pubkey].alone_ppm,
            received_accuracy_ppm=found[member.pubkey].received_ppm,
        )
        if member.pubkey in found
        else member
        for member in view.members
    )
    return replace(view, members=members, alone_part=part)


def seal_and_report(
    run_dir: RunDir, population: Population, state: RunState, view: RunView
) -> None:
    """Sign the folder's hashes with the orderer's key, then write the pictures beside it."""
    created_at = EPOCH_S + state.time_ms // 1000
    seal.seal_directory(run_dir.root, population.orderer, created_at, UNSEALED)
    save_view(view, run_dir.root)
    write_report(view, run_dir.report)


def _write_evidence(finished: Finished) -> None:
    state = finished.driver.run_state
    for event in finished.telemetry.proofs:
        finished.run_dir.evidence.mkdir(exist_ok=True)
        member, data = make_evidence_file(state, event)
        name = slug(state.members[member].name, member)
        (finished.run_dir.evidence / f"{name}.json").write_bytes(data)


def _write_receipts(finished: Finished) -> tuple[ReceiptView, ...]:
    views = []
    for certified in finished.telemetry.certified:
        certificate = certified.certificate
        signatures = [finished.telemetry.signatures[e] for _, e in certificate.signers]
        files = make_receipt_files(certificate, certified.receipts, signatures)
        for (name, data), receipt in zip(files, certified.receipts, strict=True):
            path = finished.run_dir.receipts / name
            path.write_bytes(data)
            is_final = certificate.round > finished.task.training.rounds
            verdict = str(receipt["verdict"])
            views.append(
                ReceiptView(
                    member=str(receipt["name"]),
                    name="final ranking" if is_final else f"round {certificate.round}",
                    round=0 if is_final else certificate.round,
                    verdict=verdict if verdict in _VERDICT_ORDER else "-",  # type: ignore[arg-type]
                    reason=str(receipt["sentence"]),
                    amount=int(str(receipt["amount"])),
                    width_ppm=int(str(receipt["width_ppm"])),
                    hash=hash_receipt(receipt),
                    path=str(path.relative_to(finished.run_dir.root)),
                    reason_code=str(receipt["reason"]),
                    epsilon_milli=int(str(receipt["epsilon_milli"])),
                    staleness=int(str(receipt.get("staleness", 0))),
                )
            )
    return tuple(views)


def _write_models(finished: Finished) -> dict[str, ExportedModel]:
    """Cut the final model to every member's width; the customer gets all of it."""
    state, workload = finished.state, finished.workload
    if not state.model or state.phase is not RunPhase.FINISHED:
        return {}
    vector_P = torch.from_numpy(read_model(finished, state.model))
    widths = {
        workload.recipe.widths[_grid_index(finished.task, w)]
        for w in state.widths_ppm.values()
        if w
    }
    x, y = workload.data.test
    accuracies = {
        width: float(workload.engine.evaluate(vector_P[None], x, y, width)[1][0])
        for width in sorted(widths | {1.0})
    }
    exported = {}
    wanted = [(key, ppm, state.members[key].name) for key, ppm in state.widths_ppm.items() if ppm]
    wanted.append((state.customer, PPM, "customer"))
    for key, width_ppm, name in wanted:
        width = workload.recipe.widths[_grid_index(finished.task, width_ppm)]
        path = finished.run_dir.models / f"{slug(name, key)}.safetensors"
        metadata = {
            "format": "pt",
            "task": state.task_id,
            "recipe": workload.recipe.name,
            "width_ppm": str(width_ppm),
        }
        tensors = {
            n: t.contiguous() for n, t in extract_width(workload.recipe, vector_P, width).items()
        }
        save_file(tensors, path, metadata)
        write_adapter(path.with_suffix(""), make_adapter_files(workload.recipe, vector_P, width))
        accuracy_ppm = round(accuracies[width] * PPM)
        exported[key] = ExportedModel(str(path.relative_to(finished.run_dir.root)), accuracy_ppm)
    return exported


def write_adapter(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write an adapter beside the model's file, in the form that peft loads; nothing if empty."""
    for name, content in files.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def _grid_index(task: TaskDocument, width_ppm: int) -> int:
    return list(task.model.widths_ppm).index(width_ppm)


def write_telemetry(run_dir: RunDir, telemetry: Telemetry, path: Path | None = None) -> None:
    """Write the measurements for people and benchmarks."""
    run_dir.write_json(
        path or run_dir.telemetry,
        {
            "seconds": telemetry.seconds,
            "round_seconds": telemetry.round_seconds,
            "phase_seconds": telemetry.phase_seconds,
            "round_bytes": telemetry.round_bytes,
            "rejects": telemetry.rejects,
        },
    )
