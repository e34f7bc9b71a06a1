"""One message to one ClientApp, as if it had travelled: copies in, a checked reply out.

`ClientApp.__call__` applies mods and lifespan itself. What a ClientApp does to its message or, when
it fails, to `context.state` touches nobody else: Flower's engines serialise both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    Metadata,
    MetricRecord,
    RecordDict,
)

from kumiai.adapters.flower.arrays import copy_arrays
from kumiai.adapters.flower.library import SERVER_NODE_ID
from kumiai.adapters.flower.project import Scalar, describe

TTL_SECONDS = 3_600.0
# Flower's documented error codes
CLIENT_APP_RAISED = 2
NODE_UNAVAILABLE = 5

Client = Callable[[Message, Context], Message]


class ClientFaultError(Exception):
    """A ClientApp raised or answered nonsense; the message is one line for people."""


@dataclass(slots=True)
class Node:
    """One node that runs the ClientApp; `state` is what its `context.state` holds between calls."""

    run_id: int
    node_id: int
    config: Mapping[str, Scalar]
    run_config: Mapping[str, Scalar]
    state: RecordDict

    @property
    def partition(self) -> int:
        """The node's partition-id."""
        return int(self.config["partition-id"])


@dataclass(frozen=True, slots=True)
class Job:
    """A message that waits for its reply; node: None where there is no node of that number."""

    identity: str
    message: Message
    node: Node | None

    @property
    def node_id(self) -> int:
        """The node that the message is for."""
        return self.message.metadata.dst_node_id

    @property
    def can_travel(self) -> bool:
        """Whether a ClientApp has to see it at all."""
        return self.node is not None and self.message.has_content()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message: the reply's content, or the line and code of an error.

    state: the node's new state, where another process found it; printed: what it printed there.
    """

    content: RecordDict | None
    line: str = ""
    state: RecordDict | None = None
    printed: str = ""
    code: int = CLIENT_APP_RAISED


def build_node(
    partition: int, partition_count: int, run_id: int, run_config: Mapping[str, Scalar], base: int
) -> Node:
    """Node number `base` + partition, with the node config that Flower's simulation gives."""
    config = {"partition-id": partition, "num-partitions": partition_count}
    return Node(run_id, base + partition, config, run_config, RecordDict())


def build_message(
    run_id: int, source: int, target: int, kind: str, identity: str, group: str, content: RecordDict
) -> Message:
    """A message with explicit metadata: valid in any process, unlike the shorter constructor."""
    metadata = Metadata(
        run_id=run_id,
        message_id=identity,
        src_node_id=source,
        dst_node_id=target,
        reply_to_message_id="",
        group_id=group,
        created_at=time.time(),
        ttl=TTL_SECONDS,
        message_type=kind,
    )
    return Message(content=content, metadata=metadata)


def address(node: Node, identity: str, kind: str, group: str, content: RecordDict) -> Message:
    """The server's message to a node, with a content of its own."""
    return build_message(
        node.run_id, SERVER_NODE_ID, node.node_id, kind, identity, group, copy_records(content)
    )


def call_client(client: Client, node: Node, message: Message, folder: Path) -> RecordDict:
    """Return the content of the reply and keep the node's new state.

    ClientFaultError, with the node's state as it was, if the app raises, answers with an error or
    with anything but a message that has content.
    """
    context = Context(
        run_id=node.run_id,
        node_id=node.node_id,
        node_config=dict(node.config),
        state=copy_records(node.state),
        run_config=dict(node.run_config),
    )
    try:
        reply = client(message, context)
    except (Exception, SystemExit) as error:
        # The ClientApp is the user's code: whatever it raises is one fault with one address.
        raise ClientFaultError(describe(error, folder)) from error
    if not isinstance(reply, Message):
        raise ClientFaultError(f"the ClientApp returned {type(reply).__name__}, not a Message")
    if reply.has_error():
        raise ClientFaultError(f"error {reply.error.code}: {reply.error.reason}")
    if not reply.has_content():
        raise ClientFaultError("the ClientApp returned a Message without content")
    if not isinstance(context.state, RecordDict):
        shown = type(context.state).__name__
        raise ClientFaultError(f"the ClientApp made context.state a {shown}, not a RecordDict")
    node.state = context.state
    return copy_records(reply.content)


def copy_records(records: RecordDict) -> RecordDict:
    """Return the same records in objects of their own; the arrays' bytes are shared."""
    copied = records.copy()  # without the checks that each item has passed already
    for name, record in records.items():
        copied[name] = _copy_record(record)
    return copied


def count_bytes(records: RecordDict) -> int:
    """The bytes of all arrays: what would travel, without a few for names and numbers."""
    # `array_records` would build a dictionary that writes through
    arrays = [record for record in records.values() if isinstance(record, ArrayRecord)]
    return sum(len(array.data) for record in arrays for array in record.values())


def _copy_record(
    record: ArrayRecord | MetricRecord | ConfigRecord,
) -> ArrayRecord | MetricRecord | ConfigRecord:
    if isinstance(record, ArrayRecord):
        return copy_arrays(record)
    copied = record.copy()
    for name, value in record.items():
        if isinstance(value, list):
            copied[name] = list(value)
    return copied
