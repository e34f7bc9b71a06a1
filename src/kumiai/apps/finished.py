"""What is left in memory when the driver has stopped: the source of files and pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kumiai.apps.population import Casting, Population
from kumiai.apps.rundir import RunDir
from kumiai.apps.telemetry import Telemetry
from kumiai.apps.workload import Workload
from kumiai.learning import fixed_point
from kumiai.nodes.driver import Driver
from kumiai.nodes.ports import BlobPort
from kumiai.rounds.state import RunState
from kumiai.settlement.ledger import LedgerCommand
from kumiai.tasks.document import TaskDocument


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


def read_model(finished: Finished, blob: str) -> np.ndarray:
    """Return a certified model as float32 [P]."""
    size = finished.workload.engine.layout.size
    data = finished.blobs.get(blob, fixed_point.compute_size_bytes_max(size))
    return fixed_point.dequantise(fixed_point.decode_vector("model", data, size))
