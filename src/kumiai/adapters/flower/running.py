"""A whole Flower app on this engine: load it, hand it our grid, report what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.flower.library import flower_log, require_flower, server_identity
from kumiai.adapters.flower.project import (
    SUPERNODES_DEFAULT,
    FlowerProject,
    Scalar,
    check_supernodes,
    describe,
    fuse_config,
    importable,
    load_component,
)
from kumiai.base.errors import RunFailedError

require_flower()

from flwr.app import Context, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import ServerApp  # noqa: E402

from kumiai.adapters.flower.exchange import Exchange, NodeFault, Observer  # noqa: E402
from kumiai.adapters.flower.grid import FIRST_NODE_ID, InProcessGrid  # noqa: E402
from kumiai.adapters.flower.library import SERVER_NODE_ID  # noqa: E402
from kumiai.adapters.flower.workers import Workers  # noqa: E402

RUN_ID = 1
TRAIN = "train"
FAULTS_KEPT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class AppRun:
    """A finished run: its exchanges in order, the faults among them, and how long it took."""

    exchanges: tuple[Exchange, ...]
    faults: tuple[NodeFault, ...]
    seconds: float


def choose_supernodes(project: FlowerProject, asked: int | None) -> int:
    """What was asked for, what the app's federation says, or `SUPERNODES_DEFAULT`."""
    if asked is not None:
        return check_supernodes(asked, "--supernodes")
    return project.supernodes or SUPERNODES_DEFAULT


def run_app(
    project: FlowerProject,
    supernodes: int,
    overrides: Sequence[str],
    observe: Observer,
    *,
    shows_log: bool = False,
    workers: int = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> AppRun:
    """Run the app; `observe` sees each exchange grow (`is_over` at its end).

    workers: processes that answer messages, this one among them; `tell` hears why the others, where
    they cannot load the app, do not.

    InputError for an app that cannot be loaded, RunFailedError when its ServerApp raises or no
    node ever answered a train message that was sent.
    """
    config = fuse_config(project.config, overrides, Path.cwd())
    over: list[Exchange] = []

    def note(exchange: Exchange) -> None:
        if exchange.is_over:
            over.append(exchange)
        observe(exchange)

    begin = time.perf_counter()
    with importable(project.folder), flower_log(shows_log), server_identity(RUN_ID):
        field = "tool.flwr.app.components"
        client = load_component(project.clientapp, f"{field}.clientapp", ClientApp, project.folder)
        server = load_component(project.serverapp, f"{field}.serverapp", ServerApp, project.folder)
        with _open_workers(project, supernodes, config, shows_log, workers - 1, tell) as helpers:
            grid = InProcessGrid(client, supernodes, RUN_ID, config, project.folder, note, helpers)
            _serve(server, grid, config, project.folder, over)
    faults = [fault for exchange in over for fault in exchange.faults][:FAULTS_KEPT_MAX]
    _check_answers(over, faults)
    return AppRun(tuple(over), tuple(faults), time.perf_counter() - begin)


@contextmanager
def _open_workers(
    project: FlowerProject,
    supernodes: int,
    config: dict[str, Scalar],
    shows_log: bool,
    count: int,
    tell: Callable[[str], None],
) -> Iterator[Workers | None]:
    if count < 1:
        yield None
        return
    setup = {
        "folder": str(project.folder),
        "clientapp": project.clientapp,
        "config": config,
        "run_id": RUN_ID,
        "nodes": supernodes,
        "base": FIRST_NODE_ID,
        "log": shows_log,
    }
    workers = Workers(count, setup, tell)
    try:
        yield workers
    finally:
        workers.close()


def _serve(
    server: ServerApp,
    grid: InProcessGrid,
    config: dict[str, Scalar],
    folder: Path,
    over: Sequence[Exchange],
) -> None:
    context = Context(
        run_id=RUN_ID,
        node_id=SERVER_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=config,
    )
    try:
        server(grid, context)
    except (Exception, SystemExit) as error:
        # The ServerApp is the user's code: whatever it raises ends the run, with its last line.
        if isinstance(error, SystemExit) and error.code in (None, 0):
            return
        faults = [fault for exchange in over for fault in exchange.faults]
        cause = f"; before that {_name(faults[-1])}" if faults else ""
        raise RunFailedError(f"the ServerApp raised {describe(error, folder)}{cause}") from error


def _check_answers(over: Sequence[Exchange], faults: Sequence[NodeFault]) -> None:
    trained = [e for e in over if e.kind.partition(".")[0] == TRAIN]
    if trained and faults and not any(exchange.answered for exchange in trained):
        raise RunFailedError(f"no node answered a train message: {_name(faults[0])}")


def _name(fault: NodeFault) -> str:
    return f"node {fault.node_id} (partition {fault.partition}) failed: {fault.line}"
