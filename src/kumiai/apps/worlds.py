"""Which world a run takes place in: how its network behaves, and who gives events their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from kumiai.adapters.committee.world import ProcessWorld
from kumiai.adapters.sim.ordered import OrderedWorld, Place
from kumiai.adapters.sim.world import NetworkModel, SimWorld
from kumiai.apps.population import Casting, Population, list_replicas
from kumiai.base.errors import InputError
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.messages import Decided
from kumiai.nodes.ports import WorldPort
from kumiai.rounds.control import FOUNDING
from kumiai.tasks.document import TaskDocument, compute_task_id

PROCESSES_OPTION = "--order-processes"
REAL_TIME_HINT = "; in real time a task's [deadlines] must be longer than the work takes"
TRAIN_MS_LEAST = 20_000  # for the start of an epoch's processes, and a busy machine
COPIERS_HELD_MS = 1_000  # in real time: by then what they copy has its place


def make_world(
    task: TaskDocument,
    casting: Casting,
    population: Population,
    on_decided: Callable[[Decided], None],
    journals: Path | None = None,
) -> WorldPort:
    """The world with the order that the task asks for; whoever asks for it closes it.

    on_decided: hears a committee's batches. journals: a new folder, for validators as processes in
    real time; None: all is simulated. See `check_processes` for what processes cannot play.
    """
    network = slow_down_copiers(casting.network, casting.victims)
    replicas = list_replicas(task, population)
    if not replicas:
        return SimWorld(network)
    committee = Committee(compute_task_id(task), FOUNDING, replicas, frozenset(replicas))
    if journals is not None:
        keys = {
            key: population.keys[p.name]
            for p, key in zip(population.named("validator"), replicas, strict=True)
        }
        held_ms = dict.fromkeys(casting.victims, COPIERS_HELD_MS)
        return ProcessWorld(committee, keys, journals, on_decided, held_ms=held_ms)
    places = [
        Place(
            person.name,
            KeySigner(population.keys[person.name]),
            "forker" if person.behaviour == "equivocator" else "",
        )
        for person in population.named("validator")
    ]
    return OrderedWorld(network, committee, places, Schnorr(), on_decided)


def check_processes(task: TaskDocument, casting: Casting, resume: bool) -> None:
    """Raise InputError for what validators as processes, in real time, cannot play."""
    without = f"or leave out {PROCESSES_OPTION}"
    if resume:
        fix = f"a run with {PROCESSES_OPTION} cannot be taken up again: start anew, with --out"
        raise InputError("--resume", resume, fix)
    if task.validation.ordering != "committee":
        fix = f'{PROCESSES_OPTION} needs "committee": set it, {without}'
        raise InputError("validation.ordering", task.validation.ordering, fix)
    for person in casting.people:
        if person.behaviour == "equivocator":
            fix = f"a process that lies is not built: choose another scenario, {without}"
            raise InputError(f"behaviour of {person.name}", person.behaviour, fix)
    if casting.network != NetworkModel():
        fix = f"its delays and failures exist in simulated time only: choose another, {without}"
        raise InputError("--scenario", casting.scenario, fix)


def suit_processes(task: TaskDocument) -> TaskDocument:
    """Return a demo's task for validators as processes: they order, and real work has its time."""
    validation = task.validation.model_copy(update={"ordering": "committee"})
    changed = task.model_copy(update={"validation": validation})
    if not list_real_time_warnings(task):
        return changed
    terms = task.deadlines
    least_ms, most_ms = TRAIN_MS_LEAST, max(TRAIN_MS_LEAST, terms.train_ms_max)
    terms = terms.model_copy(update={"train_ms_min": least_ms, "train_ms_max": most_ms})
    return changed.model_copy(update={"deadlines": terms})


def list_real_time_warnings(task: TaskDocument) -> list[str]:
    """Return what is weak in a task whose time is real.

    Allowances follow from earlier rounds; a new epoch's first round takes seconds longer than they.
    """
    least_ms = task.deadlines.train_ms_min
    if least_ms >= TRAIN_MS_LEAST or task.training.buffer:  # a buffer waits so long in every round
        return []
    warning = (
        f"deadlines.train_ms_min = {least_ms}: in real time a new epoch's processes and a busy "
        "machine take longer, and a late round is played again; "
        f"--set deadlines.train_ms_min={TRAIN_MS_LEAST} leaves them time"
    )
    return [warning]


def slow_down_copiers(network: NetworkModel, victims: Mapping[str, str]) -> NetworkModel:
    """Who copies finishes after whom it copies: nobody can copy what is not there yet."""
    slowness = {
        copier: 2 * network.slowness_ppm.get(victim, 1_000_000)
        for copier, victim in victims.items()
    }
    return replace(network, slowness_ppm={**network.slowness_ppm, **slowness})
