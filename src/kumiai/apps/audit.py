"""The single checks behind `kumiai verify`: each recomputes something and reports differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.execution.process import count_cores
from kumiai.adapters.compute.scoring import Holdout
from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.adapters.store.ledger import SqliteLedger
from kumiai.adapters.store.log import SqliteLog
from kumiai.apps.receipts import make_receipt_files
from kumiai.apps.rundir import RunDir
from kumiai.apps.slugs import slug
from kumiai.apps.workload import load_recipe, make_settings
from kumiai.base import events
from kumiai.base.amounts import PPM
from kumiai.base.events import Event
from kumiai.base.log import GENESIS_HEAD, compute_head
from kumiai.learning import fixed_point
from kumiai.learning.slim import extract_width
from kumiai.nodes import ports
from kumiai.rounds.certificate import check_certificate
from kumiai.rounds.control import ENDED
from kumiai.rounds.effects import Certified, MoneyMoved
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import step
from kumiai.rounds.settle import refund_command
from kumiai.rounds.state import RoundState, RunPhase, RunState
from kumiai.settlement.ledger import Delegate, Deposit, Fund, LedgerCommand, Stake, escrow_account
from kumiai.tasks.document import to_document

SCORE_TOLERANCE_PPM = 2_000  # between machines that round differently; none is needed on one
HOLDOUT_BYTES_MAX = 2**31


class Report(Protocol):
    """Where findings go."""

    def error(self, where: str, what: str) -> None: ...

    def note(self, where: str, what: str) -> None: ...


@dataclass(slots=True)
class Replay:
    """The log folded anew: the final state and what a verifier needs from on the way."""

    state: RunState
    count: int = 0
    certified: list[Certified] = field(default_factory=list)
    rounds: dict[int, RoundState] = field(default_factory=dict)  # as they stood at certification
    models_before: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    signatures: dict[str, Event] = field(default_factory=dict)
    commands: list[LedgerCommand] = field(default_factory=list)


def replay_log(run_dir: RunDir, error: Callable[[str, str], None]) -> Replay:
    """Fold the log from its first record, checking every chain link, signature and transition."""
    replay = Replay(RunState())
    head, height, time_ms = GENESIS_HEAD, 0, 0
    delegations = 0
    with SqliteLog.open_readonly(run_dir.log) as log:
        for record in log.read():
            where = f"log record {record.height}"
            expected = compute_head(head, height + 1, record.time_ms, record.event.id)
            if record.height != height + 1 or record.head != expected or record.time_ms < time_ms:
                error(where, "the chain is broken: height, time or head does not follow the last")
                break
            problem = events.check_event(record.event)
            if problem is not None:
                error(where, f"event of {record.event.pubkey[:12]}: {problem}")
                break
            before = replay.state
            outcome = step(before, record)
            if outcome.reject is not None:
                error(where, f"refused: {outcome.reject.reason}: {outcome.reject.detail}")
                break
            replay.state = outcome.state
            head, height, time_ms = record.head, record.height, record.time_ms
            replay.count += 1
            if record.event.kind == Kind.CERTIFY:
                replay.signatures[record.event.id] = record.event
            if record.event.kind == Kind.ESCROW:
                content = events.read_content(record.event)
                replay.commands += _deposits(before, content, delegations)
                delegations += content["entry"] == "delegate"
            for effect in outcome.effects:
                if isinstance(effect, MoneyMoved):
                    replay.commands.append(effect.command)
                elif isinstance(effect, Certified):
                    replay.certified.append(effect)
                    assert before.round is not None
                    replay.rounds[effect.certificate.round] = before.round
                    models = (before.model, before.server_state, before.model_previous)
                    replay.models_before[effect.certificate.round] = models
    if replay.state.phase not in ENDED:
        error("log", f"it ends while the run is {replay.state.phase}: cut off, or not finished")
    return replay


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


def check_certificates(run_dir: RunDir, replay: Replay, report: Report) -> int:
    """Each certificate, checked on its own as a stranger would."""
    for certified in replay.certified:
        certificate = certified.certificate
        signatures = [replay.signatures[event_id] for _, event_id in certificate.signers]
        problem = check_certificate(certificate.body, signatures)
        if problem is not None:
            report.error(f"certificate of round {certificate.round}", problem.detail)
    return len(replay.certified)


def check_blobs(run_dir: RunDir, replay: Replay, report: Report) -> int:
    """Everything a certificate rests on is stored and hashes to its name."""
    blobs, count = DirectoryBlobs(run_dir.blobs), 0
    for index, current in replay.rounds.items():
        names = {a.blob for a in current.assignments.values() if a.blob}
        names |= {replay.models_before[index][0]}
        for name in sorted(names):
            count += 1
            try:
                blobs.get(name, HOLDOUT_BYTES_MAX)
            except Exception as error:  # noqa: BLE001 - any failure to read is the finding
                report.error(f"round {index}, blob {name[:12]}", str(error))
    return count


def check_aggregates(run_dir: RunDir, replay: Replay, report: Report) -> int:
    """Recompute every model from the updates that its certificate names: equal digests."""
    compute, count = _open_compute(run_dir, replay, {}), 0
    for certified in replay.certified:
        index = certified.certificate.round
        current = replay.rounds[index]
        if not current.trainers:
            continue
        model, server_state, _ = replay.models_before[index]
        job = ports.AggregateJob(index, model, server_state or None, current.included)
        result = compute.aggregate(job)
        body = certified.certificate.body
        if (result.model, result.server_state or "") != (body["model"], body["server_state"]):
            report.error(
                f"round {index}",
                f"aggregation gives {result.model[:12]}, certified is {str(body['model'])[:12]}",
            )
        count += 1
    return count


def check_money(run_dir: RunDir, replay: Replay, report: Report) -> int:
    """Apply every recomputed command to an empty ledger; compare it with the stored one."""
    ledger = MemoryLedger()
    for command in replay.commands:
        ledger.apply(command)
    rest = ledger.balance(escrow_account(replay.state.task_id))
    if replay.state.funded and rest > 0:
        ledger.apply(refund_command(replay.state, rest))
    with SqliteLedger.open_readonly(run_dir.ledger) as stored:
        found, expected = dict(stored.accounts()), dict(ledger.accounts())
        for account in sorted(found.keys() | expected.keys()):
            if found.get(account, 0) != expected.get(account, 0):
                report.error(
                    f"ledger account {account[:60]}",
                    f"holds {found.get(account, 0)}, the log gives {expected.get(account, 0)}",
                )
        stored.check_books()
    return len(replay.commands)


def check_receipts(run_dir: RunDir, replay: Replay, report: Report) -> int:
    """Every receipt that the log gives is there as a file, byte for byte, and no other."""
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


def check_scores(run_dir: RunDir, replay: Replay, report: Report) -> int:
    """Recompute the validators' scores from the opened hold-out."""
    state = replay.state
    if not state.holdout_blobs:
        report.note("scores", "the hold-out was not opened: scores cannot be recomputed")
        return 0
    validators = [k for k, m in state.members.items() if m.role == "validator"]
    blobs = DirectoryBlobs(run_dir.blobs)
    parts = [_read_holdout(blobs.get(name, HOLDOUT_BYTES_MAX)) for name in state.holdout_blobs]
    plan = {str(p["pubkey"]): str(p["role"]) for p in run_dir.read_plan()["people"]}
    order = [key for key, role in plan.items() if role == "validator" and key in validators]
    holdouts = dict(zip(order, parts, strict=True))
    judged = [current for current in replay.rounds.values() if current.trainers]
    worker_count = max(1, min(count_cores(), len(judged)))

    def find_share(worker: int) -> list[tuple[int, list[str], int]]:
        # a network is changed while it runs: every thread has its own
        compute = _open_compute(run_dir, replay, holdouts)
        share = judged[worker::worker_count]
        return [(current.index, *_find_liars(compute, replay, current)) for current in share]

    # one PyTorch thread each, as the run had: the same sums in the same order (docs/adr/0008)
    with ThreadPoolExecutor(worker_count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = sorted(chain.from_iterable(pool.map(find_share, range(worker_count))))
    for index, liars, _ in found:
        for judge in liars:
            report.note(
                f"round {index}",
                f"{state.members[judge].name} did not score what its hold-out gives "
                "(the median leaves such scores out)",
            )
    count = _check_curves(_open_compute(run_dir, replay, holdouts), state, report)
    return count + sum(count for _, _, count in found)


def _check_curves(compute: EngineCompute, state: RunState, report: Report) -> int:
    """Measure the final model at every width again, on every validator's second hold-out."""
    last = state.certificates[-1].round if state.certificates else 0
    for judge, claimed in sorted(state.curves.items()):
        found = compute.measure_curve(ports.CurveJob(last, judge, state.model)).accuracies_ppm
        if max(abs(a - b) for a, b in zip(found, claimed, strict=True)) > SCORE_TOLERANCE_PPM:
            report.note(
                "accuracy by width",
                f"{state.members[judge].name} did not sign what its hold-out gives "
                "(the median leaves such curves out)",
            )
    return len(state.curves)


def check_models(run_dir: RunDir, replay: Replay, report: Report) -> int:
    """Each member's model file holds exactly the leading block it earned."""
    state = replay.state
    if state.phase is not RunPhase.FINISHED or state.task is None:
        return 0
    compute, count = _open_compute(run_dir, replay, {}), 0
    decoded = DecodedBlobs(DirectoryBlobs(run_dir.blobs), compute.engine.layout.size)
    vector_P = torch.from_numpy(fixed_point.dequantise(decoded.get("model", state.model)))
    wanted = [(state.members[key].name, key, w) for key, w in state.widths_ppm.items() if w]
    wanted.append(("customer", state.customer, PPM))
    for name, key, width_ppm in wanted:
        path = run_dir.models / f"{slug(name, key)}.safetensors"
        width = compute.recipe.widths[list(state.task.model.widths_ppm).index(width_ppm)]
        expected = extract_width(compute.recipe, vector_P, width)
        count += 1
        if not path.exists():
            report.error(f"models/{path.name}", "missing")
            continue
        found = load_file(path)
        same = found.keys() == expected.keys() and all(
            torch.equal(found[name], tensor) for name, tensor in expected.items()
        )
        if not same:
            report.error(f"models/{path.name}", f"is not width {width_ppm} ppm of the final model")
    return count


CHECKS: Mapping[str, Callable[[RunDir, Replay, Report], int]] = {
    "quorum": check_certificates,
    "blobs": check_blobs,
    "aggregate": check_aggregates,
    "money": check_money,
    "receipts": check_receipts,
    "scores": check_scores,
    "models": check_models,
}


def _find_liars(
    compute: EngineCompute, replay: Replay, current: RoundState
) -> tuple[list[str], int]:
    """Return the validators whose scores are not what their hold-outs give, and how many judged."""
    model, _, previous = replay.models_before[current.index]
    updates = tuple(
        ports.UpdateRef(m, current.assignments[m].blob, current.assignments[m].commit_height)
        for m in current.revealed
    )
    judges = sorted(current.score_sheets)
    jobs = [
        ports.ScoreJob(current.index, judge, model, previous or None, updates, current.beacon)
        for judge in judges
    ]
    finals = replay.state.finals[current.index].values
    liars = set()
    for judge, result in zip(judges, compute.score(jobs), strict=True):
        sheet = current.score_sheets[judge]
        opened = finals.get(judge, tuple(line.final for line in result.lines))
        for line, shown, final in zip(result.lines, sheet.lines, opened, strict=True):
            gap = max(abs(line.value - shown[0]), abs(line.final - final))
            if gap > SCORE_TOLERANCE_PPM or line.flags != shown[3]:
                liars.add(judge)
    return sorted(liars), len(judges)


def _open_compute(
    run_dir: RunDir, replay: Replay, holdouts: Mapping[str, Holdout]
) -> EngineCompute:
    """The compute port as it was, without anybody's training data."""
    task = replay.state.task
    assert task is not None
    shape = run_dir.read_plan()["shape"]
    base_dir = Path(str(run_dir.read_plan()["base_dir"]))
    recipe = load_recipe(task, base_dir, tuple(shape["input"]), int(shape["classes"]))
    engine = Engine(recipe, make_settings(task, recipe), "inline", None)
    return EngineCompute(task, recipe, engine, DirectoryBlobs(run_dir.blobs), {}, holdouts)


def _read_holdout(data: bytes) -> Holdout:
    tensors = load_tensors(data)
    return Holdout((tensors["xa"], tensors["ya"]), (tensors["xb"], tensors["yb"]))


def _deposits(state: RunState, content: Mapping[str, str], index: int) -> list[LedgerCommand]:
    """The ledger commands that an attested deposit stands for; see `nodes.customer.Escrow`."""
    task, member, amount = state.task_id, content["member"], int(content["amount"])
    if amount == 0:
        return []
    if content["entry"] == "delegate":
        deposit = Deposit(f"{task}/deposit/{member}/{index}", task, member, amount)
        key = f"{task}/delegate/{index}"
        return [deposit, Delegate(key, task, member, content["node"], amount)]
    deposit = Deposit(f"{task}/deposit/{member}", task, member, amount)
    if content["entry"] == "stake":
        return [deposit, Stake(f"{task}/stake/{member}", task, member, amount)]
    return [deposit, Fund(f"{task}/fund", task, member, amount)]


__all__ = ["CHECKS", "ENDED", "Replay", "Report", "replay_log"]
