"""Disputes played on `proofs.dispute` and on the contract end with the same loser."""

from __future__ import annotations

import random
from collections.abc import Iterator
from math import ceil, log2

import pytest
from tests.adapters.evm.anvil import run_anvil
from tests.adapters.evm.dispute_chain import (
    DOCUMENT,
    LEVELS,
    MEMBER,
    STAKE,
    Court,
    spell_submission,
)

from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import Reject
from kumiai.proofs import dispute as twin
from kumiai.proofs.descent import Descent, TraceTree, descend
from kumiai.proofs.submission import (
    Submission,
    compute_submission_proofs,
    compute_submissions_root,
    encode_leaf,
)
from kumiai.proofs.trace import Trace, TracePlace

ACCUSED, ACCUSER = "accused", "accuser"
SIDES = (ACCUSED, ACCUSER)
NEVER = 2**40


@pytest.fixture(scope="module")
def court() -> Iterator[Court]:
    with run_anvil() as node:
        yield Court(node)


class Party:
    """Has another state than the honest one from iteration `parts_at` on."""

    def __init__(
        self, name: str, place: TracePlace, iterations: int, every: int, parts_at: int
    ) -> None:
        self.name, self.place, self.iterations, self.every = name, place, iterations, every
        self.parts_at = parts_at
        ends = [*range(0, iterations, every), iterations]
        self.trace = Trace(place, every, iterations, tuple(map(self.state, ends)))

    def state(self, iteration: int) -> str:
        return sha256_hex(f"{iteration}/{self.name if iteration >= self.parts_at else ''}".encode())

    def refine(self, segment: int) -> Trace:
        first = segment * self.every
        last = min(first + self.every, self.iterations)
        digests = tuple(map(self.state, range(first, last + 1)))
        return Trace(self.place, 1, last - first, digests)


def play_twin(parties: dict[str, Party], arity: int, truth: str) -> twin.Dispute:
    """The executable specification: both answer everything, the committee says `truth`."""
    one, other = parties.values()
    ends = {p.name: p.trace.open([0, len(p.trace.digests) - 1]) for p in parties.values()}
    bound = (twin.Bound(one.name, one.trace.root), twin.Bound(other.name, other.trace.root))
    opened = twin.open_dispute(
        one.place, one.iterations, one.every, bound, ends, twin.Terms(arity, 10, 1), 0  # type: ignore[arg-type]
    )  # fmt: skip
    assert not isinstance(opened, Reject), opened
    state, effects = opened
    fine: dict[str, Trace] = {}
    while not isinstance(effects[-1], twin.Decide):
        effect, event = effects[-1], None
        if isinstance(effect, twin.Replay):
            state, effects = twin.step(state, twin.Replayed(truth), 0)  # type: ignore[misc]
            continue
        for party in parties.values():
            if not effect.indices:
                fine[party.name] = party.refine(state.segment)
                opened_ends = fine[party.name].open([0, fine[party.name].iterations])
                event = twin.Refined(party.name, fine[party.name].root, opened_ends)  # type: ignore[arg-type]
            else:
                source = party.trace if state.level is twin.Level.SEGMENTS else fine[party.name]
                event = twin.Answered(party.name, source.open(effect.indices))
            state, effects = twin.step(state, event, 0)  # type: ignore[misc]
    return state


class Game:
    """The same on chain; `gas` by move."""

    def __init__(self, court: Court, parties: dict[str, Party]) -> None:
        self.court, self.parties = court, parties
        self.traces = {name: party.trace for name, party in parties.items()}
        self.gas: list[tuple[str, int]] = []
        self.one, place = court.settle(self.traces[ACCUSED])
        self.id, self.about, gas = court.open(self.one, place, self.traces[ACCUSER].root)
        self.gas.append(("open", gas))

    def look(self) -> dict[str, object]:
        return self.court.disputes.view("getDispute", self.id)

    def level(self) -> str:
        return LEVELS[self.look()["level"]]  # type: ignore[index]

    def move(self, name: str, *arguments: object, sender: str | None = None) -> None:
        send = self.court.disputes.send
        self.gas.append((name, send(sender or self.court.owner, name, *arguments)))

    def search(self) -> None:
        """Go down both trees as parties would, in turn: an answer, and the next one with it.

        The contract is where the pure function is.
        """
        trees = [TraceTree(self.traces[name]) for name in SIDES]
        level, found = self.level(), self.look()
        arity: int = found["arity"]  # type: ignore[assignment]
        at = Descent(found["height"], found["position"], found["rounds"])  # type: ignore[arg-type]
        self.move("descend", self.id, list(trees[0].list_below(at, arity)), [], 0, [])
        side = 1
        while self.level() == level:
            first, second = (list(tree.list_below(at, arity)) for tree in trees)
            at = descend(at, arity, first, second)
            ahead = list(trees[side].list_below(at, arity)) if at.height else []
            self.move("descend", self.id, first, second, side, ahead)
            now, side = self.look(), 1 - side
            assert (now["height"], now["position"], now["rounds"]) == (
                at.height, at.position, at.rounds,
            )  # fmt: skip

    def refine(self) -> None:
        found = self.look()
        position: int = found["position"]  # type: ignore[assignment]
        left: int = found["leftHeight"]  # type: ignore[assignment]
        for side, name in enumerate(SIDES):
            coarse, fine = self.traces[name], self.parties[name].refine(position - 1)
            wide, close = TraceTree(coarse), TraceTree(fine)
            word = (
                bytes.fromhex(coarse.digests[position]),
                bytes.fromhex(coarse.digests[position - 1]),
                list(wide.find_path(position - 1)[:left]),
                bytes.fromhex(fine.root),
                list(close.find_path(0)),
                list(close.find_path(fine.iterations)),
            )
            sender = self.court.accuser if side else self.court.accused
            self.move("refine", self.about, side, word, b"", sender=sender)
            self.traces[name] = fine

    def play(self) -> int:
        """To the jury's question; return the iteration that it is about."""
        self.search()
        if self.level() == "REFINING":
            self.refine()
            self.search()
        assert self.level() == "JURY"
        found = self.look()
        within = found["position"] - 1 if found["isFine"] else 0  # type: ignore[operator]
        return found["segment"] * found["every"] + within  # type: ignore[operator, no-any-return]

    def judge(self, truth: str) -> int:
        """Return the outcome: 1 the accused lied, 2 the accuser, 3 both, 0 nothing shown."""
        digest = bytes.fromhex(truth) if truth else bytes(32)
        at: int = self.look()["position"]  # type: ignore[assignment]
        pair = [self.traces[name].digests[at] for name in SIDES]
        outcome = sum(1 << i for i in range(2) if pair[i] != truth) if truth else 0
        self.gas.append(("judge", self.court.judge(self.id, self.about, outcome, digest)))
        return outcome


def begin(court: Court, iterations: int, every: int, accused: int, accuser: int) -> Game:
    place = court.place()
    starts = {ACCUSED: accused, ACCUSER: accuser}
    made = {name: Party(name, place, iterations, every, at) for name, at in starts.items()}
    return Game(court, made)


def count_rounds(leaves: int, bits: int) -> int:
    return ceil(ceil(log2(leaves)) / bits)


def set_arity(court: Court, bits: int) -> None:
    court.disputes.send(court.owner, "setParameters", (100_000, bits, 3_600, 86_400))


@pytest.mark.parametrize("seed", range(40))
def test_random_disputes_end_as_in_the_specification(court: Court, seed: int) -> None:
    rng = random.Random(seed)
    iterations, every = rng.randint(1, 300), rng.randint(1, 40)
    bits = rng.randint(1, 5)
    liar = rng.choice(SIDES)
    parts_at = rng.randint(1, iterations)
    starts = [parts_at if name == liar else NEVER for name in SIDES]
    set_arity(court, bits)
    game = begin(court, iterations, every, *starts)
    truth = sha256_hex(f"{parts_at}/".encode())
    state = play_twin(game.parties, 2**bits, truth)
    assert game.play() == twin.find_iteration(state) == parts_at - 1
    outcome = game.judge(truth)
    assert {SIDES[i] for i in range(2) if outcome >> i & 1} == set(state.losers) == {liar}
    levels = 1 if min(every, iterations) == 1 else 2
    assert abs(game.look()["rounds"] - state.round_count) <= levels  # type: ignore[operator]


@pytest.mark.parametrize(("bits", "power", "fine"), [(2, 3, 2), (4, 2, 1), (3, 2, 2)])
def test_full_trees_take_the_very_rounds(court: Court, bits: int, power: int, fine: int) -> None:
    """k^i leaves a tree: neither way of searching has a leaf more than the other."""
    every = 2 ** (bits * fine) - 1
    iterations = (2 ** (bits * power) - 1) * every
    parts_at = iterations // 3
    set_arity(court, bits)
    game = begin(court, iterations, every, parts_at, NEVER)
    truth = sha256_hex(f"{parts_at}/".encode())
    state = play_twin(game.parties, 2**bits, truth)
    assert game.play() == twin.find_iteration(state)
    assert game.look()["rounds"] == state.round_count == power + fine


def test_nothing_is_shown_by_machines_of_another_class(court: Court) -> None:
    game = begin(court, 9, 3, 4, NEVER)
    assert play_twin(game.parties, 4, "").losers == ()
    game.play()
    assert game.judge("") == 0
    assert court.disputes.view("getDispute", game.id)["outcome"] == 0


def test_the_arena_slashes_blocks_and_disables(court: Court) -> None:
    before = court.arena.view("getMember", court.task, court.accused)
    zero = "0x" + 40 * "0"
    owed = court.disputes.call("getCredit", zero, court.accuser)
    game = begin(court, 20, 5, 7, NEVER)
    held = court.arena.view("getMember", court.task, court.accused)
    assert held["holds"] == before["holds"] + 1
    game.play()
    assert game.judge(sha256_hex(b"7/")) == 1
    after = court.arena.view("getMember", court.task, court.accused)
    assert after["stake"] == before["stake"] - -(-before["stake"] * 10_000 // 10**6)
    assert after["holds"] == before["holds"]
    assert court.arena.call("getRoot", court.task, court.round)[2] is True
    bond = STAKE // 10  # of what it has, and at least of what the task asks for
    assert court.disputes.call("getCredit", zero, court.accuser) == owed + bond


def test_a_leaf_is_the_same_bytes_in_both_languages(court: Court) -> None:
    """The vector of docs/adr/0038."""
    place = TracePlace(DOCUMENT, 7, 1, MEMBER)
    one = Submission(place, "00000000000000000000000000000000000acc0a", "ab" * 32, 1000, 10)
    said = court.disputes.call("computeSubmissionLeaf", spell_submission(one))
    assert said == encode_leaf(one)
    assert said.decode() == (
        f'["kumiai/submission/1","{DOCUMENT}",7,1,"{MEMBER}",'
        f'"00000000000000000000000000000000000acc0a","{"ab" * 32}",1000,10]'
    )
    assert compute_submissions_root([one]) == sha256_hex(b"\x00" + said)
    assert compute_submission_proofs([one])[MEMBER].path == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("account", "0xACC0"), ("trace", "AB" * 32), ("iterations", 0), ("every", 0)],
)
def test_what_has_no_leaf_on_chain_is_refused(field: str, value: object) -> None:
    fields = {"account": "a" * 40, "trace": "b" * 64, "iterations": 1, "every": 1, field: value}
    with pytest.raises(ValueError, match=r"account|trace|positive"):
        Submission(TracePlace(DOCUMENT, 1, 0, MEMBER), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bits", "segments", "every", "most"),
    [(4, 2**12 - 1, 255, 1_450_000), (4, 2**16 - 1, 16, 1_450_000)],
)
def test_a_long_dispute_stays_cheap(
    court: Court, bits: int, segments: int, every: int, most: int
) -> None:
    """About 2^20 iterations, the accused lying in the middle; `-s` prints the gas by move."""
    set_arity(court, bits)
    game = begin(court, segments * every, every, 700_001, NEVER)
    game.play()
    assert game.judge(sha256_hex(b"700001/")) == 1
    print(f"\nk = {2**bits}, {segments} segments of {every}; jury: {court.enrol_gas:,}")
    for name, gas in [*game.gas, ("all", sum(gas for _, gas in game.gas))]:
        print(f"{name:8} {gas:9,}")
    assert sum(gas for _, gas in game.gas) <= most
