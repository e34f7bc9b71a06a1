"""The learning rules that a task document asks for: its integers as the engine's settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.learning import scaffold, server
from kumiai.learning.codecs import Codec, build_codec, cut
from kumiai.learning.fixed_point import FloatVector, IntVector
from kumiai.learning.fragments import compute_span, compute_turn
from kumiai.learning.normalise import normalise_updates
from kumiai.learning.rates import RateSchedule, compute_rate_ppm
from kumiai.learning.schedule import count_iterations
from kumiai.tasks.document import TaskDocument
from kumiai.tasks.sections import TrainingSection


class TaskRules:
    """The task's algorithm around training and aggregation: what depends on round and member."""

    def __init__(self, task: TaskDocument, size: int) -> None:
        self._task, self._training, self._size = task, task.training, size
        self._schedule = build_task_schedule(task)
        self.server = build_task_server(task)
        self.has_control = task.training.algorithm == "scaffold"

    @property
    def has_offset(self) -> bool:
        """Tell whether members go on from what they hold back, beside the global model."""
        return self._training.fragments > 1

    def get_span(self, number: int) -> slice:
        """Return which of the model's numbers travel and move in round `number`."""
        return find_span(self._training, self._size, number)

    def make_guides(
        self,
        rounds: Sequence[int],
        own_NP: Sequence[IntVector],
        state: server.ServerState,
        held_NP: Sequence[FloatVector] = (),
    ) -> torch.Tensor | None:
        """Return what the round tells each member beside the model [N, G]; None for nothing.

        rounds: each job's. own_NP: each member's own control variate, () without them. held_NP:
        what each member holds back, () for nothing.
        """
        parts: list[NDArray[np.float32]] = []
        if not self._schedule.is_constant:
            rates = [self._compute_rate_ppm(number) / PPM for number in rounds]
            parts.append(np.array(rates, dtype=np.float32)[:, None])
        if self.has_offset:
            nothing_P = np.zeros(self._size, dtype=np.float32)
            parts.append(np.stack([*held_NP] or [nothing_P] * len(rounds)))
        if self.has_control:
            shared_P = server.get_control(state)
            parts.append(np.stack([scaffold.compute_correction(own, shared_P) for own in own_NP]))
        return torch.from_numpy(np.concatenate(parts, 1)) if parts else None

    def prepare(self, updates: Sequence[IntVector], weights: Sequence[int]) -> list[IntVector]:
        """Return the updates as the algorithm has them combined."""
        if self._training.algorithm != "fednova":
            return list(updates)
        iterations = [self._count_iterations(weight) for weight in weights]
        return normalise_updates(updates, weights, iterations, self._training.momentum_ppm)

    def compute_next_own(
        self,
        own_P: IntVector,
        state: server.ServerState,
        update_P: IntVector,
        iterations: int,
        number: int,
    ) -> IntVector:
        """Return the control variate that a member keeps if its update enters the model."""
        gradient_P = self._estimate_gradient(update_P, iterations, number)
        return scaffold.update_own_control(own_P, server.get_control(state), gradient_P)

    def compute_next_state(
        self,
        state: server.ServerState,
        updates: Sequence[IntVector],
        weights: Sequence[int],
        number: int,
        combine: Callable[[list[IntVector]], IntVector],
    ) -> server.ServerState:
        """Return the state with the shared control variate that these updates lead to."""
        gradients = [
            self._estimate_gradient(update_P, self._count_iterations(weight), number)
            for update_P, weight in zip(updates, weights, strict=True)
        ]
        control_P = scaffold.update_shared_control(
            server.get_control(state), combine(gradients), len(updates), self._task.data.trainers
        )
        return server.replace_control(state, control_P)

    def _estimate_gradient(self, update_P: IntVector, iterations: int, number: int) -> IntVector:
        return scaffold.estimate_gradient(
            update_P, iterations, self._training.learning_rate_ppm, self._compute_rate_ppm(number)
        )

    def _compute_rate_ppm(self, number: int) -> int:
        return compute_rate_ppm(self._schedule, number, self._training.rounds)

    def _count_iterations(self, weight: int) -> int:
        """Return a member's iterations: its weight is the samples it claimed (see tasks.rules)."""
        training = self._training
        return count_iterations(
            weight, training.batch_size, training.local_epochs, training.local_iterations
        )


def find_span(training: TrainingSection, size: int, number: int) -> slice:
    """Return which of `size` numbers travel and move in round `number`: all, or a fragment."""
    if training.fragments == 1:
        return slice(0, size)
    return compute_span(size, training.fragments, compute_turn(number, training.fragments))


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


def build_task_codec(task: TaskDocument, shapes: Sequence[tuple[int, ...]]) -> Codec:
    """Return the codec of the task's updates; of its fragments, which have no shapes, if it cuts.

    Raises ValueError where codec, shapes and fragments do not go together.
    """
    count = task.training.fragments
    return cut(build_codec(task.training.codec, shapes if count == 1 else None), count)


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
