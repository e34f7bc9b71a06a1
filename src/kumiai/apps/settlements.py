"""Which ledger a run has: its own, or contracts on a chain, which need an extra (`evm`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kumiai.adapters.store.ledger import SqliteLedger
from kumiai.apps.population import Population
from kumiai.apps.rundir import RunDir
from kumiai.apps.telemetry import Telemetry
from kumiai.apps.view import RunView
from kumiai.base.errors import InputError
from kumiai.rounds.state import RunState
from kumiai.tasks.document import TaskDocument

if TYPE_CHECKING:
    from kumiai.apps.settling import ChainRun, SettledRun

SETTLEMENTS = ("local", "evm")


def settle_by(task: TaskDocument, kind: str) -> TaskDocument:
    """Return a demo's task with another settlement; InputError for one that there is not."""
    if kind not in SETTLEMENTS:
        raise InputError("--settlement", kind, f"choose one of {', '.join(SETTLEMENTS)}")
    settlement = task.settlement.model_copy(update={"kind": kind})
    return task.model_copy(update={"settlement": settlement})


def check_node(task: TaskDocument, rpc: str | None) -> None:
    """Raise InputError for a node's URL where no chain is asked."""
    if rpc is not None and task.settlement.kind != "evm":
        fix = "a node is asked only where money is on a chain: --settlement evm, or in the task "
        raise InputError("--rpc", rpc, fix + 'settlement.kind = "evm"')


def open_settling(
    task: TaskDocument,
    population: Population,
    run_dir: RunDir,
    ledger: SqliteLedger,
    rpc: str | None,
    telemetry: Telemetry,
) -> ChainRun | SettledRun | None:
    """Open the chain that a run settles on, if it does; InputError where its extra is missing."""
    if task.settlement.kind != "evm":
        return None
    try:
        from kumiai.apps.settling import open_chain_run
    except ModuleNotFoundError as error:
        fix = f"{error.name} is missing: pip install 'kumiai[evm]'"
        raise InputError("settlement.kind", "evm", fix) from error
    return open_chain_run(task, population, run_dir, ledger, rpc, telemetry.note)


def finish_settling(settling: ChainRun | SettledRun | None, state: RunState) -> None:
    """Let what is still under way come to its end on the chain."""
    if settling is not None:
        settling.finish(state)


def show_settled(view: RunView, settling: ChainRun | SettledRun | None, state: RunState) -> RunView:
    """Return the view with the chain's side, where there is one."""
    return view if settling is None else replace(view, chain=settling.make_view(state))
