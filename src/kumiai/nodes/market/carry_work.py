"""Heavy work: train, judge and combine in threads, so that the loop goes on hearing and paying.

One order of each sort at a time: two trainings at once would only slow each other down. An order
that a crash interrupted is given again; its answer is a function of the order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from kumiai.base.errors import InputError, KumiaiError
from kumiai.market.effects import (
    Combine,
    Combined,
    Judge,
    Judged,
    JudgedLine,
    Train,
    Trained,
)
from kumiai.market.kinds import Code
from kumiai.nodes.market.carrying import Carriers, Emit, Insisting, fail
from kumiai.nodes.market.work import (
    Candidate,
    CombineOrder,
    CustomerWorkPort,
    JudgeOrder,
    ProviderWorkPort,
    TrainOrder,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProviderWork:
    """Train, for a provider."""

    work: ProviderWorkPort
    insisting: Insisting
    threads: Executor

    def list_carriers(self) -> Carriers:
        """Return what carries out which effect."""
        return {Train: self.train}

    async def train(self, effect: Train, emit: Emit) -> None:
        """A task that is not what it says is declined; our own disk's faults are waited out."""
        order = TrainOrder(
            round=effect.round,
            task=effect.task,
            code=effect.code,
            input_shape=effect.input_shape,
            class_count=effect.class_count,
            model=effect.model,
            shard=effect.shard,
            seed=effect.seed,
            seconds=effect.seconds,
        )
        try:
            done = await _work(self.insisting, self.threads, "training", self.work.train, order)
        except InputError as error:
            emit(fail(effect.key, Code.MALFORMED, error))
            return
        except KumiaiError as error:
            emit(fail(effect.key, Code.DECLINED, error))
            return
        emit(
            Trained(
                key=effect.key,
                update=done.update,
                size_bytes=done.size_bytes,
                samples=done.sample_count,
                iterations=done.iteration_count,
                flop=done.flop,
                loss_ppm=done.loss_ppm,
            )
        )


@dataclass(frozen=True, slots=True)
class CustomerWork:
    """Judge and Combine, for a customer or a juror."""

    work: CustomerWorkPort
    insisting: Insisting
    threads: Executor

    def list_carriers(self) -> Carriers:
        """Return what carries out which effect."""
        return {Judge: self.judge, Combine: self.combine}

    async def judge(self, effect: Judge, emit: Emit) -> None:
        """Measure; what is wrong with an update is in its line, not an error."""
        order = JudgeOrder(
            round=effect.round,
            model=effect.model,
            previous_model=effect.previous_model or None,
            candidates=tuple(Candidate(*candidate) for candidate in effect.candidates),
            seed=effect.seed,
        )
        try:
            done = await _work(self.insisting, self.threads, "judging", self.work.judge, order)
        except KumiaiError as error:
            emit(fail(effect.key, Code.NOT_JUDGED, error))
            return
        lines = tuple(
            JudgedLine(u.provider, u.gain, u.value, u.error, u.fault, u.duplicate_of)
            for u in done.updates
        )
        emit(Judged(effect.key, done.loss_ppm, done.accuracy_ppm, lines))

    async def combine(self, effect: Combine, emit: Emit) -> None:
        """Make the next model."""
        order = CombineOrder(
            round=effect.round,
            model=effect.model,
            server_state=effect.server_state or None,
            previous_model=effect.previous_model or None,
            included=effect.included,
            seed=effect.seed,
        )
        try:
            done = await _work(self.insisting, self.threads, "combining", self.work.combine, order)
        except KumiaiError as error:
            emit(fail(effect.key, Code.DIVERGED, error))
            return
        emit(Combined(effect.key, done.model, done.server_state or ""))


async def _work(
    insisting: Insisting, threads: Executor, what: str, function: Callable[..., T], order: object
) -> T:
    async def attempt() -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, function, order)

    return await insisting.call(what, attempt)
