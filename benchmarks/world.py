"""A thousand members and three in ten away: does every round certify, is every receipt there?

    python benchmarks/world.py [--trainers 1000 ...] [--validators 7] [--rounds 20]
                               [--churn-ppm 300000] [--ordering single|committee]

The protocol alone: training is a recorded update (`adapters.sim.recorded`), everything else is
real, signatures included; with a committee that orders, only the signatures under replicas' own
messages are cheap ones. Prints for each number of trainers certified rounds, receipts expected and
found, replays, wall time, the milliseconds that a member costs in a round, and the process's peak
memory so far (so give the numbers in rising order).
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections.abc import Sequence

from rich.table import Table

from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.memory.log import MemoryLog
from kumiai.adapters.memory.vault import MemoryVault
from kumiai.adapters.sim.ordered import OrderedWorld, Place
from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.adapters.sim.recorded import RecordedCompute
from kumiai.adapters.sim.world import NetworkModel, SimWorld
from kumiai.apps.population import Person, cast_roles, gather
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.base.log import Record
from kumiai.consensus.pbft.committee import Committee
from kumiai.nodes.driver import Driver
from kumiai.rounds.control import FOUNDING
from kumiai.rounds.effects import Certified, Effect
from kumiai.rounds.receipt import hash_receipt
from kumiai.rounds.state import RunState
from kumiai.tasks.document import task_from_mapping
from saved_tables import Printout, add_save_option


class ReceiptCounter:
    """An observer that follows every member's chain of receipts."""

    def __init__(self) -> None:
        self.heads: dict[str, str] = {}
        self.count = 0
        self.broken = 0

    def on_record(self, record: Record, run: RunState) -> None:
        """Nothing to do."""

    def on_reject(self, event: Event, reject: Reject) -> None:
        """Nothing to do."""

    def on_seconds(self, what: str, seconds: float) -> None:
        """Nothing to do."""

    def on_effect(self, effect: Effect, run: RunState) -> None:
        """Count receipts and broken links."""
        if isinstance(effect, Certified):
            for receipt in effect.receipts:
                member = str(receipt["member"])
                self.broken += receipt["previous"] != self.heads.get(member, "")
                self.heads[member] = hash_receipt(receipt)
                self.count += 1


def make_world(network: NetworkModel, validators: dict[str, str]) -> SimWorld:
    """The world whose order is these validators' (name: key), or one orderer's without any."""
    if not validators:
        return SimWorld(network)
    scheme = CheapScheme(network.seed)
    places = [Place(name, scheme.make_signer_of(key)) for name, key in validators.items()]
    keys = tuple(place.signer.pubkey for place in places)
    committee = Committee("world", FOUNDING, keys, frozenset(keys))
    return OrderedWorld(network, committee, places, scheme, lambda decided: None)


def main() -> None:
    """Run the worlds one after another and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trainers", type=int, nargs="+", default=[1000])
    parser.add_argument("--validators", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--churn-ppm", type=int, default=300_000)
    parser.add_argument("--ordering", choices=("single", "committee"), default="single")
    parser.add_argument("--seed", type=int, default=1)
    add_save_option(parser, "world")
    given = parser.parse_args()
    title = f"{given.validators} validators, {given.rounds} rounds, order: {given.ordering}"
    table = Table(title=f"three in ten trainers away for a while; {title}")
    names = ("trainers", "away", "certified", "replayed", "receipts", "broken")
    for name in (*names, "events", "s", "ms a member and round", "peak MB"):
        table.add_column(name, justify="right")
    for trainers in given.trainers:
        table.add_row(*play(given, trainers))
    name = "world" if given.ordering == "single" else "world-committee"
    printout = Printout(name, given.save)
    printout.show(table)
    printout.save()


def play(given: argparse.Namespace, trainers: int) -> tuple[str, ...]:
    """Run one world; return its row."""
    task = task_from_mapping(
        {
            "name": "world",
            "seed": given.seed,
            "data": {"trainers": trainers, "open_holdout": False},
            "training": {"rounds": given.rounds},
            "validation": {
                "validators": given.validators,
                "canaries": 1,
                "ordering": given.ordering,
            },
            "rewards": {"budget": 10**12},
            "deadlines": {"train_ms_max": 20_000},
        }
    )
    people = [Person(f"t{i}", "trainer") for i in range(trainers)]
    people.append(Person("probe", "canary", "canary"))
    people += [Person(f"v{i}", "validator") for i in range(given.validators)]
    crashes = draw_absences(given, people[:trainers])
    population = gather(task, people)
    counter = ReceiptCounter()
    judges = {name: population.pubkey(name) for name in (f"v{i}" for i in range(given.validators))}
    driver = Driver(
        roles=cast_roles(task, population, []),
        trainers=frozenset(p.name for p in people if p.role in ("trainer", "canary")),
        setup_roles=("escrow", "customer"),
        orderer=population.orderer,
        world=make_world(
            NetworkModel(seed=given.seed, crashes=crashes, drop_ppm=20_000),
            judges if given.ordering == "committee" else {},
        ),
        compute=RecordedCompute(MemoryBlobs()),
        log=MemoryLog(),
        ledger=MemoryLedger(),
        vault=MemoryVault(),
        observer=counter,
    )
    started = time.perf_counter()
    state = driver.run()
    seconds = time.perf_counter() - started
    expected = sum(int(str(c.body["receipts_count"])) for c in state.certificates)
    replays = sum(int(str(c.body["attempt"])) - 1 for c in state.certificates)
    return (
        f"{trainers:,}",
        str(len(crashes)),
        f"{len(state.certificates) - 1} of {given.rounds}",
        str(replays),
        f"{counter.count:,} of {expected:,}",
        str(counter.broken),
        f"{state.height:,}",
        f"{seconds:.1f}",
        f"{1000 * seconds / given.rounds / len(people):.1f}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
    )


def draw_absences(
    given: argparse.Namespace, people: Sequence[Person]
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Draw who crashes when, and for how long."""
    draw = random.Random(given.seed)
    crashes = {}
    for person in people:
        if draw.randrange(1_000_000) < given.churn_ppm:
            start = draw.randrange(3_000, 3_000 * given.rounds)
            crashes[person.name] = ((start, start + draw.randrange(3_000, 30_000)),)
    return crashes


if __name__ == "__main__":
    main()
