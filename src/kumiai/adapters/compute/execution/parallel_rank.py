"""What runs in one of a member's processes: it meets the others, then trains members with them.

All of them are started by the engine on this machine. They meet through a file in a folder that
only this user can read, and talk over the loopback interface (gloo) or from GPU to GPU (NCCL).
"""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from kumiai.adapters.compute.execution.devices import deterministic, place_shards, place_work
from kumiai.adapters.compute.execution.inline import describe_fault
from kumiai.adapters.compute.execution.parallel_step import WholeModel
from kumiai.adapters.compute.execution.process import Desk, hear
from kumiai.adapters.compute.execution.ray_worker import remake_recipe
from kumiai.adapters.compute.execution.shards import CPU, JoinedShards
from kumiai.base.errors import InputError
from kumiai.learning.client import LocalWork, TrainSettings, build_local_work
from kumiai.learning.parallel import Parallel
from kumiai.learning.recipe import RecipeOrigin

Reply = tuple[Literal["ready", "trained", "failed"], float, str]


class Trainer(Protocol):
    """Trains a member together with the other processes (`WholeModel`, `SharedOut`)."""

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        member: int,
        seed: int,
        guide_G: Tensor | None,
        update_P: Tensor,
    ) -> float:
        """Write what is this process's of the update; return its part of the mean loss."""
        ...


@dataclass(frozen=True)
class Seat:
    """Who a process is: its rank of the recipe's processes, where they meet, its device's kind."""

    rank: int
    parallel: Parallel
    meeting: str
    device_type: str

    @property
    def device(self) -> torch.device:
        """The CPU, or the GPU with the rank's number."""
        return CPU if self.device_type == CPU.type else torch.device(self.device_type, self.rank)


@dataclass(frozen=True)
class Order:
    """What a process that was not forked builds its work from."""

    origin: RecipeOrigin
    settings: TrainSettings


def run_rank(seat: Seat, made: LocalWork | Order, desk: Desk, pipe: Connection) -> None:
    """Meet the other processes, then train members as told, until told to stop."""
    # an interrupt from the keyboard reaches the whole group: the parent decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = os.getppid()
    try:
        work = made if isinstance(made, LocalWork) else rebuild(made)
        with torch.no_grad():
            serve(seat, work, desk, pipe, parent)
    except (EOFError, OSError):
        return  # the parent is gone
    except Exception as error:  # noqa: BLE001 - a user's network or a device, being set up
        pipe.send(("failed", 0.0, f"{type(error).__name__}: {error}"))
        pipe.poll(None)  # the parent reads it before this process ends


def serve(seat: Seat, work: LocalWork, desk: Desk, pipe: Connection, parent: int) -> None:
    """Set this process up and train until told to stop, or until the parent is gone."""
    meet(seat)
    try:
        data = place_shards(desk.data, seat.device)
        trainer = make_trainer(seat, work)
        pipe.send(("ready", 0.0, ""))
        for member, seed in hear(pipe, parent):
            guide_G = desk.guides_NG[member] if work.guide_size else None
            update_P = desk.updates_NP[member]
            reply: Reply
            try:
                with deterministic(seat.device):
                    loss = trainer.train(desk.global_P, data, member, seed, guide_G, update_P)
                reply = ("trained", loss, "")
            except ValueError as error:
                reply = ("failed", 0.0, str(error))
            except Exception as error:  # noqa: BLE001 - the user's network, outside of a step
                reply = ("failed", 0.0, describe_fault(work, member, error))
            pipe.send(reply)
    finally:
        dist.destroy_process_group()


def make_trainer(seat: Seat, work: LocalWork) -> Trainer:
    """Return what trains a member in this process."""
    count = seat.parallel.process_count
    if seat.parallel.mode == "ddp":
        return WholeModel(place_work(work, seat.device), seat.rank, count)
    # seconds to import: only where it is used; it moves no more than its share to a GPU
    from kumiai.adapters.compute.execution.sharded import SharedOut

    return SharedOut(work, seat.rank, count, seat.device)


def meet(seat: Seat) -> None:
    """Join the others: over loopback alone, found through a file of this user's own."""
    loopback = find_loopback()
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback
    count = seat.parallel.process_count
    store = dist.FileStore(seat.meeting, count)  # type: ignore[attr-defined]
    if seat.device.type == "cuda":
        torch.cuda.set_device(seat.device)
    backend = "nccl" if seat.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=seat.rank, world_size=count)


def find_loopback() -> str:
    """Return the name of the loopback interface (lo, lo0); InputError without one."""
    names = [name for _, name in socket.if_nameindex()]
    found = [name for name in names if name == "lo" or name.startswith("lo0")]
    if not found:
        fix = f"its processes talk over the loopback interface, of which {names} has none"
        raise InputError("parallel", "loopback", fix)
    return found[0]


def rebuild(order: Order) -> LocalWork:
    """Build the work again from the recipe's file or name."""
    return build_local_work(remake_recipe(order.origin), order.settings)
