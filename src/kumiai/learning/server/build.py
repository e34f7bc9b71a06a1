"""Which server rule a task's settings mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from kumiai.base.amounts import PPM
from kumiai.learning.server.adaptive import Adaptive, Kind
from kumiai.learning.server.controlled import Controlled
from kumiai.learning.server.momentum import FedAvg, OuterMomentum
from kumiai.learning.server.rule import ServerRule

ADAPTIVE_OPTIMIZERS: tuple[Kind, ...] = get_args(Kind)
SERVER_OPTIMIZERS = ("sgd", "nesterov", *ADAPTIVE_OPTIMIZERS)
AVERAGING_ALGORITHMS = ("fedavg", "fedprox", "fednova", "scaffold")


@dataclass(frozen=True)
class ServerSettings:
    """The server's optimiser and its numbers, all ppm.

    optimizer: "auto" is what the algorithm names (nesterov for diloco, else sgd), or one of
    SERVER_OPTIMIZERS. momentum_ppm is for sgd and nesterov; betas and tau are for the adaptive.
    """

    optimizer: str = "auto"
    learning_rate_ppm: int = PPM
    momentum_ppm: int = 0
    beta_mean_ppm: int = 900_000
    beta_square_ppm: int = 990_000
    tau_ppm: int = 1_000


def build_server(algorithm: str, settings: ServerSettings) -> ServerRule:
    """Return the server rule of a task's algorithm and settings; ValueError for unknown words."""
    rule = build_optimizer(algorithm, settings)
    return Controlled(rule) if algorithm == "scaffold" else rule


def build_optimizer(algorithm: str, settings: ServerSettings) -> ServerRule:
    """Return the rule that moves the model."""
    rate, momentum = settings.learning_rate_ppm, settings.momentum_ppm
    optimizer = find_optimizer(algorithm, settings.optimizer)
    for kind in ADAPTIVE_OPTIMIZERS:
        if optimizer == kind:
            betas = (settings.beta_mean_ppm, settings.beta_square_ppm)
            return Adaptive(kind, rate, *betas, settings.tau_ppm)
    if optimizer == "nesterov":
        return OuterMomentum(rate, momentum, is_nesterov=True)
    return OuterMomentum(rate, momentum, is_nesterov=False) if momentum else FedAvg(rate)


def find_optimizer(algorithm: str, optimizer: str) -> str:
    """Return one of SERVER_OPTIMIZERS: the one asked for, or the algorithm's own for "auto"."""
    if algorithm not in (*AVERAGING_ALGORITHMS, "diloco"):
        known = ", ".join((*AVERAGING_ALGORITHMS, "diloco"))
        raise ValueError(f"algorithm {algorithm!r} is unknown: use one of {known}")
    if optimizer in SERVER_OPTIMIZERS:
        return optimizer
    if optimizer != "auto":
        known = ", ".join(("auto", *SERVER_OPTIMIZERS))
        raise ValueError(f"server optimizer {optimizer!r} is unknown: use one of {known}")
    return "nesterov" if algorithm == "diloco" else "sgd"
