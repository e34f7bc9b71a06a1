"""What a member is told about its local training: the same for every member and round."""

from __future__ import annotations

from dataclasses import dataclass

ALGORITHMS = ("fedavg", "fedprox", "fednova", "scaffold", "diloco")
OPTIMIZERS = ("sgd", "adamw", "muon")


@dataclass(frozen=True)
class TrainSettings:
    """How every member trains in a round. Rates are plain floats; the task document holds ppm.

    local_iterations > 0 fixes the number of iterations (passing over the data as often as needed);
    otherwise local_epochs decides. slim_widths: the widths trained beside the full one, () for
    none. slim_distill: the other widths learn the full one's outputs instead of the labels; then
    the reported loss is the weighed mean over both kinds. shuffle=False keeps the order of the
    samples (reference work of the benchmark only). is_scheduled: each round's guide scales the
    learning rate (see `guided`). has_offset: each round's guide says how far from the global model
    a member starts (see `learning.fragments`). is_filled: the last batch of a pass is
    filled up (see `learning.schedule.plan_batches`); False as well for reference work only.
    """

    algorithm: str = "fedavg"
    optimizer: str = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.0
    weight_decay: float = 0.0
    prox_mu: float = 0.01
    batch_size: int = 32
    local_epochs: int = 1
    local_iterations: int = 0
    slim_widths: tuple[float, ...] = ()
    slim_distill: bool = False
    shuffle: bool = True
    is_filled: bool = True
    is_scheduled: bool = False
    has_offset: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError, with the number, for settings that cannot train."""
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm {self.algorithm!r} is not one of {', '.join(ALGORITHMS)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer {self.optimizer!r} is not one of {', '.join(OPTIMIZERS)}")
        if self.algorithm == "scaffold" and (self.optimizer != "sgd" or self.momentum):
            raise ValueError(
                f"scaffold needs plain sgd, not {self.optimizer} with momentum {self.momentum}"
            )
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} is less than 1")
        if self.local_iterations < 0 or (self.local_iterations == 0 and self.local_epochs < 1):
            raise ValueError(
                f"local_epochs {self.local_epochs} and local_iterations {self.local_iterations} "
                "leave nothing to do"
            )
        if not all(0.0 < width <= 1.0 for width in self.slim_widths):
            raise ValueError(f"slim_widths {self.slim_widths} must lie above 0 and at most at 1")
