"""Check a run, a receipt or evidence from its files alone: no network, no trust in their maker.

A run directory is checked in this order, and every finding says where:

1. log         each record: chain, signature, and that the fold accepts it as it stands;
               the plan names the same task and members
2. seal        every byte of every sealed file, under the key that the log names
3. order       where a committee orders: each batch has its quorum, and the log is what the fold
               makes of all batches
4. quorum      each certificate: a quorum of its committee signed exactly this body
5. blobs       each revealed update is there and is what its name says
6. aggregate   each model recomputed from the updates that the certificate names, bit for bit
               (with aequa-live also: whoever changed more than its width was refused)
7. money       every settlement recomputed; balances equal to the ledger's to the unit
8. receipts    every receipt recomputed, found as a file, proven under its certificate
9. scores      where the hold-out was opened: each validator's scores recomputed from it, in all
               rounds of a small run, in a random sample of a large one (`audit.scores`)
10. privacy    no member's claimed epsilon is below what its own iterations give
11. models     every member's file is the right slice of the final model
12. replays    in an audited run alone: drawn segments trained again, verdicts as certified
13. chain      in a run that settles on a chain alone: the embedded chain executed again, and the
               contract's rounds and balances compared with the log's (of a node's chain: --rpc)
14. rechecks   in a rechecked run alone: each sheet for which a validator was convicted is false

Scores are floating point: on the machine that made them they come out the same, elsewhere within
`proofs.sheets.SCORE_TOLERANCE_PPM`. Everything else is integers and must be equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from kumiai.adapters.store import seal
from kumiai.adapters.store.blobs import SealedBlobs
from kumiai.adapters.store.tree import FileStamp
from kumiai.apps import audit
from kumiai.apps.audit.order import check_order
from kumiai.apps.audit.rechecks import check_rechecks
from kumiai.apps.audit.replays import check_replays
from kumiai.apps.evidence import judge, read_evidence_file
from kumiai.apps.receipts import find_problems, read_receipt_file
from kumiai.apps.rundir import RunDir
from kumiai.base.errors import InputError, KumiaiError
from kumiai.rounds.control import ENDED
from kumiai.tasks.audit import is_audited
from kumiai.tasks.rechecks import is_rechecked

FINDINGS_MAX = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong ("error") or could not be checked ("note"), and where."""

    severity: str
    where: str
    what: str


@dataclass(slots=True)
class VerifyReport:
    """What was checked and what was found. `checks` holds (name, count, ok)."""

    findings: list[Finding] = field(default_factory=list)
    checks: list[tuple[str, int, bool]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        """No error was found."""
        return not any(finding.severity == "error" for finding in self.findings)

    def error(self, where: str, what: str) -> None:
        """Add an error, up to a bound."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding("error", where, what))

    def note(self, where: str, what: str) -> None:
        """Add something that could not be checked."""
        self.findings.append(Finding("note", where, what))


def verify_path(
    path: Path,
    progress: Callable[[str], None] | None = None,
    score_rounds: audit.ScoreRounds = "auto",
    rpc: str | None = None,
) -> VerifyReport:
    """Verify a run directory, a receipt or an evidence file; InputError when it is none.

    score_rounds: in how many rounds the scores are recomputed ("auto": see `audit.scores`). rpc: a
    node of the chain that a run settled on.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)  # as the run: the same sums in the same order (docs/adr/0008)
    tell = progress or (lambda text: None)
    if path.is_dir():
        report = verify_run(RunDir(path), tell, score_rounds, rpc)
    elif path.is_file():
        report = verify_file(path)
    else:
        fix = "no such file or folder: give a run's folder, a receipt or an evidence file"
        raise InputError("path", str(path), fix)
    report.seconds = time.perf_counter() - started
    return report


def verify_file(path: Path) -> VerifyReport:
    """Check a file that proves itself: evidence, or else a receipt."""
    try:
        document = read_evidence_file(path)
    except ValueError:
        return verify_receipt(path)
    report = VerifyReport()
    try:
        report.note(path.name, judge(document))
    except ValueError as error:
        report.error(path.name, str(error))
    report.checks.append(("evidence", 1, report.is_ok))
    return report


def verify_receipt(path: Path) -> VerifyReport:
    """Check that a receipt file proves itself."""
    report = VerifyReport()
    try:
        problems = find_problems(read_receipt_file(path))
    except (ValueError, OSError) as error:
        problems = [f"malformed: {error}"]
    for problem in problems:
        report.error(path.name, problem)
    report.checks.append(("receipt", 1, not problems))
    if not problems:
        document = read_receipt_file(path)
        committee = ", ".join(key[:12] for key in document["certificate"]["committee"])
        report.note(
            path.name,
            f"signed by a quorum of this committee: {committee}; "
            "that it is the right committee, its task's log shows",
        )
    return report


def verify_run(
    run_dir: RunDir,
    tell: Callable[[str], None],
    score_rounds: audit.ScoreRounds = "auto",
    rpc: str | None = None,
) -> VerifyReport:
    """Check a whole run; see the module's list."""
    report = VerifyReport()
    if not run_dir.plan.exists():
        run_dir.read_plan()  # says what is wrong with the path
    replayed: list[audit.Replay] = []
    known: dict[str, FileStamp] = {}

    def replay() -> int:
        result = audit.replay_log(run_dir, report.error)
        replayed.append(result)
        if result.state.task is not None:
            audit.check_plan(run_dir, result, report)
        return result.count

    def check_seal() -> int:
        count, blobs = _check_seal(report, run_dir, replayed[0] if replayed else None)
        known.update(blobs)
        return count

    _check(report, "log", tell, replay)
    _check(report, "seal", tell, check_seal)
    if not replayed or replayed[0].state.task is None:
        return report
    blobs = SealedBlobs(run_dir.blobs, known)
    subject = audit.Subject(run_dir, replayed[0], report, blobs, score_rounds)
    checks = dict(audit.CHECKS)
    if replayed[0].state.replicas:
        checks = {"order": check_order, **checks}
    if is_audited(replayed[0].state.task):
        checks["replays"] = check_replays
    if replayed[0].state.chain is not None:
        checks["chain"] = partial(_check_chain, rpc=rpc)
    if is_rechecked(replayed[0].state.task):
        checks["rechecks"] = check_rechecks
    for name, check in checks.items():
        _check(report, name, tell, lambda check=check: check(subject))
    return report


def _check(
    report: VerifyReport, name: str, tell: Callable[[str], None], run: Callable[[], int]
) -> None:
    """Run one check; what it raises is a finding, because a changed file may break anything."""
    tell(name)
    before = sum(finding.severity == "error" for finding in report.findings)
    count = 0
    try:
        count = run()
    except (KumiaiError, ValueError, KeyError, TypeError, IndexError, OSError) as error:
        report.error(name, f"{type(error).__name__}: {error}")
    after = sum(finding.severity == "error" for finding in report.findings)
    report.checks.append((name, count, after == before))


def _check_chain(subject: audit.Subject, rpc: str | None) -> int:
    """The chain's side, where what reads it is installed."""
    try:
        from kumiai.apps.audit.chain import check_chain
    except ModuleNotFoundError as error:
        fix = "pip install 'kumiai[evm]'"
        subject.report.note("chain", f"not checked: {error.name} is missing ({fix})")
        return 0
    return check_chain(subject, rpc)


def _check_seal(
    report: VerifyReport, run_dir: RunDir, replayed: audit.Replay | None
) -> tuple[int, Mapping[str, FileStamp]]:
    """The seal must be the orderer's, whom the signed log names; a run that ended must have one.

    Also returns the blobs that it found intact.
    """
    state = replayed.state if replayed is not None and replayed.state.task is not None else None
    if not run_dir.seal.exists():
        if state is not None and state.phase in ENDED:
            report.error("seal.json", "missing, though the log says that the run has ended")
        else:
            report.note("seal", "the folder is not sealed: the run was killed or still goes on")
        return 0, {}
    checked = seal.check_sealed(run_dir.root, state.orderer if state is not None else None)
    for finding in checked.findings:
        report.error(f"seal: {finding.path}", str(finding))
    return 1, checked.blobs


__all__ = ["Finding", "VerifyReport", "verify_path", "verify_receipt", "verify_run"]
