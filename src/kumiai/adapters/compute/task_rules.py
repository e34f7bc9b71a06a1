"""The learning rules that a task document asks for: its integers as the engine's settings."""

from __future__ import annotations

from kumiai.base.errors import InputError
from kumiai.learning import server
from kumiai.learning.rates import RateSchedule
from kumiai.tasks.document import TaskDocument


def build_task_server(task: TaskDocument) -> server.ServerRule:
    """Return the server rule that the task asks for."""
    training = task.training
    return server.build_server(
        training.algorithm,
        server.ServerSettings(
            optimizer=training.server_optimizer,
            learning_rate_ppm=training.server_learning_rate_ppm,
            momentum_ppm=training.server_momentum_ppm,
            beta_mean_ppm=training.server_beta_mean_ppm,
            beta_square_ppm=training.server_beta_square_ppm,
            tau_ppm=training.server_tau_ppm,
        ),
    )


def build_task_schedule(task: TaskDocument) -> RateSchedule:
    """Return how the learning rate goes over the task's rounds."""
    training = task.training
    return RateSchedule(
        kind=training.lr_schedule,
        warmup_rounds=training.lr_warmup_rounds,
        final_ppm=training.lr_final_ppm,
        step_rounds=training.lr_step_rounds,
        step_ppm=training.lr_step_ppm,
    )


def check_task_server(task: TaskDocument) -> None:
    """Build the task's server rule once; InputError if its numbers do not go together."""
    try:
        build_task_server(task)
    except ValueError as error:
        field = "training.server_learning_rate_ppm"
        raise InputError(field, task.training.server_learning_rate_ppm, str(error)) from error
