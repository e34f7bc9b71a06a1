"""Flower's Grid in one process: a ServerApp's messages go straight to ClientApps.

A message is handled when its reply is asked for, in the order of pushing, so that a time limit
holds between two messages. A ClientApp that fails is an error reply, as in Flower's own engines:
the strategy decides what it means.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.serverapp import Grid

from kumiai.adapters.flower.calls import (
    TTL_SECONDS,
    Client,
    ClientFaultError,
    Node,
    build_message,
    build_node,
    call_client,
    copy_records,
)
from kumiai.adapters.flower.exchange import NodeFault, Observer, Tally, read_round
from kumiai.adapters.flower.library import SERVER_NODE_ID
from kumiai.adapters.flower.project import Scalar

FIRST_NODE_ID = SERVER_NODE_ID + 1
PENDING_MAX = 1_000_000
# Flower's documented error codes
CLIENT_APP_RAISED = 2
NODE_UNAVAILABLE = 5


class InProcessGrid(Grid):
    """`node_count` nodes that all run `client`; `observe` is told of every reply."""

    def __init__(
        self,
        client: Client,
        node_count: int,
        run_id: int,
        run_config: Mapping[str, Scalar],
        folder: Path,
        observe: Observer,
    ) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder
        self._observe = observe
        nodes = [
            build_node(i, node_count, run_id, run_config, FIRST_NODE_ID) for i in range(node_count)
        ]
        self._nodes = {node.node_id: node for node in nodes}
        self._pending: dict[str, Message] = {}
        self._pushed = 0
        self._round = 0
        self._start = time.perf_counter()

    def set_run(self, run: Any) -> None:
        """One grid, one run: nothing to choose."""

    @property
    def run(self) -> Any:
        """Flower's record of a run exists only in its own engines."""
        raise RuntimeError("a run on this engine has no record in Flower's SuperLink")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Build a message of this run; `ttl` is not used: nothing waits for long."""
        return build_message(
            self._run_id, SERVER_NODE_ID, dst_node_id, message_type, "", group_id, content
        )

    def get_node_ids(self) -> Iterable[int]:
        """All nodes: they are here from the start."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages in; return their ids."""
        identities = []
        for message in messages:
            if len(self._pending) >= PENDING_MAX:
                raise ValueError(f"{PENDING_MAX} messages wait already: pull replies first")
            self._pushed += 1
            identity = str(self._pushed)
            self._pending[identity] = message
            identities.append(identity)
        return identities

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Handle these messages; return their replies."""
        return self._answer([i for i in message_ids if i in self._pending], None)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Handle messages until all are done or `timeout` seconds are over."""
        return self._answer(list(self.push_messages(messages)), timeout)

    def _answer(self, identities: list[str], timeout: float | None) -> list[Message]:
        begin = time.perf_counter()
        replies: list[Message] = []
        tally: Tally | None = None
        for identity in identities:
            if timeout is not None and time.perf_counter() - begin > timeout:
                break
            message = self._pending.pop(identity)
            kind = message.metadata.message_type
            number = read_round(message, self._round)
            if tally is None or (tally.kind, tally.round) != (kind, number):
                self._report(tally, is_over=True)
                self._round = max(self._round, number)
                left = len(identities) - len(replies)
                tally = Tally(number, kind, left, time.perf_counter() - self._start)
            replies.append(self._handle(identity, message, tally))
            self._report(tally, is_over=False)
        self._report(tally, is_over=True)
        for identity in identities[len(replies) :]:
            self._pending.pop(identity, None)  # too late: nobody waits for it
        return replies

    def _handle(self, identity: str, message: Message, tally: Tally) -> Message:
        target, kind = message.metadata.dst_node_id, message.metadata.message_type
        node = self._nodes.get(target)
        if node is None:
            return self._fail(identity, message, tally, NODE_UNAVAILABLE, "there is no such node")
        try:
            if not message.has_content():
                raise ClientFaultError("the message has no content")
            sent = build_message(
                self._run_id,
                SERVER_NODE_ID,
                target,
                kind,
                identity,
                message.metadata.group_id,
                copy_records(message.content),
            )
            content = call_client(self._client, node, sent, self._folder)
        except ClientFaultError as fault:
            return self._fail(identity, message, tally, CLIENT_APP_RAISED, str(fault), node)
        tally.add(message, content)
        return Message(content=content, metadata=self._reply_metadata(identity, message))

    def _fail(
        self,
        identity: str,
        message: Message,
        tally: Tally,
        code: int,
        line: str,
        node: Node | None = None,
    ) -> Message:
        partition = -1 if node is None else node.partition
        target = message.metadata.dst_node_id
        tally.faults.append(NodeFault(tally.round, tally.kind, partition, target, line))
        error = Error(code=code, reason=line)
        return Message(error=error, metadata=self._reply_metadata(identity, message))

    def _reply_metadata(self, identity: str, message: Message) -> Metadata:
        return Metadata(
            run_id=self._run_id,
            message_id=f"{identity}-reply",
            src_node_id=message.metadata.dst_node_id,
            dst_node_id=SERVER_NODE_ID,
            reply_to_message_id=identity,
            group_id=message.metadata.group_id,
            created_at=time.time(),
            ttl=TTL_SECONDS,
            message_type=message.metadata.message_type,
        )

    def _report(self, tally: Tally | None, *, is_over: bool) -> None:
        if tally is not None:
            self._observe(tally.close(time.perf_counter() - self._start, is_over=is_over))
