"""A worker: a process that answers messages of one app for the grid that started it.

    reader thread -> tasks -> main thread: the ClientApp -> replies -> writer thread

Reading and writing have threads of their own, so that a long call keeps neither side waiting. A
node's state comes with the message and goes back with the reply: any worker can serve any node.
When the grid's process closes the pipe or is gone, the worker ends at once, whatever it is at.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from kumiai.adapters.flower.frames import receive_frames, send_frames
from kumiai.base.errors import InputError

if TYPE_CHECKING:  # slow to import: only once the reader watches
    from flwr.app import RecordDict

    from kumiai.adapters.flower.calls import Client

PARENT_CHECK_SECONDS = 1.0
PRINTED_CHARS_MAX = 100_000

Received = tuple[dict[str, Any], list[bytes]]
Sent = tuple[dict[str, Any], tuple[bytes, ...]]


def main(descriptor: int) -> None:
    """Serve the grid at the other end of the pipe until it is gone."""
    os.set_inheritable(descriptor, False)  # a program that the app starts must not hold it open
    pipe = Connection(descriptor)
    tasks: SimpleQueue[Received] = SimpleQueue()
    replies: SimpleQueue[Sent] = SimpleQueue()
    for target, queue in ((_read, tasks), (_write, replies)):
        threading.Thread(target=target, args=(pipe, queue), daemon=True).start()
    setup, _ = tasks.get()
    folder = Path(setup["folder"])
    with ExitStack() as stack:
        try:
            client = _load(setup, folder, stack)
        except (InputError, SystemExit) as error:
            # What keeps the app from loading here is one line for the grid, which goes on.
            replies.put(({"ready": False, "line": f"{error}"}, ()))
            threading.Event().wait()  # the grid closes the pipe when it has read the line
            return
        replies.put(({"ready": True}, ()))
        _serve(client, setup, folder, tasks.get, replies.put)


def _read(pipe: Connection, tasks: SimpleQueue[Received]) -> None:
    parent = os.getppid()
    try:
        while True:
            while not pipe.poll(PARENT_CHECK_SECONDS):
                # forked children of an app may hold the other end: no end of file then
                if os.getppid() != parent:
                    os._exit(0)
            tasks.put(receive_frames(pipe))
    except (EOFError, OSError, ValueError):
        os._exit(0)


def _write(pipe: Connection, replies: SimpleQueue[Sent]) -> None:
    try:
        while True:
            head, parts = replies.get()
            send_frames(pipe, head, *parts)
    except (OSError, ValueError):
        os._exit(1)


def _load(setup: dict[str, Any], folder: Path, stack: ExitStack) -> Client:
    """Import the app as the grid's process did; prints while importing were shown there."""
    from kumiai.adapters.flower.library import flower_log, require_flower, server_identity
    from kumiai.adapters.flower.project import importable, load_component

    require_flower()
    from flwr.clientapp import ClientApp

    for context in (importable(folder), flower_log(setup["log"]), server_identity(setup["run_id"])):
        stack.enter_context(context)
    with redirect_stdout(io.StringIO()):
        client: Client = load_component(setup["clientapp"], "clientapp", ClientApp, folder)
    if "torch" in sys.modules:
        _rehearse(sys.modules["torch"])
    return client


def _rehearse(torch: Any) -> None:
    """Make torch import now what it imports at the first step of training; no seed is used up."""
    torch.set_num_threads(1)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    (weight * weight).sum().backward()
    optimizer.step()


def _serve(
    client: Client,
    setup: dict[str, Any],
    folder: Path,
    take: Callable[[], Received],
    put: Callable[[Sent], None],
) -> None:
    from flwr.app import RecordDict

    from kumiai.adapters.flower.state import decode_records

    content = RecordDict()
    while True:
        task, (content_data, state_data) = take()
        if task["is_new"]:
            content = decode_records(content_data)
        state = decode_records(state_data) if state_data else RecordDict()
        put(_answer(client, setup, folder, task, content, state))


def _answer(
    client: Client,
    setup: dict[str, Any],
    folder: Path,
    task: dict[str, Any],
    content: RecordDict,
    state: RecordDict,
) -> Sent:
    from kumiai.adapters.flower.calls import ClientFaultError, address, build_node, call_client
    from kumiai.adapters.flower.state import encode_records

    node = build_node(
        task["partition"], setup["nodes"], setup["run_id"], setup["config"], setup["base"]
    )
    node.state = state
    head = {"identity": task["identity"], "line": ""}
    parts: tuple[bytes, ...] = (b"", b"")
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            message = address(node, task["identity"], task["kind"], task["group"], content)
            reply = call_client(client, node, message, folder)
        parts = (encode_records(reply), encode_records(node.state) if len(node.state) else b"")
    except ClientFaultError as fault:
        head["line"] = str(fault)
    except (TypeError, ValueError) as error:
        head["line"] = f"the reply cannot leave its worker: {error}"
    head["printed"] = printed.getvalue()[:PRINTED_CHARS_MAX]
    return head, parts
