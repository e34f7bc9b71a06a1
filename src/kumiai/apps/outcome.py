"""After the last record: models cut and written, receipts written, the folder sealed, the view made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from kumiai import __version__
from kumiai.adapters.store import seal
from kumiai.apps import flows
from kumiai.apps.population import Casting, Person, Population
from kumiai.apps.receipts import make_receipt_files
from kumiai.apps.rundir import UNSEALED, RunDir
from kumiai.apps.slugs import slug
from kumiai.apps.telemetry import Telemetry
from kumiai.apps.view import (
    CertificateView,
    MemberView,
    ReceiptView,
    RoundView,
    RunView,
    save_view,
)
from kumiai.apps.workload import Workload
from kumiai.learning import fixed_point
from kumiai.learning.slim import extract_width
from kumiai.nodes.driver import EPOCH_S, Driver
from kumiai.nodes.ports import BlobPort
from kumiai.rounds.receipt import REASONS, hash_receipt
from kumiai.rounds.state import NodeState, RunPhase, RunState, Tally
from kumiai.settlement.ledger import LedgerCommand
from kumiai.tasks.document import TaskDocument, to_document

_PPM = 1_000_000
_JOULE_PER_FLOP = 2e-11  # an estimate (50 GFLOP/s a watt), and shown as one
_VERDICT_ORDER = ("VALID", "INVALID", "INCONCLUSIVE")


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything that is left in memory when the driver has stopped."""

    run_dir: RunDir
    task: TaskDocument
    casting: Casting
    population: Population
    workload: Workload
    driver: Driver
    telemetry: Telemetry
    blobs: BlobPort
    commands: tuple[LedgerCommand, ...]

    @property
    def state(self) -> RunState:
        """The folded log."""
        return self.driver.run_state


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A member's model file and how good it is on the test part."""

    path: str
    accuracy_ppm: int


def write_results(finished: Finished) -> RunView:
    """Write receipts and models; return the view of the whole run."""
    receipts = _write_receipts(finished)
    models = _write_models(finished)
    state, telemetry = finished.state, finished.telemetry
    names = _names(finished)
    money = flows.summarise(finished.commands, names)
    rounds = _round_views(finished)
    flop = sum(tally.flop for tally in state.tallies.values())
    paid = sum(f.amount for f in money if f.kind in ("round", "final"))
    return RunView(
        task=to_document(finished.task),
        task_id=state.task_id,
        scenario=finished.casting.scenario,
        phase=state.phase.value,
        seed=finished.task.seed,
        members=_member_views(finished, models, receipts),
        rounds=rounds,
        flows=money,
        certificates=_certificate_views(finished, names),
        receipts=receipts,
        totals={
            "funded": state.funded,
            "paid": paid,
            "locked": 0,
            "refunded": sum(f.amount for f in money if f.kind == "refund"),
            "burnt": sum(f.amount for f in money if f.kind == "slash"),
            "bytes": sum(telemetry.round_bytes.values()),
            "flop": flop,
            "energy_wh": round(flop * _JOULE_PER_FLOP / 3600, 6),
            "seconds": round(telemetry.seconds, 3),
        },
        indicators=_indicators(finished),
        environment={
            "kumiai": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": f"{platform.system()} {platform.machine()}",
            "data": finished.workload.description,
            "licence": finished.workload.licence,
            "engine": finished.workload.engine.reason,
        },
        notes=_notes(finished),
    )


def seal_and_report(run_dir: RunDir, population: Population, state: RunState, view: RunView) -> None:
    """Sign the folder's hashes with the orderer's key, then write the pictures beside it."""
    from kumiai.apps.report import write_report

    created_at = EPOCH_S + state.time_ms // 1000
    seal.seal_directory(run_dir.root, population.orderer, created_at, UNSEALED)
    save_view(view, run_dir.root)
    write_report(view, run_dir.report)


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
                )
            )
    return tuple(views)


def _write_models(finished: Finished) -> dict[str, ExportedModel]:
    """Cut the final model to every member's width; the customer gets all of it."""
    state, workload = finished.state, finished.workload
    if not state.model or state.phase is not RunPhase.FINISHED:
        return {}
    vector_P = torch.from_numpy(_read_model(finished, state.model))
    widths = {workload.recipe.widths[_grid_index(finished.task, w)] for w in state.widths_ppm.values() if w}
    x, y = workload.data.test
    accuracies = {
        width: float(workload.engine.evaluate(vector_P[None], x, y, width)[1][0])
        for width in sorted(widths | {1.0})
    }
    exported = {}
    wanted = [(key, ppm, state.members[key].name) for key, ppm in state.widths_ppm.items() if ppm]
    wanted.append((state.customer, _PPM, "customer"))
    for key, width_ppm, name in wanted:
        width = workload.recipe.widths[_grid_index(finished.task, width_ppm)]
        path = finished.run_dir.models / f"{slug(name, key)}.safetensors"
        metadata = {
            "format": "pt",
            "task": state.task_id,
            "recipe": workload.recipe.name,
            "width_ppm": str(width_ppm),
        }
        tensors = {n: t.contiguous() for n, t in extract_width(workload.recipe, vector_P, width).items()}
        save_file(tensors, path, metadata)
        accuracy_ppm = round(accuracies[width] * _PPM)
        exported[key] = ExportedModel(str(path.relative_to(finished.run_dir.root)), accuracy_ppm)
    return exported


def _grid_index(task: TaskDocument, width_ppm: int) -> int:
    return list(task.model.widths_ppm).index(width_ppm)


def _read_model(finished: Finished, blob: str) -> np.ndarray:
    size = finished.workload.engine.layout.size
    data = finished.blobs.get(blob, fixed_point.compute_size_bytes_max(size))
    return fixed_point.dequantise(fixed_point.decode_vector("model", data, size))


def _names(finished: Finished) -> dict[str, str]:
    names = {key: member.name for key, member in finished.state.members.items()}
    names[finished.state.customer] = "customer"
    return names


def _round_views(finished: Finished) -> tuple[RoundView, ...]:
    """Test loss and accuracy of every certified model, all evaluated at once."""
    telemetry, state = finished.telemetry, finished.state
    certified = [c for c in telemetry.certified if c.certificate.round <= finished.task.training.rounds]
    if not certified:
        return ()
    vectors = torch.from_numpy(
        np.stack([_read_model(finished, str(c.certificate.body["model"])) for c in certified])
    )
    x, y = finished.workload.data.test
    losses, accuracies = finished.workload.engine.evaluate(vectors, x, y)
    views = []
    for place, each in enumerate(certified):
        index = each.certificate.round
        trainers = [r for r in each.receipts if r["role"] == "trainer"]
        trainers = [r for r in trainers if r["member"] not in (state.canaries or ())]
        views.append(
            RoundView(
                round=index,
                loss_ppm=round(float(losses[place]) * _PPM),
                accuracy_ppm=round(float(accuracies[place]) * _PPM),
                bytes=telemetry.round_bytes.get(index, 0),
                virtual_ms=telemetry.round_ended_ms[index] - telemetry.round_started_ms.get(index, 0),
                seconds=round(telemetry.round_seconds.get(index, 0.0), 4),
                phase_seconds={
                    k: round(v, 4) for k, v in telemetry.phase_seconds.get(index, {}).items()
                },
                included=tuple(str(r["name"]) for r in trainers if r["reason"] == "counted"),
                excluded=tuple(
                    (str(r["name"]), str(r["sentence"])) for r in trainers if r["reason"] != "counted"
                ),
                late=telemetry.late.get(index, ()),
                values={str(r["name"]): int(str(r["value_ppm"])) for r in trainers},
            )
        )
    return tuple(views)


def _member_views(
    finished: Finished, models: dict[str, ExportedModel], receipts: Sequence[ReceiptView]
) -> tuple[MemberView, ...]:
    people = {finished.population.pubkey(p.name): p for p in finished.casting.people}
    views = [
        _member_view(finished, key, person, models, receipts)
        for key, person in people.items()
        if key in finished.state.members
    ]
    customer = finished.state.customer
    full = models.get(customer)
    views.append(
        MemberView(
            pubkey=customer,
            name="customer",
            role="customer",
            reason="Posted and funded the task.",
            reason_code="customer",
            width_ppm=_PPM if full else 0,
            model_path=full.path if full else "",
            model_accuracy_ppm=full.accuracy_ppm if full else None,
        )
    )
    return tuple(views)


def _member_view(
    finished: Finished,
    key: str,
    person: Person,
    models: dict[str, ExportedModel],
    receipts: Sequence[ReceiptView],
) -> MemberView:
    state = finished.state
    member, tally = state.members[key], state.tallies.get(key, Tally())
    mine = [r for r in receipts if r.member == member.name]
    rounds = [r for r in mine if r.round > 0]
    verdict, code, sentence = _conclude(state, key, person.role, rounds, mine)
    model = models.get(key)
    return MemberView(
        pubkey=key,
        name=member.name,
        role=person.role,  # type: ignore[arg-type]
        behaviour=person.behaviour,
        verdict=verdict,  # type: ignore[arg-type]
        reason=sentence,
        reason_code=code,
        contribution_ppm=tally.value,
        error_ppm=isqrt(tally.error_squared),
        stake=member.stake or sum(amount for _, amount in person.backs),
        delegated=sum(d.amount for d in state.delegations if d.node == key),
        reward=tally.earned,
        slashed=tally.slashed,
        width_ppm=state.widths_ppm.get(key, 0),
        model_path=model.path if model else "",
        model_accuracy_ppm=model.accuracy_ppm if model else None,
        samples=_shard_size(finished, key),
        bytes_sent=tally.bytes_sent,
        flop=tally.flop,
        round_verdicts=tuple(r.verdict for r in rounds) if person.role in ("trainer", "canary") else (),
    )


def _conclude(
    state: RunState,
    key: str,
    role: str,
    rounds: Sequence[ReceiptView],
    mine: Sequence[ReceiptView],
) -> tuple[str, str, str]:
    """The verdict over the whole run, and the reason that was given most often for it."""
    if role not in ("trainer", "canary"):
        last = mine[-1] if mine else None
        return "-", last.reason_code if last else "", last.reason if last else ""
    tally, member = state.tallies.get(key, Tally()), state.members[key]
    if role == "canary":
        return "INVALID" if tally.rounds_invalid else "-", "canary", REASONS["canary"]
    if member.state is NodeState.EJECTED or tally.rounds_invalid > tally.rounds_valid:
        verdict = "INVALID"
    elif tally.rounds_valid:
        verdict = "VALID"
    else:
        verdict = "INCONCLUSIVE"
    fitting = [r for r in rounds if r.verdict == verdict] or list(rounds)
    if not fitting:
        return verdict, "no-reply", REASONS["no-reply"]
    codes = [r.reason_code for r in fitting]
    code = max(sorted(set(codes)), key=codes.count)
    return verdict, code, next(r.reason for r in fitting if r.reason_code == code)


def _shard_size(finished: Finished, key: str) -> int:
    from kumiai.apps.scenarios import has_shard

    owners = [p for p in finished.population.named("trainer") if has_shard(p)]
    keys = [finished.population.pubkey(p.name) for p in owners]
    return len(finished.workload.data.shards[keys.index(key)][1]) if key in keys else 0


def _certificate_views(finished: Finished, names: dict[str, str]) -> tuple[CertificateView, ...]:
    return tuple(
        CertificateView(
            round=certificate.round,
            hash=certificate.body_hash,
            model_digest=str(certificate.body["model"]),
            signers=tuple(names[key] for key, _ in certificate.signers),
            quorum=int(str(certificate.body["quorum"])),
            height=int(str(certificate.body["log_height"])),
        )
        for certificate in finished.state.certificates
    )


def _indicators(finished: Finished) -> dict[str, object]:
    governance, state = finished.task.governance, finished.state
    guardians = len(state.guardians)
    return {
        "owner": governance.owner,
        "responsible": governance.responsible,
        "jurisdiction": governance.jurisdiction,
        "stop_who": f"{guardians} guardians",
        "stop_guardians": guardians,
        "stop_required": governance.guardians_required,
        "stop_last_drill": "",
        "members_signed": len(state.members),
    }


def _notes(finished: Finished) -> tuple[str, ...]:
    """What a reader should know that no table shows."""
    notes = []
    count = finished.driver.reject_count
    if count:
        notes.append(f"{count} messages were refused (late, repeated or malformed); see telemetry.json.")
    if finished.state.reason:
        notes.append(finished.state.reason)
    return tuple(notes)


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
