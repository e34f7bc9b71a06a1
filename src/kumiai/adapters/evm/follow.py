"""A chain's logs from a cursor on: each once, in their order, and back where the chain went back.

Only blocks with `confirmations` on top are read, so a reorganisation is rare; where one goes
deeper, `Step.vanished_above` says from which block on everything that was told is void, and
`Step.vanished` lists those events as far as this process told them. The caller keeps its events and
the step's cursor in one transaction of its own store; then nothing is lost or told twice.

The cursor holds the last block's number and hash, and a trail of blocks before it, through which
the common ancestor is found. Deeper than the trail no node is believed: LyingNodeError.

Memory is bounded: `blocks_max` blocks and LOGS_MAX logs a step; `trail_max` blocks of events kept.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from dataclasses import dataclass

from kumiai.adapters.evm.abi import Log
from kumiai.adapters.evm.errors import (
    AnswerTooBigError,
    LyingNodeError,
    RetriableChainError,
    TooManyResultsError,
)
from kumiai.adapters.evm.json_input import load_json
from kumiai.adapters.evm.node import LogFilter, Node
from kumiai.adapters.evm.shapes import Header
from kumiai.base.errors import InputError

BLOCKS_MAX = 2_000  # asked for at once
KEPT_MAX = 50_000  # logs remembered for `vanished`
CURSOR_CHARS_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Place:
    """A block by number and hash."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the follower stands: the places it knows, oldest first; the last one was read to."""

    trail: tuple[Place, ...]

    @property
    def last(self) -> Place:
        """The last block whose logs were told."""
        return self.trail[-1]

    def encode(self) -> str:
        """Return it as JSON, to be kept."""
        return json.dumps([[place.number, place.hash] for place in self.trail])


def decode_cursor(text: str) -> Cursor:
    """Read what `encode` wrote; InputError where it is something else."""
    try:
        if len(text) > CURSOR_CHARS_MAX:
            raise ValueError("too long")
        trail = tuple(
            Place(int(number), str(digest)) for number, digest in load_json(text.encode())
        )
        if not trail or any(a.number >= b.number for a, b in itertools.pairwise(trail)):
            raise ValueError("no ascending places")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("cursor", text, "is no cursor of this program") from error
    return Cursor(trail)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found. `logs`: new ones. `vanished_above`: a block, or None; see above."""

    cursor: Cursor
    logs: tuple[Log, ...] = ()
    vanished_above: int | None = None
    vanished: tuple[Log, ...] = ()


class Follower:
    """Follows the logs of a filter on one node."""

    def __init__(
        self,
        node: Node,
        wanted: LogFilter,
        cursor: Cursor,
        *,
        confirmations: int = 3,
        blocks_max: int = BLOCKS_MAX,
        trail_max: int | None = None,
    ) -> None:
        """cursor: of an earlier step, or of `start_cursor`."""
        self._node, self._wanted, self.cursor = node, wanted, cursor
        self._confirmations, self._blocks_max = confirmations, blocks_max
        self._trail_max = trail_max or node.reorg_blocks_max
        self._span = blocks_max  # what the node gives at once, as far as it was seen
        self._told: deque[Log] = deque(maxlen=KEPT_MAX)

    async def step(self) -> Step | None:
        """Return the next logs, or what vanished, or None where there is nothing new.

        RetriableChainError where the chain changed while it was read.
        """
        head = await self._node.get_block_number()
        if not await self._is_canonical(self.cursor.last):
            return await self._go_back()
        target = head - self._confirmations + 1
        first = self.cursor.last.number + 1
        if target < first:
            return None
        last, logs = await self._read(first, min(target, first + self._span - 1))
        headers = await self._check(first, last, logs)
        trail = [*self.cursor.trail, *(Place(h.number, h.hash) for h in headers)]
        self.cursor = Cursor(tuple(trail[-self._trail_max :]))
        self._told.extend(logs)
        oldest = self.cursor.trail[0].number
        while self._told and self._told[0].block <= oldest:  # these can no more be taken back
            self._told.popleft()
        return Step(self.cursor, tuple(logs))

    async def _is_canonical(self, place: Place) -> bool:
        header = await self._node.get_header(place.number)
        return header is not None and header.hash == place.hash

    async def _go_back(self) -> Step:
        """Find the newest place that still stands; void what was told above it."""
        trail = self.cursor.trail
        headers = await self._node.get_headers([place.number for place in trail])
        pairs = list(zip(trail, headers, strict=True))
        standing = [place for place, h in pairs if h is not None and h.hash == place.hash]
        if not standing:
            raise LyingNodeError(
                f"the chain differs from block {trail[0].number} on, deeper than is believed"
            )
        base = standing[-1]
        vanished = tuple(log for log in self._told if log.block > base.number)
        self._told = deque((x for x in self._told if x.block <= base.number), maxlen=KEPT_MAX)
        self.cursor = Cursor(tuple(place for place in trail if place.number <= base.number))
        return Step(self.cursor, vanished_above=base.number, vanished=vanished)

    async def _read(self, first: int, last: int) -> tuple[int, list[Log]]:
        """Return the logs of first..last, of a shorter range where the node says: too many."""
        while True:
            try:
                logs = await self._node.get_logs(self._wanted, first, last)
            except (TooManyResultsError, AnswerTooBigError):
                if first == last:
                    raise
                last = first + (last - first) // 2
                self._span = last - first + 1
                continue
            if last - first + 1 == self._span:  # it went well: a wider range is tried next time
                self._span = min(2 * self._span, self._blocks_max)
            return last, logs

    async def _check(self, first: int, last: int, logs: list[Log]) -> list[Header]:
        """Hold the logs' blocks against headers, and the headers against their parents.

        The headers are those of the last blocks, which the trail keeps, and of all with logs.
        """
        trail_first = max(first, last - self._trail_max + 1)
        numbers = sorted({*range(trail_first, last + 1), *(log.block for log in logs)})
        found = dict(zip(numbers, await self._node.get_headers(numbers), strict=True))
        headers = [found[n] for n in range(trail_first, last + 1)]
        before = self.cursor.last.hash if trail_first == first else None
        for header in headers:
            if header is None or before not in {None, header.parent}:
                raise RetriableChainError(f"blocks {first} to {last} changed while they were read")
            before = header.hash
        for log in logs:
            stands = found[log.block]
            if stands is None or stands.hash != log.block_hash:
                raise RetriableChainError(f"block {log.block} changed while it was read")
        return [header for header in headers if header is not None]


async def start_cursor(node: Node, number: int) -> Cursor:
    """Return a cursor after block `number`: the next step tells what is above it."""
    header = await node.get_header(number)
    if header is None:
        raise InputError("first block", number, "the node has no such block")
    return Cursor((Place(header.number, header.hash),))
