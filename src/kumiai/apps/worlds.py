"""Which world a run takes place in: how its network behaves, and who gives events their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from kumiai.adapters.sim.ordered import OrderedWorld, Place
from kumiai.adapters.sim.world import NetworkModel, SimWorld
from kumiai.apps.population import Casting, Population, list_replicas
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.messages import Decided
from kumiai.rounds.control import FOUNDING
from kumiai.tasks.document import TaskDocument, compute_task_id


def make_world(
    task: TaskDocument,
    casting: Casting,
    population: Population,
    on_decided: Callable[[Decided], None],
) -> SimWorld:
    """The world with the order that the task asks for. on_decided: hears a committee's batches."""
    network = slow_down_copiers(casting.network, casting.victims)
    replicas = list_replicas(task, population)
    if not replicas:
        return SimWorld(network)
    committee = Committee(compute_task_id(task), FOUNDING, replicas, frozenset(replicas))
    places = [
        Place(
            person.name,
            KeySigner(population.keys[person.name]),
            "forker" if person.behaviour == "equivocator" else "",
        )
        for person in population.named("validator")
    ]
    return OrderedWorld(network, committee, places, Schnorr(), on_decided)


def slow_down_copiers(network: NetworkModel, victims: Mapping[str, str]) -> NetworkModel:
    """Who copies finishes after whom it copies: nobody can copy what is not there yet."""
    slowness = {
        copier: 2 * network.slowness_ppm.get(victim, 1_000_000)
        for copier, victim in victims.items()
    }
    return replace(network, slowness_ppm={**network.slowness_ppm, **slowness})
