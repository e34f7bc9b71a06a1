"""Small simulated runs for tests: recorded answers instead of numerics, everything else real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.memory.log import MemoryLog
from kumiai.adapters.memory.vault import MemoryVault
from kumiai.adapters.sim.adversaries import AdversarialCompute
from kumiai.adapters.sim.recorded import RecordedCompute
from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Casting, Person, Population, cast_roles, gather
from kumiai.apps.worlds import make_world
from kumiai.consensus.pbft.messages import Decided
from kumiai.learning.privacy.stream import derive_stream_key
from kumiai.nodes.driver import Driver
from kumiai.nodes.ports import LedgerPort
from kumiai.settlement.certificates import ChainPlace
from kumiai.tasks.document import TaskDocument, task_from_mapping


def make_task(
    trainers: int = 4, validators: int = 4, rounds: int = 2, **sections: object
) -> TaskDocument:
    """A small task without opened hold-out; `sections` override."""
    mapping: dict[str, object] = {
        "name": "world",
        "data": {"trainers": trainers, "open_holdout": False},
        "training": {"rounds": rounds},
        "validation": {"validators": validators, "canaries": 0},
        "deadlines": {
            "train_ms_max": 20_000,
            "reveal_ms": 4_000,
            "grace_ms": 1_000,
            "score_ms": 4_000,
            "certify_ms": 4_000,
            "enrol_ms": 30_000,
        },
    }
    for name, section in sections.items():
        known = mapping.get(name, {})
        assert isinstance(known, dict)
        mapping[name] = {**known, **section} if isinstance(section, Mapping) else section
    return task_from_mapping(mapping)


def make_people(
    trainers: int = 4, validators: int = 4, extra: Sequence[Person] = ()
) -> list[Person]:
    people = [Person(f"t{i}", "trainer") for i in range(trainers)]
    people += [Person(f"v{i}", "validator") for i in range(validators)]
    return [*people, *extra]


def make_secrets(population: Population) -> dict[str, bytes]:
    """A trainer's own 32 bytes, for tasks that ask for privacy."""
    named = population.named("trainer", "canary")
    return {population.pubkey(p.name): derive_stream_key(bytes(32), p.name) for p in named}


def make_driver(
    task: TaskDocument,
    people: Sequence[Person],
    network: NetworkModel | None = None,
    quality: Mapping[str, int] | None = None,
    raised: Mapping[str, int] | None = None,
    on_decided: Callable[[Decided], None] | None = None,
    behaviours: Mapping[str, str] | None = None,
    place: ChainPlace | None = None,
    ledger: LedgerPort | None = None,
) -> tuple[Driver, Population]:
    """A driver over memory adapters; qualities, flags and behaviours are given by member name."""
    population = gather(task, people)
    blobs = MemoryBlobs()
    compute = RecordedCompute(
        blobs,
        quality={population.pubkey(n): v for n, v in (quality or {}).items()},
        raised={population.pubkey(n): v for n, v in (raised or {}).items()},
    )
    holdouts = []
    if task.data.open_holdout:
        judges = [person.name for person in people if person.role == "validator"]
        holdouts = [blobs.put(f"hold-out of {name}".encode()) for name in judges]
    driver = Driver(
        roles=cast_roles(task, population, holdouts, make_secrets(population), place=place),
        trainers=frozenset(p.name for p in people if p.role in ("trainer", "canary")),
        setup_roles=("escrow", "customer"),
        orderer=population.orderer,
        world=make_world(
            task,
            Casting("", tuple(people), {}, network or NetworkModel()),
            population,
            on_decided or (lambda decided: None),
        ),
        compute=AdversarialCompute(
            compute,
            blobs,
            size=1,
            behaviours={population.pubkey(n): v for n, v in (behaviours or {}).items()},
        )
        if behaviours
        else compute,
        log=MemoryLog(),
        ledger=ledger or MemoryLedger(),
        vault=MemoryVault(),
    )
    return driver, population
