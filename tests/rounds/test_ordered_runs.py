"""Runs whose order is a committee's: the same machine, places by agreement, and traitors in it."""

from __future__ import annotations

import dataclasses

import pytest
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.ordered import OrderedWorld, Place
from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.evidence import judge, make_evidence_file
from kumiai.apps.population import Person
from kumiai.base import canonical, events
from kumiai.base.keys import derive_key
from kumiai.base.log import Record, append_record
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.proofs import is_decided
from kumiai.consensus.pbft.replica import Settings
from kumiai.nodes.order import OrderReader
from kumiai.rounds.control import make_committee
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import step
from kumiai.rounds.state import NodeState, RunPhase, RunState

ORDERED = {"validation": {"ordering": "committee"}}


def people_with(behaviour: str, place: int = 0) -> list[Person]:
    return [
        dataclasses.replace(person, behaviour=behaviour) if person.name == f"v{place}" else person
        for person in make_people()
    ]


def run_ordered(people=None, network=None, **sections):
    """A run, its population, its batches and its world."""
    decided: list[m.Decided] = []
    task = make_task(**{**ORDERED, **sections})
    driver, population = make_driver(
        task, people or make_people(), network, on_decided=decided.append
    )
    state = driver.run()
    assert isinstance(driver.world, OrderedWorld)
    return driver, population, decided, state


def fold(decided) -> tuple[RunState, list[str]]:
    """What anybody makes of the batches alone: the state, and the heads on the way."""
    reader, state, last, heads, seen, epoch = OrderReader(), RunState(), None, [], set(), 0
    for each in decided:
        if state.replicas:
            assert is_decided(make_committee(state, epoch), Schnorr(), each.proof)
        for event, time_ms in reader.read(each):
            if event.id in seen or events.check_event(event) is not None:
                continue
            record = append_record(last, time_ms, event)
            outcome = step(state, record)
            if outcome.reject is None:
                state, last = outcome.state, record
                heads.append(record.head)
                seen.add(event.id)
        if len(state.epochs) > epoch:
            epoch = len(state.epochs)
            reader.begin_epoch()
    return state, heads


@pytest.mark.parametrize("validators", [1, 2, 4, 7])
def test_a_committee_of_any_size_orders_a_run(validators):
    sections = {"validation": {"ordering": "committee", "validators": validators}}
    task = make_task(**sections)
    decided: list[m.Decided] = []
    people = make_people(validators=validators)
    driver, _ = make_driver(task, people, on_decided=decided.append)
    state = driver.run()
    assert state.phase is RunPhase.FINISHED
    assert make_committee(state, 1).size == validators
    assert fold(decided)[1] == [record.head for record in driver.log.read()]


def test_the_same_seed_gives_the_same_log_again():
    first, second = run_ordered()[0], run_ordered()[0]
    assert list(first.log.read()) == list(second.log.read())


def test_all_loyal_replicas_executed_the_same():
    driver, _, decided, _ = run_ordered(validation={"ordering": "committee", "epoch_rounds": 0})
    disks = [node.disk.decided for node in driver.world.cluster.nodes]
    digests = [[each.proof.digest for each in disk] for disk in disks]
    longest = max(digests, key=len)
    assert all(own == longest[: len(own)] for own in digests)
    begin = max(
        i for i, each in enumerate(decided) if each.proof.sequence == 1
    )  # of this committee
    assert [each.proof.digest for each in decided[begin:]] == longest[: len(decided) - begin]
    assert min(map(len, digests)) > len(longest) / 2


HARD = {
    "lost messages": NetworkModel(drop_ppm=100_000),
    "two crashes": NetworkModel(crashes={"v0": ((2_000, 9_000),), "t1": ((500, 6_000),)}),
    "one gone for ever": NetworkModel(crashes={"v3": ((3_000, 10**9),)}),
    "cut off": NetworkModel(partitions=((1_000, 12_000, frozenset({"v0", "t0"})),)),
    "slow links": NetworkModel(delay_ms=(50, 400)),
}


@pytest.mark.parametrize("trouble", HARD)
def test_a_run_goes_on_whatever_the_network_does(trouble):
    driver, _, decided, state = run_ordered(
        network=HARD[trouble], deadlines={"enrol_ms": 120_000, "train_ms_max": 60_000}
    )
    assert state.phase is RunPhase.FINISHED
    assert len(state.certificates) == 3
    assert fold(decided)[0] == state
    assert not driver.world.cluster.checks.accused


@pytest.mark.parametrize("place", range(4))
def test_a_validator_that_tells_two_stories_is_proven_and_out(place):
    _, population, decided, state = run_ordered(people_with("equivocator", place))
    assert state.phase is RunPhase.FINISHED
    traitor = population.pubkey(f"v{place}")
    if traitor not in (state.replicas[0], state.epochs[0].seats[0]):  # it led no first view
        assert state.members[traitor].state is NodeState.ACTIVE
        assert state.evidence == {}
        return
    assert state.members[traitor].state is NodeState.EJECTED
    assert len(state.evidence[traitor]) == 1
    assert state.tallies[traitor].slashed == 100
    loyal = population.pubkey(f"v{(place + 1) % 4}")
    assert state.tallies[traitor].earned <= state.tallies[loyal].earned / 5  # nothing held back
    assert state.held == {}
    assert all(state.members[k].state is NodeState.ACTIVE for k in state.members if k != traitor)
    assert fold(decided)[0] == state


@pytest.fixture(scope="module")
def proven():
    """A run with a traitor: state just before the proof, the proof's event, and the population."""
    driver, population, _, final = run_ordered(people_with("equivocator"))
    state = RunState()
    for record in driver.log.read():
        if record.event.kind == Kind.ORDER_PROOF:
            return state, record, population, final
        state = step(state, record).state
    raise AssertionError("nobody published a proof")


def accuse(proven, **changes):
    """The outcome of an accusation with other contents, from a stranger's key."""
    state, record, population, _ = proven
    content = {**events.read_content(record.event), **changes}
    return accuse_in(state, population.customer, content)


def accuse_in(state, key, content):
    """The outcome of a proof of order that this key shows now."""
    event = events.sign_event(key, Kind.ORDER_PROOF, 1_767_225_600, content)
    record = Record(state.height + 1, state.time_ms, event, "ab" * 32)
    return step(state, record)


def test_anybody_may_show_a_proof(proven):
    outcome = accuse(proven)
    assert outcome.reject is None
    again = step(outcome.state, dataclasses.replace(proven[1], height=outcome.state.height + 1))
    assert again.reject is not None
    assert again.reject.reason == "not-member"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": 2}, "bad-evidence"),
        ({"first": []}, "bad-evidence"),
        ({"first": ["nothing", [], 0, "ab"]}, "bad-evidence"),
        ({"first": ["commit", [0, 1, "ab" * 32], 99, "ab"]}, "no-contradiction"),
    ],
)
def test_what_proves_nothing_is_refused(proven, changes, reason):
    outcome = accuse(proven, **changes)
    assert outcome.reject is not None
    assert outcome.reject.reason == reason
    assert outcome.state is proven[0]


def test_the_same_signature_twice_or_a_forged_one_proves_nothing(proven):
    content = events.read_content(proven[1].event)
    twice = accuse(proven, second=content["first"])
    assert twice.reject is not None
    forged = [*content["second"][:3], "00" * 64]
    assert accuse(proven, second=forged).reject is not None
    other = [*content["first"][:2], 1, *content["first"][3:]]
    assert accuse(proven, first=other).reject is not None


def test_a_proof_of_another_order_counts_for_nothing(proven):
    """The same words, signed for another run's committee."""
    state, _, population, _ = proven
    committee = dataclasses.replace(make_committee(state, 0), cluster="ab" * 32)
    signer = KeySigner(population.keys["v1"])
    votes = [
        wire.write_signed(m.sign(committee, signer, 1, m.Prepare(0, 1, digest)))
        for digest in ("ab" * 32, "cd" * 32)
    ]
    assert accuse(proven, first=votes[0], second=votes[1]).reject is not None
    here = make_committee(state, 0)
    votes = [
        wire.write_signed(m.sign(here, signer, 1, m.Prepare(0, 1, digest)))
        for digest in ("ab" * 32, "cd" * 32)
    ]
    assert accuse(proven, first=votes[0], second=votes[1]).reject is None


def test_an_evidence_file_is_judged_by_itself(proven):
    state, record, population, _ = proven
    member, data = make_evidence_file(state, record.event)
    assert member == population.pubkey("v0")
    document = canonical.decode(data, 10**6)
    assert judge(document).startswith(f"{member[:12]} signed two different messages of type pre-p")
    for name, value in (
        ("epoch", 2),
        ("epoch", "1"),
        ("cluster", "ab" * 32),
        ("replicas", document["replicas"][1:]),
        ("replicas", [*document["replicas"][:3], "x"]),
        ("first", document["second"]),
    ):
        with pytest.raises(ValueError, match=r"."):
            judge({**document, name: value})


@pytest.mark.parametrize(
    ("replicas", "ordering"),
    [
        ([], "committee"),
        (["ab" * 32], "single"),
        (["ab" * 32] * 4, "committee"),
        (["ab" * 32, "cd" * 32, "ef" * 32, "x"], "committee"),
        (["ab" * 32, "cd" * 32, "ef" * 32, 5], "committee"),
        ([f"{i:064x}" for i in range(5)], "committee"),
    ],
)
def test_a_task_names_its_validators_as_replicas_or_none(replicas, ordering):
    task = make_task(validation={"ordering": ordering})
    driver, population = make_driver(task, make_people())
    role = driver.roles["customer"]
    content = {**role._post().content, "replicas": replicas}
    event = events.sign_event(population.customer, Kind.TASK, 1_767_225_600, content)
    outcome = step(RunState(), append_record(None, 0, event))
    assert outcome.reject is not None
    assert outcome.reject.reason == "bad-replicas"


def test_two_runs_do_not_share_a_committee():
    first, second = (
        make_committee(run_ordered(training={"rounds": rounds})[3], 0) for rounds in (1, 2)
    )
    assert first.name != second.name


def make_world(kinds=("", "", "", ""), network=None, on_decided=lambda decided: None):
    settings = Settings(batch_count_max=3)
    scheme = CheapScheme(1)
    places = [Place(f"v{i}", scheme.make_signer(f"v{i}"), kind) for i, kind in enumerate(kinds)]
    keys = tuple(place.signer.pubkey for place in places)
    committee = Committee("ab" * 32, 0, keys, frozenset(keys))
    network = network or NetworkModel()
    return OrderedWorld(network, committee, places, scheme, on_decided, settings)


def say(text: str):
    return events.sign_event(derive_key(b"x", "member"), 8440, 1_767_225_600, {"text": text})


def test_events_of_a_member_arrive_in_their_order_and_the_world_ends():
    world = make_world(network=NetworkModel(drop_ppm=200_000))
    sent = [say(str(i)) for i in range(30)]
    for event in sent:
        world.send("t0", event)
    arrived = []
    while (happening := world.next()) is not None:
        arrived.append(happening)
    first = list(dict.fromkeys(each.event.id for each in arrived))
    assert first == [event.id for event in sent]
    assert [each.time_ms for each in arrived] == sorted(each.time_ms for each in arrived)


def test_without_a_quorum_nothing_arrives_and_the_world_ends_all_the_same():
    world = make_world(("", "", "mute", "mute"))
    world.send("t0", say("a"))
    assert world.next() is None
    assert world.messages_lost == 1
    world.send("t0", say("b"))
    assert world.next() is None
    assert world.messages_lost == 2


def test_what_is_held_back_arrives_too():
    event = say("late")
    world = make_world(network=NetworkModel(extra_delay_ms={("t0", event.kind): 9_000}))
    world.send("t0", event)
    arrived = world.next()
    assert arrived.event == event
    assert arrived.time_ms > 8_500
    assert world.next() is None
