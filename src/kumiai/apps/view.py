"""One finished run as plain data: what the report page, the terminal and a notebook all show.

A view is a picture of a run, not the run: it is written beside the signed log as `view.json` and
can always be made again from it. Nothing that pays or verifies reads a view.

Units are in the names: `_ppm` of the whole (accuracy) or of a nat (contribution, loss); amounts are
integers in the task's smallest unit; `seconds` are wall clock, `virtual_ms` the protocol's clock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kumiai.base.errors import StoreError

FORMAT = "kumiai-view/1"
FILE_NAME = "view.json"
FILE_BYTES_MAX = 512 * 1024 * 1024

Role = Literal["trainer", "validator", "delegator", "customer", "canary"]
Verdict = Literal["VALID", "INVALID", "INCONCLUSIVE", "-"]


class _Plain:
    """What every view can do: become plain dicts, lists, strings and numbers."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True, slots=True)
class MemberView(_Plain):
    """One member of the run: what it did, what was decided about it, what it received.

    `behaviour` is a scenario's true nature of the member ("free-rider"), "" in a real run.
    `width_ppm` is the width of the model it received, 0 for none. `round_verdicts` has one entry a
    round.
    `reason_code` is the stable code of `reason`, by which other languages find their sentence.
    """

    pubkey: str
    name: str
    role: Role
    behaviour: str = ""
    verdict: Verdict = "-"
    reason: str = ""
    contribution_ppm: int = 0
    error_ppm: int = 0
    stake: int = 0
    delegated: int = 0
    reward: int = 0
    slashed: int = 0
    width_ppm: int = 0
    model_path: str = ""
    model_accuracy_ppm: int | None = None
    samples: int = 0
    bytes_sent: int = 0
    flop: int = 0
    round_verdicts: tuple[str, ...] = ()
    reason_code: str = ""
    personal_path: str = ""  # its own model, trained on after the run; certified by nobody
    personal_accuracy_ppm: int | None = None  # on the member's own kept samples
    shared_accuracy_ppm: int | None = None  # the received model's on the same samples
    epsilon_milli: int = 0  # claimed privacy loss over the run, thousandths; 0: not private
    round_widths_ppm: tuple[int, ...] = ()  # it was given, one a round; () where all were full
    alone_accuracy_ppm: int | None = None  # of the network it trained alone, with --alone
    received_accuracy_ppm: int | None = None  # the received model's on the same samples

    @property
    def is_worse_off(self) -> bool:
        """Tell whether the member would have had a better model alone, as far as it compared."""
        alone, received = self.alone_accuracy_ppm, self.received_accuracy_ppm
        return alone is not None and (received is None or received < alone)


@dataclass(frozen=True, slots=True)
class RoundView(_Plain):
    """One round. Loss and accuracy are of the model after it, on data never used before.

    `values` holds each trainer's contribution by name, in ppm of a nat.
    """

    round: int
    loss_ppm: int
    accuracy_ppm: int
    bytes: int = 0
    virtual_ms: int = 0
    seconds: float = 0.0
    phase_seconds: dict[str, float] = field(default_factory=dict)
    included: tuple[str, ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()  # (name, reason)
    late: tuple[str, ...] = ()
    values: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlowView(_Plain):
    """Money that moved: `amount` of the run's smallest unit, and why (`kind`)."""

    source: str
    target: str
    amount: int
    kind: str


@dataclass(frozen=True, slots=True)
class CertificateView(_Plain):
    """A round's certificate: what the committee signed, who did, at which place in the log."""

    round: int
    hash: str
    model_digest: str
    signers: tuple[str, ...]
    quorum: int
    height: int
    silent: tuple[str, ...] = ()  # also seated: they had not signed when the quorum was there


@dataclass(frozen=True, slots=True)
class ReceiptView(_Plain):
    """One member's receipt of one round (0 = the final one): the amount and the reason for it."""

    member: str  # name
    name: str  # what the receipt is for, e.g. "round 3" or "final ranking"
    round: int
    verdict: Verdict
    reason: str
    amount: int
    width_ppm: int
    hash: str
    path: str
    reason_code: str = ""
    epsilon_milli: int = 0  # claimed for all rounds up to this one
    staleness: int = 0  # rounds between the model that its update began at and this round's


@dataclass(frozen=True, slots=True)
class GasView(_Plain):
    """What one sort of transaction cost. gas: of all together; gas_max: of the dearest."""

    kind: str
    count: int
    gas: int
    gas_max: int


@dataclass(frozen=True, slots=True)
class SettlementView(_Plain):
    """The one transaction that settled a round (0 = the end), whoever takes part."""

    round: int
    transaction: str  # hash
    block: int
    gas: int
    paid: int
    locked: int
    signers: int


@dataclass(frozen=True, slots=True)
class ChainView(_Plain):
    """The chain's side of a run: which contract, what was sent, what it cost.

    node: what answered (the embedded chain, or a node's own name); is_even: every balance that the
    contract holds for the task was the ledger's when the run ended. gas_per_share: settlements and
    claims, a participant and round. is_local: a chain of this machine, whose clock was set forward.
    """

    chain_id: int
    node: str
    arena: str
    token: str
    task_key: str
    blocks: int
    gas_per_share: int
    is_even: bool
    is_local: bool
    sorts: tuple[GasView, ...] = ()
    settlements: tuple[SettlementView, ...] = ()


@dataclass(frozen=True, slots=True)
class RunView(_Plain):
    """A whole run.

    totals: funded, paid, locked, refunded, burnt, bytes, flop, energy_wh, seconds.
    indicators: owner, responsible, stop_who, stop_required, stop_last_drill, members_signed.
    """

    task: dict[str, Any]
    task_id: str
    scenario: str
    phase: str
    seed: int
    members: tuple[MemberView, ...] = ()
    rounds: tuple[RoundView, ...] = ()
    flows: tuple[FlowView, ...] = ()
    certificates: tuple[CertificateView, ...] = ()
    receipts: tuple[ReceiptView, ...] = ()
    totals: dict[str, int | float] = field(default_factory=dict)
    indicators: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    token_bytes_ppm: int = 0  # mean bytes of a target, where the targets are text; else 0
    text_start: str = ""  # what the final model was given, and what it wrote on
    text_written: str = ""
    alone_part: str = ""  # what members compared on: "holdout", "test", "" where nobody did
    chain: ChainView | None = None  # where the run settled, if on a chain
    width_curve: tuple[tuple[int, int], ...] = ()  # (width, accuracy) as the validators signed, ppm

    @property
    def history(self) -> tuple[RoundView, ...]:
        """The rounds in their order: loss, accuracy, who counted and who did not."""
        return self.rounds

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, ready for JSON."""
        return {"format": FORMAT, **asdict(self)}

    def records(self, name: str) -> list[dict[str, Any]]:
        """One dict a row, e.g. `pandas.DataFrame(run.records("members"))`.

        name: "members", "rounds", "flows", "certificates" or "receipts"; ValueError otherwise.
        """
        if name not in RECORD_NAMES:
            raise ValueError(f"no records named {name!r}; there are {', '.join(RECORD_NAMES)}")
        return [asdict(row) for row in getattr(self, name)]

    def member(self, name: str) -> MemberView:
        """The member with this name or public key (8 digits suffice); KeyError if none has it."""
        for member in self.members:
            if name == member.name or (len(name) >= 8 and member.pubkey.startswith(name)):
                return member
        raise KeyError(name)


RECORD_NAMES = ("members", "rounds", "flows", "certificates", "receipts")


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One thing to tell somebody who is waiting for a run.

    kind: "phase" (a phase of `round` began), "round" (it is certified), "note", "done". Loss and
    accuracy are those of the newest model, None until there is one.
    """

    kind: Literal["phase", "round", "note", "done"]
    round: int = 0
    rounds_total: int = 0
    phase: str = ""
    loss_ppm: int | None = None
    accuracy_ppm: int | None = None
    bytes_total: int = 0
    late: tuple[str, ...] = ()
    message: str = ""
    seconds: float = 0.0
    token_bytes_ppm: int = 0


def view_from_dict(data: Mapping[str, Any]) -> RunView:
    """The inverse of `RunView.to_dict`, also after a trip through JSON.

    StoreError when the format is another one, a field is missing, unknown or of the wrong type.
    """
    # Checked with pydantic because this is a door; imported here so that `--help` stays quick.
    from pydantic import TypeAdapter, ValidationError

    found = data.get("format")
    if found != FORMAT:
        raise StoreError(f"this is not a run's view: format is {found!r}, expected {FORMAT!r}")
    body = {key: value for key, value in data.items() if key != "format"}
    unknown = sorted(set(body) - set(RunView.__dataclass_fields__))
    if unknown:
        raise StoreError(f"the run's view has unknown fields: {', '.join(unknown)}")
    try:
        return TypeAdapter(RunView).validate_json(json.dumps(body), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"the run's view is damaged at {place}: {first['msg']}") from error


def save_view(view: RunView, run_dir: Path) -> Path:
    """Write `view` to `run_dir/view.json`, whole or not at all; StoreError if the disk refuses."""
    path = run_dir / FILE_NAME
    text = json.dumps(view.to_dict(), ensure_ascii=False, indent=1, sort_keys=True)
    partial = path.with_suffix(".partial")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}", is_retriable=True) from error
    return path


def load_view(run_dir: Path) -> RunView:
    """Read `run_dir/view.json`; StoreError if it is absent, too big, or not a view."""
    path = run_dir / FILE_NAME
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise StoreError(f"{path} is bigger than {FILE_BYTES_MAX} bytes: not a run's view")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(
            f"{run_dir} has no {FILE_NAME}: not the folder of a finished run"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", is_retriable=True) from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict):
        raise StoreError(f"{path} is not a run's view")
    return view_from_dict(data)
