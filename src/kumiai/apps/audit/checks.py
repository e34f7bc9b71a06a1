"""The single checks behind `kumiai verify`: each recomputes something and reports differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from safetensors.torch import load_file

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.private_work import account_epsilon
from kumiai.adapters.language.peft_format import make_adapter_files
from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.store.ledger import SqliteLedger
from kumiai.apps.audit.compute import map_rounds, open_compute
from kumiai.apps.audit.replay import Replay
from kumiai.apps.audit.scores import check_scores
from kumiai.apps.audit.subject import Report, Subject
from kumiai.apps.audit.widths import check_widths
from kumiai.apps.receipts import make_receipt_files
from kumiai.apps.rundir import RunDir
from kumiai.apps.slugs import slug
from kumiai.base.amounts import PPM
from kumiai.learning import fixed_point
from kumiai.learning.slim import extract_width
from kumiai.nodes.jobs import make_aggregate_job
from kumiai.rounds.certificate import check_certificate
from kumiai.rounds.effects import Certified
from kumiai.rounds.settle import refund_command
from kumiai.rounds.state import RunPhase
from kumiai.settlement.ledger import escrow_account
from kumiai.tasks.document import to_document

BLOB_BYTES_MAX = 2**31


def check_plan(run_dir: RunDir, replay: Replay, report: Report) -> None:
    """What the folder says about its task and members is what the log says."""
    plan, state = run_dir.read_plan(), replay.state
    assert state.task is not None
    signed = {
        "task": to_document(state.task),
        "customer": state.customer,
        "orderer": state.orderer,
        "escrow": state.escrow,
    }
    for name, value in signed.items():
        if plan.get(name) != value:
            report.error("plan.json", f"{name} is not what the log's first record says")
    listed = {
        (p["pubkey"], p["name"], "trainer" if p["role"] == "canary" else p["role"])
        for p in plan["people"]
    }
    for key, name, role in sorted({(m.pubkey, m.name, m.role) for m in state.members.values()}):
        if (key, name, role) not in listed:
            report.error("plan.json", f"{name} enrolled as {role}, which is not in the plan")


def check_certificates(subject: Subject) -> int:
    """Each certificate, checked on its own as a stranger would."""
    replay = subject.replay
    for certified in replay.certified:
        certificate = certified.certificate
        signatures = [replay.signatures[event_id] for _, event_id in certificate.signers]
        problem = check_certificate(certificate.body, signatures)
        if problem is not None:
            subject.report.error(f"certificate of round {certificate.round}", problem.detail)
    return len(replay.certified)


def check_blobs(subject: Subject) -> int:
    """Everything a certificate rests on is stored and hashes to its name."""
    replay, count = subject.replay, 0
    for index, current in replay.rounds.items():
        names = {a.blob for a in current.assignments.values() if a.blob}
        names |= {replay.models_before[index][0], *current.roots}
        for name in sorted(names):
            count += 1
            try:
                subject.blobs.get(name, BLOB_BYTES_MAX)
            except Exception as error:  # noqa: BLE001 - any failure to read is the finding
                subject.report.error(f"round {index}, blob {name[:12]}", str(error))
    return count


def check_aggregates(subject: Subject) -> int:
    """Recompute every model from the updates that its certificate names: equal digests.

    Where members work at different widths, also that nobody changed more than its own.
    """
    replay = subject.replay

    def recompute(compute: EngineCompute, certified: Certified) -> tuple[str, str]:
        index = certified.certificate.round
        job = make_aggregate_job(replay.rounds[index], *replay.models_before[index])
        result = compute.aggregate(job)
        return result.model, result.server_state or ""

    judged = [c for c in replay.certified if replay.rounds[c.certificate.round].trainers]
    found = map_rounds(subject, judged, {}, recompute)
    for certified, (model, server_state) in zip(judged, found, strict=True):
        body = certified.certificate.body
        if (model, server_state) != (body["model"], body["server_state"]):
            subject.report.error(
                f"round {certified.certificate.round}",
                f"aggregation gives {model[:12]}, certified is {str(body['model'])[:12]}",
            )
    return len(judged) + check_widths(subject)


def check_money(subject: Subject) -> int:
    """Apply every recomputed command to an empty ledger; compare it with the stored one."""
    replay, report = subject.replay, subject.report
    ledger = recompute_ledger(replay)
    with SqliteLedger.open_readonly(subject.run_dir.ledger) as stored:
        found, expected = dict(stored.accounts()), dict(ledger.accounts())
        for account in sorted(found.keys() | expected.keys()):
            if found.get(account, 0) != expected.get(account, 0):
                report.error(
                    f"ledger account {account[:60]}",
                    f"holds {found.get(account, 0)}, the log gives {expected.get(account, 0)}",
                )
        stored.check_books()
    return len(replay.commands)


def recompute_ledger(replay: Replay) -> MemoryLedger:
    """Return the ledger after every command that the log gives, the customer's refund included."""
    ledger = MemoryLedger()
    for command in replay.commands:
        ledger.apply(command)
    rest = ledger.balance(escrow_account(replay.state.task_id))
    if replay.state.funded and rest > 0:
        ledger.apply(refund_command(replay.state, rest))
    return ledger


def check_receipts(subject: Subject) -> int:
    """Every receipt that the log gives is there as a file, byte for byte, and no other."""
    run_dir, replay, report = subject.run_dir, subject.replay, subject.report
    expected: dict[str, bytes] = {}
    for certified in replay.certified:
        signatures = [replay.signatures[e] for _, e in certified.certificate.signers]
        expected |= make_receipt_files(certified.certificate, certified.receipts, signatures)
    present = {path.name for path in run_dir.receipts.glob("*")}
    for name in sorted(present - expected.keys()):
        report.error(f"receipts/{name}", "no such receipt follows from the log")
    for name, data in expected.items():
        if name not in present:
            report.error(f"receipts/{name}", "missing")
        elif (run_dir.receipts / name).read_bytes() != data:
            report.error(f"receipts/{name}", "differs from what the log gives")
    return len(expected)


def check_models(subject: Subject) -> int:
    """Each member's model file holds exactly the leading block it earned."""
    state, run_dir, report = subject.replay.state, subject.run_dir, subject.report
    if state.phase is not RunPhase.FINISHED or state.task is None:
        return 0
    compute = open_compute(subject, {})
    decoded = DecodedBlobs(subject.blobs, compute.engine.layout.size)
    vector_P = torch.from_numpy(fixed_point.dequantise(decoded.get("model", state.model)))
    wanted = [(state.members[key].name, key, w) for key, w in state.widths_ppm.items() if w]
    wanted.append(("customer", state.customer, PPM))
    places = {w: state.task.model.widths_ppm.index(w) for _, _, w in wanted}
    slices = {
        width_ppm: extract_width(compute.recipe, vector_P, compute.recipe.widths[place])
        for width_ppm, place in places.items()
    }
    for name, key, width_ppm in wanted:
        path, expected = run_dir.models / f"{slug(name, key)}.safetensors", slices[width_ppm]
        if not path.exists():
            report.error(f"models/{path.name}", "missing")
            continue
        found = load_file(path)
        same = found.keys() == expected.keys() and all(
            torch.equal(found[name], tensor) for name, tensor in expected.items()
        )
        if not same:
            report.error(f"models/{path.name}", f"is not width {width_ppm} ppm of the final model")
        width = compute.recipe.widths[places[width_ppm]]
        for file, content in make_adapter_files(compute.recipe, vector_P, width).items():
            adapter = path.with_suffix("") / file
            if not adapter.is_file() or adapter.read_bytes() != content:
                fault = "missing" if not adapter.is_file() else "is not the final model's adapter"
                report.error(f"models/{path.stem}/{file}", fault)
    return len(wanted)


def check_privacy(subject: Subject) -> int:
    """Nobody claims less epsilon than the iterations it says it made, nor any without privacy.

    Rounds that were not certified spent privacy too, so a true claim may be higher.
    """
    replay, count = subject.replay, 0
    task = replay.state.task
    assert task is not None
    spent: dict[str, int] = {}
    for number, found in sorted(replay.rounds.items()):
        for key, assignment in sorted(found.assignments.items()):
            if not assignment.blob:
                continue
            spent[key] = spent.get(key, 0) + assignment.iterations
            least = account_epsilon(task, spent[key], assignment.samples)
            claimed = assignment.epsilon_milli
            # one thousandth: the last digit of another machine's logarithm
            if claimed + 1 < least or (task.privacy.mode != "local" and claimed):
                subject.report.error(
                    f"round {number}",
                    f"{replay.state.members[key].name} claims {claimed} milli-epsilon, "
                    f"its {spent[key]} iterations give {least}",
                )
            count += 1
    return count


CHECKS: Mapping[str, Callable[[Subject], int]] = {
    "quorum": check_certificates,
    "blobs": check_blobs,
    "aggregate": check_aggregates,
    "money": check_money,
    "receipts": check_receipts,
    "scores": check_scores,
    "privacy": check_privacy,
    "models": check_models,
}
