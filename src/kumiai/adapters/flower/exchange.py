"""What is known of one exchange of messages: who was asked, who answered what, who failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from kumiai.adapters.flower.calls import count_bytes

WEIGHT_KEY = "num-examples"  # what Flower's strategies weight by unless told otherwise
ROUND_KEY = "server-round"  # what they put into each message's config


@dataclass(frozen=True, slots=True)
class NodeFault:
    """A node that gave no usable reply. `line` is the traceback's last line and its place."""

    round: int
    kind: str
    partition: int
    node_id: int
    line: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages of one kind that were sent together, and their replies.

    metrics: means over the replies, weighted by num-examples where each has it. is_over: False
    while replies are still coming. seconds count from the start of the app's run.
    """

    round: int
    kind: str
    asked: int
    answered: int
    faults: tuple[NodeFault, ...]
    sent_bytes: int
    received_bytes: int
    metrics: Mapping[str, float]
    start_seconds: float
    end_seconds: float
    is_over: bool


@dataclass(slots=True)
class Tally:
    """An exchange while it lasts."""

    round: int
    kind: str
    asked: int
    start_seconds: float
    answered: int = 0
    faults: list[NodeFault] = field(default_factory=list)
    sent_bytes: int = 0
    received_bytes: int = 0
    sums: dict[str, list[tuple[float, float | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, message: Message, reply: RecordDict) -> None:
        """Count one message and its reply."""
        self.answered += 1
        self.sent_bytes += count_bytes(message.content)
        self.received_bytes += count_bytes(reply)
        for record in reply.values():
            if not isinstance(record, MetricRecord):
                continue
            weight = record.get(WEIGHT_KEY)
            share = float(weight) if isinstance(weight, int | float) else None
            for name, value in record.items():
                if name != WEIGHT_KEY and isinstance(value, int | float):
                    self.sums[name].append((float(value), share))

    def close(self, now_seconds: float, *, is_over: bool) -> Exchange:
        """What is known by now."""
        return Exchange(
            round=self.round,
            kind=self.kind,
            asked=self.asked,
            answered=self.answered,
            faults=tuple(self.faults),
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            metrics={name: _average(found) for name, found in self.sums.items()} if is_over else {},
            start_seconds=self.start_seconds,
            end_seconds=now_seconds,
            is_over=is_over,
        )


Observer = Callable[[Exchange], None]


def read_round(message: Message, default: int) -> int:
    """The round that a strategy wrote into the message's config, else `default`."""
    if message.has_content():
        for record in message.content.values():
            value = record.get(ROUND_KEY) if isinstance(record, ConfigRecord) else None
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    group = message.metadata.group_id
    return int(group) if group.isdecimal() and len(group) < 10 else default


def _average(found: Sequence[tuple[float, float | None]]) -> float:
    weights = [share for _, share in found if share is not None]
    if len(weights) == len(found) and sum(weights) > 0:
        return sum(v * w for (v, _), w in zip(found, weights, strict=True)) / sum(weights)
    return sum(value for value, _ in found) / len(found)
