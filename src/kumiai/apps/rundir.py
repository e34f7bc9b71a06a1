"""The folder of a run: what is in it, under which names, and who may be there twice.

::

    plan.json     what is run: the task document, the members' names and stakes (never secrets)
    log.db        the signed log: the truth; everything below follows from it
    order.log     with validation.ordering = committee: the batches as the validators decided them,
                  a line each, with the quorum that signed
    ledger.db     the embedded ledger
    chain.json    with settlement.kind = evm: the contract, and every transaction that was sent
    deployment.json  which contracts were made for the run, and where
    chain.sqlite  the same on the embedded chain: the whole chain
    outbox.db     transactions under way; gone when the run has ended
    vault.db      results of work, so that nothing is done twice after a crash
    blobs/        models, updates, hold-out data, by sha256
    validators/   with --order-processes: their journals; gone when the run has ended
    noise.key     with privacy: what members' noise is drawn from; gone when the run has ended
    codec/        what members' codecs remember between rounds; gone when the run has ended
    receipts/     one self-contained file a member and round
    evidence/     what proves that a member said two things at once: a file each, judged by itself
    models/       every member's model, cut to the width it earned; with model_rewards.personalise
                  also its own one (.personal), which nobody certifies
    seal.json     hashes of all of the above, signed when the run ended
    view.json, telemetry.json, report.html    pictures of the run; not sealed, nothing rests on them
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from kumiai.base import canonical
from kumiai.base.errors import InputError, StoreError

PLAN_FORMAT = "kumiai/plan/2"
PLAN_BYTES_MAX = 64 * 2**20
NOISE_KEY_BYTES = 32
UNSEALED = (
    "codec",
    "noise.key",
    "outbox.db",
    "validators",
    "view.json",
    "telemetry.json",
    "report.html",
    ".cache",
)


class RunDir:
    """Paths inside a run's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plan = root / "plan.json"
        self.log = root / "log.db"
        self.order = root / "order.log"
        self.ledger = root / "ledger.db"
        self.vault = root / "vault.db"
        self.chain = root / "chain.sqlite"
        self.chain_record = root / "chain.json"
        self.outbox = root / "outbox.db"
        self.deployment = root / "deployment.json"
        self.blobs = root / "blobs"
        self.codec_states = root / "codec"
        self.noise_key = root / "noise.key"
        self.validators = root / "validators"
        self.receipts = root / "receipts"
        self.evidence = root / "evidence"
        self.models = root / "models"
        self.seal = root / "seal.json"
        self.telemetry = root / "telemetry.json"
        self.report = root / "report.html"

    def open(self, plan: dict[str, Any], resume: bool) -> None:
        """Create the folder, or take up the run in it; never mixes two runs in one folder."""
        data = canonical.encode_checked(plan)
        if self.root.exists() and not self.root.is_dir():
            raise InputError("out", str(self.root), "it is a file: choose another --out")
        if self.plan.exists():
            if not resume:
                fix = "it holds a run already: choose another --out, or --resume to continue it"
                raise InputError("out", str(self.root), fix)
            if self.read_plan().get("order_processes"):
                fix = "its order was made in real time, which does not come again: start anew, "
                raise InputError("--resume", str(self.root), fix + "with another --out")
            if self.plan.read_bytes() != data:
                fix = "the run in it has another task, recipe file or members: choose another --out"
                raise InputError("out", str(self.root), fix)
            return
        if self.root.exists() and any(self.root.iterdir()):
            raise InputError("out", str(self.root), "the folder is not empty: choose another --out")
        try:
            for folder in (self.root, self.blobs, self.receipts, self.models):
                folder.mkdir(parents=True, exist_ok=True)
            partial = self.plan.with_suffix(".partial")
            partial.write_bytes(data)
            partial.replace(self.plan)
        except OSError as error:
            raise StoreError(f"cannot write to {self.root}: {error.strerror}") from error

    def take_noise_key(self) -> bytes:
        """Return the run's secret for noise; a new one of the system's best randomness if none.

        Readable by its owner only. A torn file counts as none: nothing drawn from it was sent yet.
        """
        try:
            if self.noise_key.exists() and self.noise_key.stat().st_size == NOISE_KEY_BYTES:
                return self.noise_key.read_bytes()
            self.noise_key.unlink(missing_ok=True)
            secret = os.urandom(NOISE_KEY_BYTES)
            handle = os.open(self.noise_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"cannot keep {self.noise_key}: {error.strerror}") from error
        return secret

    def forget_secrets(self) -> None:
        """Remove what codecs remembered, noise was drawn from and validators promised: it is over.

        An ended run trains and orders no more.
        """
        for folder in (self.codec_states, self.validators):
            shutil.rmtree(folder, ignore_errors=True)
        self.noise_key.unlink(missing_ok=True)

    def read_plan(self) -> dict[str, Any]:
        """Return the plan; InputError when this is no run's folder."""
        try:
            plan = canonical.decode(self.plan.read_bytes(), PLAN_BYTES_MAX)
        except FileNotFoundError:
            fix = "this is not the folder of a run: plan.json is missing"
            raise InputError("run directory", str(self.root), fix) from None
        except ValueError as error:
            raise StoreError(f"{self.plan} is damaged: {error}") from error
        if not isinstance(plan, dict):
            raise StoreError(f"{self.plan} is damaged: not an object")
        if plan.get("format") != PLAN_FORMAT:
            fix = f"this version of kumiai reads {PLAN_FORMAT}: use the version that made the run"
            raise InputError("plan.json, format", plan.get("format"), fix)
        return plan

    def write_json(self, path: Path, document: object) -> None:
        """Write a document for people and notebooks, whole or not at all."""
        partial = path.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
            partial.replace(path)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
