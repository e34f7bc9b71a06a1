"""Measures a run while it happens and tells whoever waits for it; nothing here enters the log."""

from __future__ import annotations

import time
from collections.abc import Callable

from kumiai.apps.view import ProgressEvent
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.base.log import Record
from kumiai.rounds.effects import Certified, Effect, PhaseEntered
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import AssignmentState, RoundPhase, RunPhase, RunState


class Telemetry:
    """An observer of the driver: wall-clock seconds by round and kind of work, and progress."""

    def __init__(
        self,
        rounds_total: int,
        progress: Callable[[ProgressEvent], None],
        token_bytes_ppm: int = 0,
    ) -> None:
        self._rounds_total, self._progress = rounds_total, progress
        self._token_bytes_ppm = token_bytes_ppm
        self._started = time.perf_counter()
        self._round_started = self._started
        self._events_bytes = 0
        self._bytes_total = 0
        self._latest: tuple[int | None, int | None] = (None, None)
        self.round_seconds: dict[int, float] = {}
        self.phase_seconds: dict[int, dict[str, float]] = {}
        self.round_bytes: dict[int, int] = {}
        self.round_started_ms: dict[int, int] = {}
        self.round_ended_ms: dict[int, int] = {}
        self.late: dict[int, tuple[str, ...]] = {}
        self.signatures: dict[str, Event] = {}
        self.certified: list[Certified] = []
        self.proofs: list[Event] = []
        self.rejects: list[tuple[str, str]] = []
        self._round = 0

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the run began."""
        return time.perf_counter() - self._started

    def on_record(self, record: Record, run: RunState) -> None:
        """Count bytes, and keep the signatures that receipts and evidence need."""
        event = record.event
        size = len(event.content) + 200
        self._events_bytes += size
        self._bytes_total += size
        if event.kind == Kind.CERTIFY:
            self.signatures[event.id] = event
        elif event.kind == Kind.ORDER_PROOF:
            self.proofs.append(event)

    def on_reject(self, event: Event, reject: Reject) -> None:
        """Keep the first few, for the report's notes."""
        if len(self.rejects) < 1_000:
            self.rejects.append((reject.reason, reject.detail))

    def on_seconds(self, what: str, seconds: float) -> None:
        """Book the seconds under the open round."""
        phases = self.phase_seconds.setdefault(self._round, {})
        phases[what] = phases.get(what, 0.0) + seconds

    def on_effect(self, effect: Effect, run: RunState) -> None:
        """Turn phases and certificates into progress."""
        if isinstance(effect, PhaseEntered):
            self._on_phase(effect, run)
        elif isinstance(effect, Certified):
            self._on_certified(effect, run)

    def note(self, message: str) -> None:
        """Say at once what happened to a member's own program on this machine."""
        self._progress(
            ProgressEvent(
                kind="note",
                round=self._round,
                rounds_total=self._rounds_total,
                loss_ppm=self._latest[0],
                accuracy_ppm=self._latest[1],
                bytes_total=self._bytes_total,
                message=message,
                seconds=self.seconds,
            )
        )

    def finish(self, run: RunState) -> None:
        """Say that it is over."""
        self._tell("done", run, run.phase.value, message=run.reason)

    def _on_phase(self, effect: PhaseEntered, run: RunState) -> None:
        is_training = effect.round_phase in (RoundPhase.DEAL, RoundPhase.TRAIN)
        opens = is_training or effect.run_phase is RunPhase.FINALIZING
        if opens and effect.round != self._round:
            self._round = effect.round
            self._round_started = time.perf_counter()
            self.round_started_ms[effect.round] = run.time_ms
        name = effect.round_phase.value if effect.round_phase else effect.run_phase.value
        if effect.run_phase is RunPhase.FINALIZING:
            name = RunPhase.FINALIZING.value
        if effect.round_phase is RoundPhase.CERTIFY and run.round is not None:
            sheets = run.round.score_sheets.values()
            if sheets:
                losses = sorted(sheet.loss_ppm for sheet in sheets)
                accuracies = sorted(sheet.accuracy_ppm for sheet in sheets)
                self._latest = (losses[len(losses) // 2], accuracies[len(accuracies) // 2])
            self._bytes_total += sum(a.size_bytes for a in run.round.assignments.values())
            self.late[run.round.index] = _late_names(run)
        self._tell("phase", run, name)

    def _on_certified(self, effect: Certified, run: RunState) -> None:
        index = effect.certificate.round
        now = time.perf_counter()
        self.certified.append(effect)
        self.round_seconds[index] = now - self._round_started
        self.round_ended_ms[index] = run.time_ms
        size = effect.certificate.body["size_bytes"]
        assert isinstance(size, int)
        self.round_bytes[index] = size + self._events_bytes
        self._events_bytes = 0
        if index <= self._rounds_total:
            self._tell("round", run, "CERTIFIED", round_index=index)

    def _tell(
        self, kind: str, run: RunState, phase: str, message: str = "", round_index: int = 0
    ) -> None:
        self._progress(
            ProgressEvent(
                kind=kind,  # type: ignore[arg-type]
                round=round_index or min(self._round, self._rounds_total),
                rounds_total=self._rounds_total,
                phase=phase,
                loss_ppm=self._latest[0],
                accuracy_ppm=self._latest[1],
                bytes_total=self._bytes_total,
                late=self.late.get(round_index or self._round, ()),
                message=message,
                seconds=self.seconds,
                token_bytes_ppm=self._token_bytes_ppm,
            )
        )


def _late_names(run: RunState) -> tuple[str, ...]:
    assert run.round is not None
    tardy = (AssignmentState.LATE, AssignmentState.NO_REPLY)
    return tuple(
        run.members[key].name for key, a in run.round.assignments.items() if a.state in tardy
    )
