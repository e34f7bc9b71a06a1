"""What every check of `kumiai verify` is given: the run, its log folded, and where to report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from kumiai.apps.audit.replay import Replay
from kumiai.apps.rundir import RunDir
from kumiai.nodes.ports import BlobPort

ScoreRounds = int | Literal["auto", "all"]


class Report(Protocol):
    """Where findings go."""

    def error(self, where: str, what: str) -> None: ...

    def note(self, where: str, what: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """A run under examination. `score_rounds`: in how many rounds the scores are computed anew."""

    run_dir: RunDir
    replay: Replay
    report: Report
    blobs: BlobPort
    score_rounds: ScoreRounds = "auto"
