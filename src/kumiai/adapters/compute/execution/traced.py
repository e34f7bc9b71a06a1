"""One member's training as a chain of states, each of which anybody can start again from.

A state is everything that the next iteration depends on: parameters, the other float tensors, the
optimiser's memory, how far the member is in its batches, and the random state that the recipe
draws from. Its bytes are

    8 bytes, little-endian: length of the header
    header    canonical JSON: type, iteration, the work's seed, every tensor's name, type, shape
    tensors   in the header's order, contiguous, little-endian
    random    the generator's own bytes, the CPU's and then the device's

and its digest is their sha256. The header follows from the recipe and the task, so a state that
came from elsewhere is compared with the header that it must have, and nothing of it is parsed.

Bit-equal by construction: at the end of every segment each tensor is laid anew into memory, in the
format that a fresh start has, for whoever trains on as for whoever comes from a state's bytes. So
both run the same operations on the same numbers in the same layout. Training is inline and eager,
one member by itself, on one thread (`determinism.reproducible`): stacking members changes the order
of sums and with it the last bits (docs/adr/0028).

Cost: a pass of sha256 over the state and one copy of it, a segment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.devices import drawing
from kumiai.adapters.compute.execution.inline import convert_format, describe_fault
from kumiai.adapters.compute.execution.shards import JoinedShards, count_member_iterations
from kumiai.base import canonical
from kumiai.learning.client import Carry, LocalWork, Params
from kumiai.learning.layout import flatten, unflatten
from kumiai.learning.schedule import Batches, plan_epoch

STATE_TYPE = "kumiai/state/1"
LENGTH_BYTES = 8
Leaf = tuple[str, Tensor]


@dataclass(frozen=True)
class State:
    """Where a member stands: see the module. random: one uint8 tensor a generator."""

    iteration: int
    carry: Carry
    random: tuple[Tensor, ...]


class TracedWork:
    """The local work of one member in one round, in segments.

    data: the member's samples as its only shard. seed: rules batches and draws, as everywhere.
    guide_G: what the round tells it beside the model. Raises ValueError where the recipe raises.
    """

    def __init__(
        self,
        work: LocalWork,
        global_P: Tensor,
        data: JoinedShards,
        seed: int,
        guide_G: Tensor | None = None,
    ) -> None:
        self._work, self._data, self.seed, self._guide_G = work, data, seed, guide_G
        self._global_P = global_P.to(data.device)
        self._epoch: tuple[int, Batches] = (-1, ())
        self._template = self._begin()
        self._anchor: Params = self._template.params
        with drawing(data.device, seed):
            self._random = self._read_random()

    @property
    def iteration_count(self) -> int:
        """T, the iterations of the whole work."""
        return count_member_iterations(self._work.settings, self._data.counts)[0]

    @property
    def sample_count(self) -> int:
        """The samples of the shard."""
        return self._data.counts[0]

    def with_seed(self, seed: int) -> TracedWork:
        """Return the same work under another seed."""
        return TracedWork(self._work, self._global_P, self._data, seed, self._guide_G)

    def init(self) -> State:
        """Return the state before the first iteration: it follows from model and seed alone."""
        return State(0, self._begin(), self._random)

    def run(self, state: State, last: int) -> tuple[State, float, int]:
        """Train on to iteration `last`; also the sum of losses and the samples seen on the way."""
        carry, loss_sum, seen = state.carry, torch.zeros((), device=self._data.device), 0
        with drawing(self._data.device, self.seed):
            self._write_random(state.random)
            try:
                for iteration in range(state.iteration, last):
                    rows = self._find_rows(iteration)
                    inputs, targets = self._data.batch(rows + self._data.offsets[0])
                    carry, loss = self._work.step(carry, self._anchor, inputs, targets, None)
                    loss_sum += loss * len(rows)
                    seen += len(rows)
            except Exception as error:
                # whatever the user's network or loss raises is one fault with one address
                raise ValueError(describe_fault(self._work, 0, error)) from error
            reached = State(last, self._lay_out(carry), self._read_random())
        return reached, float(loss_sum), seen

    def compute_update(self, state: State) -> Tensor:
        """Return what the state's model differs from the round's, [P] on the CPU."""
        held = {**state.carry.params, **state.carry.rest}
        return (flatten(self._work.layout, held) - self._global_P).cpu()

    def compute_digest(self, state: State) -> str:
        """Return the sha256 of the state's bytes, without joining them."""
        digest = hashlib.sha256()
        for part in self._list_parts(state):
            digest.update(part)
        return digest.hexdigest()

    def encode(self, state: State) -> bytes:
        """Return the state's bytes."""
        return b"".join(self._list_parts(state))

    def count_bytes(self) -> int:
        """Return the length of the longest state's bytes: the cap for any that is fetched."""
        parts = self._list_parts(State(self.iteration_count, self._template, self._random))
        return sum(len(part) for part in parts)

    def decode(self, data: bytes, iteration: int) -> State:
        """Return the state of these bytes; ValueError unless it is one of this work at `iteration`.

        The numbers themselves may be anything: that they are the right ones, only a replay shows.
        """
        template = State(iteration, self._template, self._random)
        head, *body = self._list_parts(template)
        length = len(head) + sum(len(part) for part in body)
        if len(data) != length or data[: len(head)] != head:
            raise ValueError(f"{len(data)} bytes are no state of this work at {iteration}")
        place, leaves = len(head), []
        for _, tensor in _list_leaves(self._template):
            leaves.append(_read_tensor(data, place, tensor))
            place += tensor.numel() * tensor.element_size()
        random = []
        for tensor in template.random:
            random.append(_read_tensor(data, place, tensor))
            place += tensor.numel()
        return State(iteration, _fill(self._template, iter(leaves)), tuple(random))

    def _find_rows(self, iteration: int) -> Tensor:
        """Return the rows of one iteration's batch; passes are planned one at a time."""
        settings, count = self._work.settings, self._data.counts[0]
        epoch, place = divmod(iteration, -(-count // settings.batch_size))
        if self._epoch[0] != epoch:
            batches = plan_epoch(
                count,
                settings.batch_size,
                self.seed,
                epoch,
                shuffle=settings.shuffle,
                is_filled=settings.is_filled,
            )
            self._epoch = (epoch, batches)
        return self._epoch[1][place]

    def _begin(self) -> Carry:
        tensors = unflatten(self._work.layout, self._global_P)
        carry = self._work.init(convert_format(tensors, self._data.is_channels_last))
        return carry if self._guide_G is None else self._work.guide(carry, self._guide_G)

    def _lay_out(self, carry: Carry) -> Carry:
        """Copy every tensor into the format that the work begins in."""
        pairs = zip(_list_leaves(self._template), _list_leaves(carry), strict=True)
        laid = (torch.empty_like(like).copy_(t.detach()) for (_, like), (_, t) in pairs)
        return _fill(self._template, laid)

    def _list_parts(self, state: State) -> Iterator[bytes | memoryview]:
        leaves = list(_list_leaves(state.carry))
        header = canonical.encode(
            {
                "type": STATE_TYPE,
                "iteration": state.iteration,
                "seed": str(self.seed),
                "tensors": [[name, str(t.dtype), list(t.shape)] for name, t in leaves],
                "random": [t.numel() for t in state.random],
            }
        )
        yield len(header).to_bytes(LENGTH_BYTES, "little") + header
        for _, tensor in leaves:
            yield _view_bytes(tensor)
        for tensor in state.random:
            yield _view_bytes(tensor)

    def _read_random(self) -> tuple[Tensor, ...]:
        if self._data.device.type != "cuda":
            return (torch.get_rng_state(),)
        return torch.get_rng_state(), torch.cuda.get_rng_state(self._data.device)

    def _write_random(self, random: tuple[Tensor, ...]) -> None:
        """Raises ValueError for bytes that are no generator's state."""
        try:
            torch.set_rng_state(random[0])
            for found in random[1:]:
                torch.cuda.set_rng_state(found, self._data.device)
        except RuntimeError as error:
            raise ValueError(f"no state of a generator: {error}") from error


def run_trace(
    traced: TracedWork, every: int, keep: Callable[[int, State], None] | None = None
) -> tuple[State, tuple[str, ...], float]:
    """Train the whole work; return its last state, all digests and the mean loss.

    keep: is handed every state with its index as it is reached.
    """
    state, loss_sum, seen = traced.init(), 0.0, 0
    digests = [traced.compute_digest(state)]
    for index, first in enumerate(range(0, traced.iteration_count, every), start=1):
        last = min(first + every, traced.iteration_count)
        state, loss, count = traced.run(state, last)
        loss_sum, seen = loss_sum + loss, seen + count
        digests.append(traced.compute_digest(state))
        if keep is not None:
            keep(index, state)
    return state, tuple(digests), loss_sum / seen


def _list_leaves(carry: Carry) -> list[Leaf]:
    """Every tensor of a carry with its path; names of one dictionary in their order as text."""
    found: list[Leaf] = []

    def walk(path: str, node: object) -> None:
        if isinstance(node, Tensor):
            found.append((path, node))
        elif isinstance(node, dict):
            for name in sorted(node):
                walk(f"{path}/{name}", node[name])
        else:
            raise TypeError(f"{path} is {type(node).__name__}, neither a tensor nor a dictionary")

    for name, part in zip(Carry._fields, carry, strict=True):
        walk(name, part)
    return found


def _fill(template: Carry, leaves: Iterator[Tensor]) -> Carry:
    """Return a carry of the template's shape with these tensors, in `_list_leaves`' order."""

    def walk(node: object) -> object:
        if isinstance(node, dict):
            filled = {name: walk(node[name]) for name in sorted(node)}
            return {name: filled[name] for name in node}  # the order that iterations go by
        return next(leaves)

    return Carry(*(walk(part) for part in template))


def _view_bytes(tensor: Tensor) -> memoryview:
    """The tensor's numbers in their order as bytes, copied only where its memory differs."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.numpy()).cast("B") if flat.numel() else memoryview(b"")


def _read_tensor(data: bytes, place: int, like: Tensor) -> Tensor:
    """Return a tensor of `like`'s type, shape, memory format and device from the bytes there."""
    size = like.numel() * like.element_size()
    target = torch.empty_like(like)
    if size:
        raw = torch.frombuffer(bytearray(data[place : place + size]), dtype=like.dtype)
        target.copy_(raw.reshape(like.shape))
    return target
