"""Flower's Grid without a network: a ServerApp's messages go straight to ClientApps.

A message is handled when its reply is asked for, in the order of pushing, so that a time limit
holds between two messages. A ClientApp that fails is an error reply, as in Flower's own engines:
the strategy decides what it means. Nodes and their states live here, whoever runs the ClientApp:
this process, or workers that share the messages with it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.serverapp import Grid

from kumiai.adapters.flower.calls import (
    NODE_UNAVAILABLE,
    TTL_SECONDS,
    Client,
    ClientFaultError,
    Job,
    Outcome,
    address,
    build_message,
    build_node,
    call_client,
)
from kumiai.adapters.flower.exchange import NodeFault, Observer, Tally, read_round
from kumiai.adapters.flower.library import SERVER_NODE_ID
from kumiai.adapters.flower.project import Scalar
from kumiai.adapters.flower.sharing import answer_alone, answer_shared, one_thread
from kumiai.adapters.flower.workers import Workers

FIRST_NODE_ID = SERVER_NODE_ID + 1
PENDING_MAX = 1_000_000


class InProcessGrid(Grid):
    """`node_count` nodes that all run `client`; `observe` is told of every reply.

    workers: processes that share the messages with this one; the caller ends them.
    """

    def __init__(
        self,
        client: Client,
        node_count: int,
        run_id: int,
        run_config: Mapping[str, Scalar],
        folder: Path,
        observe: Observer,
        workers: Workers | None = None,
    ) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder
        self._observe, self._workers = observe, workers
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
        jobs = [self._take(identity) for identity in dict.fromkeys(identities)]
        replies: list[Message] = []
        tally: Tally | None = None
        with self._share(jobs, None if timeout is None else begin + timeout) as outcomes:
            for job in jobs:
                kind = job.message.metadata.message_type
                number = read_round(job.message, self._round)
                if tally is not None and (tally.kind, tally.round) != (kind, number):
                    self._report(tally, is_over=True)
                    tally = None
                start = time.perf_counter() - self._start
                outcome = next(outcomes, None)
                if outcome is None:
                    break  # too late for the rest: nobody waits for it
                if tally is None:
                    self._round = max(self._round, number)
                    tally = Tally(number, kind, len(jobs) - len(replies), start)
                replies.append(self._reply(job, outcome, tally))
                self._report(tally, is_over=False)
        self._report(tally, is_over=True)
        return replies

    def _take(self, identity: str) -> Job:
        message = self._pending.pop(identity)
        return Job(identity, message, self._nodes.get(message.metadata.dst_node_id))

    @contextmanager
    def _share(self, jobs: Sequence[Job], deadline: float | None) -> Iterator[Iterator[Outcome]]:
        def is_open() -> bool:
            return deadline is None or time.perf_counter() <= deadline

        if self._workers is None:
            yield answer_alone(jobs, self._handle, is_open)
            return
        try:
            with one_thread():
                yield answer_shared(jobs, self._handle, is_open, self._workers)
        finally:
            self._workers.forget()

    def _handle(self, job: Job) -> Outcome:
        """Run the ClientApp in this process."""
        if job.node is None:
            return Outcome(None, "there is no such node", code=NODE_UNAVAILABLE)
        if not job.message.has_content():
            return Outcome(None, "the message has no content")
        metadata = job.message.metadata
        try:
            sent = address(
                job.node,
                job.identity,
                metadata.message_type,
                metadata.group_id,
                job.message.content,
            )
            return Outcome(call_client(self._client, job.node, sent, self._folder))
        except ClientFaultError as fault:
            return Outcome(None, str(fault))

    def _reply(self, job: Job, outcome: Outcome, tally: Tally) -> Message:
        metadata = self._reply_metadata(job.identity, job.message)
        if outcome.printed:
            sys.stdout.write(outcome.printed)
        if outcome.content is None:
            partition = -1 if job.node is None else job.node.partition
            tally.faults.append(
                NodeFault(tally.round, tally.kind, partition, job.node_id, outcome.line)
            )
            return Message(error=Error(code=outcome.code, reason=outcome.line), metadata=metadata)
        tally.add(job.message, outcome.content)
        return Message(content=outcome.content, metadata=metadata)

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
