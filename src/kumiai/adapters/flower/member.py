"""A Flower ClientApp as a member's recipe: the round's local work is one train message.

The message holds the global model as an ArrayRecord "arrays" (names and shapes of the task's own
network) and a ConfigRecord "config": server-round, lr, momentum, weight-decay, batch-size,
local-epochs, seed. The reply must hold one ArrayRecord of the same tensors and a MetricRecord with
num-examples. The node config has partition-id and num-partitions; the run config is that of the
pyproject.toml beside the task, if there is one. Public names of Flower only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kumiai.adapters.compute.member_work import MemberJob, MemberWork
from kumiai.adapters.flower.library import SERVER_NODE_ID, flower_log, require_flower
from kumiai.adapters.flower.project import Scalar, importable, load_component, read_run_config
from kumiai.base.errors import InputError
from kumiai.learning.layout import compute_layout, flatten, unflatten
from kumiai.learning.recipe import Recipe, build_seeded

require_flower()

from flwr.app import ArrayRecord, ConfigRecord, MessageType, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402

from kumiai.adapters.flower.arrays import TravelledArray  # noqa: E402
from kumiai.adapters.flower.calls import (  # noqa: E402
    ClientFaultError,
    build_message,
    build_node,
    call_client,
)
from kumiai.adapters.flower.exchange import ROUND_KEY, WEIGHT_KEY  # noqa: E402
from kumiai.adapters.flower.grid import FIRST_NODE_ID  # noqa: E402
from kumiai.adapters.flower.state import decode_records, encode_records  # noqa: E402

FIELD = "training.flower"
LOSS_KEYS = ("train-loss", "train_loss", "loss")
RUN_ID = 1
SAMPLES_MAX = 2**31 - 1
FLOAT32 = np.dtype(np.float32)


class FlowerTrainer:
    """Trains members with the ClientApp `reference` from `folder`; see `MemberTrainer`.

    settings: what goes into the message's config beside round and seed. `close` takes the folder
    from the import path again.
    """

    def __init__(
        self, reference: str, folder: Path, recipe: Recipe, settings: Mapping[str, Scalar]
    ) -> None:
        self._reference, self._folder = reference, folder.resolve()
        self._settings = dict(settings)
        self._module = build_seeded(recipe, 1.0, 0)
        self._layout = compute_layout(self._module)
        self._run_config = read_run_config(self._folder)
        self._has_worked = False
        with ExitStack() as stack:
            stack.enter_context(importable(self._folder))
            self._client = load_component(reference, FIELD, ClientApp, self._folder)
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Forget the app's modules."""
        self._opened.close()

    def train(self, model_P: NDArray[np.float32], jobs: Sequence[MemberJob]) -> list[MemberWork]:
        """Train one member after the other; a fault of one is in its result.

        InputError if all fail before any has ever worked: then it is the app, not the members. What
        was logged until then is intact, so that the run can be resumed with a better app.
        """
        with flower_log(is_shown=False):
            works = [self._train(model_P, job) for job in jobs]
        self._has_worked |= any(not work.fault for work in works)
        if works and not self._has_worked:
            fix = f"every member failed in round {jobs[0].round}: {works[0].fault}"
            raise InputError(FIELD, self._reference, fix)
        return works

    def _train(self, model_P: NDArray[np.float32], job: MemberJob) -> MemberWork:
        node = build_node(job.place, job.count, RUN_ID, self._run_config, FIRST_NODE_ID)
        try:
            node.state = decode_records(job.memory) if job.memory else RecordDict()
            config = {**self._settings, ROUND_KEY: job.round, "seed": job.seed}
            content = RecordDict({"arrays": self._pack(model_P), "config": ConfigRecord(config)})
            message = build_message(
                RUN_ID,
                SERVER_NODE_ID,
                node.node_id,
                MessageType.TRAIN,
                f"{job.round}-{job.place}",
                str(job.round),
                content,
            )
            with _seeded(job.seed):
                reply = call_client(self._client, node, message, self._folder)
            local_P = self._unpack(reply)
            count, loss = _read_metrics(reply)
            memory = encode_records(node.state) if len(node.state) else b""
        except (ClientFaultError, ValueError) as fault:
            return MemberWork(np.zeros(0, np.float32), math.nan, 0, b"", str(fault))
        return MemberWork(local_P - model_P, loss, count, memory)

    def _pack(self, model_P: NDArray[np.float32]) -> ArrayRecord:
        """The whole state_dict: counters and tied weights too, as a strict load wants them."""
        state = unflatten(self._layout, torch.from_numpy(np.array(model_P)))
        self._module.load_state_dict(state, strict=False)
        return ArrayRecord(self._module.state_dict())

    def _unpack(self, reply: RecordDict) -> NDArray[np.float32]:
        """Return the reply's model as one vector; ValueError names the tensor that is wrong."""
        records = list(reply.array_records.values())
        if len(records) != 1:
            raise ValueError(f"the reply has {len(records)} ArrayRecords, expected one")
        (record,) = records
        strangers = sorted(set(record) - set(self._module.state_dict()))
        if strangers:
            raise ValueError(f"the reply has a tensor {strangers[0]!r}, the task's network has not")
        state = {}
        for name, shape in zip(self._layout.names, self._layout.shapes, strict=True):
            if name not in record:
                raise ValueError(f"the reply lacks the tensor {name!r}")
            array = record[name]
            if tuple(array.shape) != shape:
                shown = list(array.shape)
                raise ValueError(f"tensor {name!r} has shape {shown}, expected {list(shape)}")
            try:
                values = TravelledArray(array).numpy()
            except (TypeError, ValueError, EOFError) as error:
                raise ValueError(f"tensor {name!r} cannot be read: {error}") from error
            if values.dtype != FLOAT32 or values.shape != shape:
                shown = f"{values.dtype} {list(values.shape)}"
                raise ValueError(f"tensor {name!r} is {shown}, expected float32 {list(shape)}")
            if not np.isfinite(values).all():
                raise ValueError(f"tensor {name!r} holds values that are not finite")
            state[name] = torch.from_numpy(np.asarray(values))
        vector: NDArray[np.float32] = flatten(self._layout, state).numpy()
        return vector


def _read_metrics(reply: RecordDict) -> tuple[int, float]:
    """Return num-examples and the training loss (0 where the app tells none)."""
    metrics = {k: v for record in reply.metric_records.values() for k, v in record.items()}
    count = metrics.get(WEIGHT_KEY)
    is_number = isinstance(count, int | float) and not isinstance(count, bool)
    if not is_number or not 1 <= count <= SAMPLES_MAX:
        raise ValueError(f"the reply's metrics have {WEIGHT_KEY} = {count!r}, expected 1 or more")
    losses = [metrics[key] for key in LOSS_KEYS if isinstance(metrics.get(key), int | float)]
    try:
        loss = float(losses[0]) if losses else 0.0
    except OverflowError as error:
        raise ValueError("the reply's training loss is an integer beyond any float") from error
    if not math.isfinite(loss):
        raise ValueError(f"the reply's training loss is {loss}")
    return int(count), loss


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Run the app with torch, numpy and random seeded, and put their states back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
