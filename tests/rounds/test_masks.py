"""Secure runs' machine: groups by lot, dealing, opening; who drops out when, and who lies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.nodes.simulation import Finished, finish
from tests.rounds.worlds import make_driver, make_people, make_secrets, make_task

from kumiai.adapters.compute.secure_work import GroupSums, encode_masked
from kumiai.adapters.sim.recorded import RecordedCompute
from kumiai.adapters.sim.world import NetworkModel
from kumiai.base import events
from kumiai.base.log import Record
from kumiai.learning.aggregation import NumpyKernels, aggregate
from kumiai.learning.fixed_point import decode_long_vector, encode_vector
from kumiai.learning.privacy.dealing import deal_secrets
from kumiai.learning.privacy.masking import derive_mask_secrets
from kumiai.learning.privacy.stream import derive_stream_key
from kumiai.nodes import ports
from kumiai.nodes.masks import MaskHolder
from kumiai.nodes.role import Publish
from kumiai.rounds.agreement import share_equally
from kumiai.rounds.kinds import Kind
from kumiai.rounds.masks import draw_groups, find_group
from kumiai.rounds.opened import OpenedGroup
from kumiai.rounds.state import (
    ROUND_TABLE,
    AssignmentState,
    Judgement,
    RoundPhase,
    RunPhase,
    RunState,
)
from kumiai.tasks.document import compute_task_id

SIZE = 7
SECURE = {"privacy": {"mode": "secure"}}
Actions = tuple[Any, ...]


@dataclass
class MaskingCompute(RecordedCompute):
    """Draws updates instead of training, masks them as the engine does, and opens the sums."""

    task_id: str = ""
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    plain: dict[tuple[str, int, int], np.ndarray] = field(default_factory=dict)
    summed: list[tuple[int, OpenedGroup, np.ndarray | None]] = field(default_factory=list)

    def _train(self, job: ports.TrainJob) -> ports.TrainResult:
        rng = np.random.default_rng(job.seed)
        update_P = rng.integers(-(2**28), 2**28, SIZE, dtype=np.int32)
        self.plain[job.member, job.round, job.attempt] = update_P
        data = encode_masked(self.secrets[job.member], self.task_id, job, update_P)
        known = super()._train(job)
        return replace(known, update=self.blobs.put(data), size_bytes=len(data))

    def score(self, jobs):
        sums = GroupSums(self.blobs, SIZE)
        found = [(jobs[0].round, group, sums.find(group)) for group in jobs[0].groups]
        self.summed += found
        return super().score(jobs)


def play(
    trainers: int = 6,
    network: NetworkModel | None = None,
    rounds: int = 2,
    lie: Any = None,
    size: int = 3,
    quality: Mapping[str, int] | None = None,
) -> tuple[Finished, MaskingCompute]:
    """Run to the end; `lie(name, publish)` may change what a member publishes."""
    task = make_task(trainers, 4, rounds, privacy={"mode": "secure", "group_size": size})
    driver, population = make_driver(task, make_people(trainers, 4), network, quality)
    compute = driver.compute
    assert isinstance(compute, RecordedCompute)
    masking = MaskingCompute(
        compute.blobs,
        quality=compute.quality,
        task_id=compute_task_id(task),
        secrets=make_secrets(population),
    )
    driver.compute = masking
    if lie is not None:
        driver.roles = {n: Liar(r, n, lie) for n, r in driver.roles.items()}
    return finish(driver, population), masking


@dataclass
class Liar:
    """A role whose messages may be changed before they are sent."""

    inner: Any
    name: str
    lie: Any

    @property
    def key(self):
        return self.inner.key

    def step(self, memory, run: RunState, event) -> tuple[Any, Actions]:
        memory, actions = self.inner.step(memory, run, event)
        told: list[Any] = []
        for action in actions:
            is_said = isinstance(action, Publish)
            told += self.lie(self.name, run, action) if is_said else [action]
        return memory, tuple(told)


def check_sums(finished: Finished, compute: MaskingCompute) -> None:
    """Every sum that was opened is that of its members' own updates, bit for bit."""
    attempts = {c.round: c.body["attempt"] for c in finished.state.certificates}
    certified = [entry for entry in compute.summed if entry[0] in attempts]
    assert certified
    for index, group, sum_P in certified:
        assert sum_P is not None, group.name
        tried = [
            sum(compute.plain[m, index, attempt].astype(np.int64) for m in group.members)
            for attempt in range(1, 7)
            if all((m, index, attempt) in compute.plain for m in group.members)
        ]
        assert any(np.array_equal(sum_P, plain_P) for plain_P in tried)
        assert not {m for m, _ in group.own_seeds} & {m for m, _ in group.agreements}


def find_rejects(finished: Finished) -> list[Any]:
    """What was refused, but for what came when a phase had ended already."""
    return [r for r in finished.watcher.rejects if r.reason not in ("wrong-phase", "run-ended")]


def drop(name: str, kind: Kind):
    """Lose all messages of one kind of one member."""

    def lie(who: str, run: RunState, action: Publish) -> list[Publish]:
        return [] if (who, action.kind) == (name, kind) else [action]

    return lie


@given(
    count=st.integers(0, 40),
    size=st.integers(3, 8),
    seed=st.text("ab", max_size=3),
)
@settings(max_examples=50, deadline=None)
def test_groups_are_of_at_least_the_size_and_hold_everybody_once(count, size, seed):
    members = [f"{i:02d}" for i in range(count)]
    groups = draw_groups(seed, members, size)
    assert len(groups) == count // size
    assert sorted(m for group in groups for m in group) == (members if groups else [])
    assert all(size <= len(group) < 2 * size for group in groups)
    assert groups == draw_groups(seed, list(reversed(members)), size)


def test_the_lot_is_another_in_every_round():
    members = [f"{i:02d}" for i in range(12)]
    assert len({draw_groups(str(i), members, 3) for i in range(20)}) == 20


def test_a_run_with_everybody_sums_everybody_and_follows_the_table():
    finished, compute = play()
    assert finished.state.phase is RunPhase.FINISHED
    check_sums(finished, compute)
    assert all(len(group.members) == 3 for _, group, _ in compute.summed)
    assert find_rejects(finished) == []
    seen = [p.round_phase for p in finished.watcher.phases if p.run_phase is RunPhase.TRAINING]
    others = {RoundPhase.CHALLENGE, RoundPhase.JURY, RoundPhase.JURY_REVEAL}
    others |= {RoundPhase.RECHECK, RoundPhase.RECHECK_JURY}
    expected = [phase for phase in RoundPhase if phase not in others]
    assert seen[: len(expected)] == expected
    for old, new in itertools.pairwise(seen):
        assert new in ROUND_TABLE[old] or (old, new) == (RoundPhase.CERTIFY, RoundPhase.DEAL)


@pytest.mark.parametrize("kind", [Kind.DEAL, Kind.COMMIT, Kind.REVEAL, Kind.UNMASK])
@pytest.mark.parametrize("trainers", [3, 6, 7])
def test_a_member_that_drops_out_anywhere_costs_nobody_else_the_sum(kind, trainers):
    finished, compute = play(trainers, lie=drop("t1", kind))
    assert finished.state.phase is RunPhase.FINISHED
    check_sums(finished, compute)
    lost = finished.key("t1")
    for _, group, _ in compute.summed:
        assert (lost in group.members) == (
            kind is Kind.UNMASK and lost in {m for m, *_ in group.cards}
        )
        if kind is Kind.UNMASK:
            continue
        is_dealt = kind is not Kind.DEAL and lost in {m: p for m, p, _ in group.cards}
        assert (lost in dict(group.agreements)) == is_dealt
    others = [f"t{i}" for i in range(trainers) if i != 1]
    assert all(finished.reasons(name)[0] == "group-counted" for name in others)
    expected = {Kind.DEAL: "no-reply", Kind.COMMIT: "no-reply", Kind.REVEAL: "late"}
    assert finished.reasons("t1")[0] == expected.get(kind, "group-counted")


@pytest.mark.parametrize("kind", [Kind.DEAL, Kind.COMMIT, Kind.REVEAL, Kind.UNMASK])
def test_a_group_below_its_threshold_is_void_and_shows_nothing(kind):
    """Two of one group are gone in the first round; the other group's sum still counts."""
    gone: list[str] = []

    def lie(who: str, run: RunState, action: Publish) -> list[Publish]:
        if action.kind is kind and run.round.index == 1:
            group = run.round.groups[0]
            if run.members[group[0]].name == who or run.members[group[1]].name == who:
                gone.append(who)
                return []
        return [action]

    finished, compute = play(6, lie=lie)
    assert finished.state.phase is RunPhase.FINISHED
    assert len(gone) == 2
    check_sums(finished, compute)
    first = [group for index, group, _ in compute.summed if index == 1]
    assert [group.name for group in first[:1]] == ["group 2"]
    members = {m.name for k, m in finished.state.members.items() if m.role == "trainer"}
    inside = {finished.state.members[k].name for k in first[0].members}
    third = members - inside - {*gone}
    assert all(finished.reasons(name)[0] == "void" for name in third)
    assert all(finished.reasons(name)[0] == "group-counted" for name in inside)


def test_a_round_of_which_no_group_can_be_opened_is_redone_with_other_secrets():
    def lie(who: str, run: RunState, action: Publish) -> list[Publish]:
        is_lost = action.kind is Kind.UNMASK and (run.round.index, run.round.attempt) == (1, 1)
        return [] if is_lost and who in ("t0", "t1") else [action]

    finished, compute = play(3, lie=lie)
    assert finished.state.phase is RunPhase.FINISHED
    assert finished.state.certificates[0].body["attempt"] == 2
    check_sums(finished, compute)
    deals = [e for e in (r.event for r in finished.driver.log.read()) if e.kind == Kind.DEAL]
    cards = [events.read_content(event)["public"] for event in deals]
    assert len(set(cards)) == len(cards)  # of every attempt its own


def test_too_few_trainers_end_the_run_with_a_reason_and_give_the_money_back():
    network = NetworkModel(crashes={"t0": ((3_000, 10**9),), "t1": ((3_000, 10**9),)})
    finished, _ = play(3, network)
    assert finished.state.phase is RunPhase.FAILED
    assert finished.state.reason in (
        "too few trainers dealt shares",
        "no trainer revealed an update",
    )


def swap_kind(who: str, run: RunState, action: Publish) -> list[Publish]:
    """t0 shows shares of the other kind, by a modified client."""
    if who != "t0" or action.kind is not Kind.UNMASK:
        return [action]
    (role,) = (p for p in [LIARS["t0"]] if p)
    current = run.round
    everybody = tuple(current.trainers)
    other = tuple(k for k in everybody if k not in current.revealed)
    member = role.key.pubkey
    inverted = replace(current, revealed=(*other, member))
    return [Publish(Kind.UNMASK, {**action.content, **role.masks.unmask(run, inverted, member)})]


LIARS: dict[str, Any] = {}


def test_shares_of_the_other_kind_are_refused_and_the_sum_opens_without_them():
    task = make_task(6, 4, 1, **SECURE)
    driver, _population = make_driver(task, make_people(6, 4))
    LIARS["t0"] = driver.roles["t0"]
    finished, compute = play(6, rounds=1, lie=swap_kind)
    assert finished.state.phase is RunPhase.FINISHED
    check_sums(finished, compute)
    (reject,) = find_rejects(finished)
    assert reject.reason == "bad-share"
    assert "the other kind" in reject.detail
    assert reject.evidence["holder"] == finished.key("t0")


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        (lambda s: ["00" * 66, *s[1:]], "bad-share", "not as dealt"),
        (lambda s: ["zz" * 66, *s[1:]], "bad-share", "hex digits"),
        (lambda s: [5, *s[1:]], "bad-share", "hex digits"),
        (lambda s: s[1:], "bad-share", "are asked for"),
    ],
)
def test_false_shares_are_refused_with_evidence(change, reason, detail):
    def lie(who: str, run: RunState, action: Publish) -> list[Publish]:
        if who == "t0" and action.kind is Kind.UNMASK:
            content = {**action.content, "shares": change(action.content["shares"])}
            return [Publish(Kind.UNMASK, content)]
        return [action]

    finished, compute = play(6, rounds=1, lie=lie)
    check_sums(finished, compute)
    (reject,) = find_rejects(finished)
    assert (reject.reason, detail in reject.detail) == (reason, True)


@pytest.mark.parametrize(
    ("name", "value", "detail"),
    [
        ("public", "02" + "00" * 32, "no compressed point"),
        ("public", "ab", "no compressed point"),
        ("own_seed_hash", "ab", "not a sha256"),
        ("own_hashes", ["ab" * 32] * 2, "holders"),
        ("agreement_hashes", [7] * 3, "not a sha256"),
        ("sealed", ["ab"] * 3, "hex digits"),
    ],
)
def test_malformed_dealings_are_refused(name, value, detail):
    def lie(who: str, run: RunState, action: Publish) -> list[Publish]:
        if who == "t0" and action.kind is Kind.DEAL:
            return [Publish(Kind.DEAL, {**action.content, name: value})]
        return [action]

    finished, compute = play(6, rounds=1, lie=lie)
    check_sums(finished, compute)
    (reject,) = find_rejects(finished)
    assert (reject.reason, detail in reject.detail) == ("bad-dealing", True)
    assert finished.reasons("t0")[0] == "no-reply"


def test_who_deals_what_is_not_on_its_card_voids_its_group_and_is_counted_silent():
    """The shares are as dealt, but of another secret: only their dealer can have done that."""
    missed: list[int] = []

    def lie(who: str, run: RunState, action: Publish) -> list[Publish]:
        missed.append(
            max((m.missed_count for m in run.members.values() if m.name == "t0"), default=0)
        )
        if who != "t0" or action.kind is not Kind.DEAL or run.round.index != 1:
            return [action]
        place = (run.task_id, 1, run.round.attempt)
        member = next(k for k, m in run.members.items() if m.name == "t0")
        keys = {k: run.members[k].share_key for k in find_group(run.round, member)}
        secret = derive_stream_key(bytes(32), "t0")
        other = derive_mask_secrets(bytes(32), *place)
        false = deal_secrets(secret, other, member, keys, 2, place)
        lists = {"own_hashes": list(false.own_hashes), "sealed": list(false.sealed)}
        lists["agreement_hashes"] = list(false.agreement_hashes)
        return [Publish(Kind.DEAL, {**action.content, **lists})]

    finished, compute = play(6, rounds=2, lie=lie)
    assert finished.state.phase is RunPhase.FINISHED
    check_sums(finished, compute)
    assert finished.reasons("t0")[0] == "void"
    assert max(missed) == 1
    first = [group for index, group, _ in compute.summed if index == 1]
    assert all(finished.key("t0") not in group.members for group in first)


def test_two_dealings_or_openings_of_one_attempt_are_evidence():
    finished, _ = play(3, rounds=1)
    log = [r.event for r in finished.driver.log.read()]
    for kind in (Kind.DEAL, Kind.UNMASK):
        first = next(event for event in log if event.kind == kind)
        key = next(r.key for r in finished.driver.roles.values() if r.key.pubkey == first.pubkey)
        content = events.read_content(first)
        content["shares" if kind is Kind.UNMASK else "public"] = (
            [""] * 3 if kind is Kind.UNMASK else "ab"
        )
        second = events.sign_event(key, kind, first.created_at, content)
        state = before_end(finished)
        proof = {"task": state.task_id, "first": as_dict(first), "second": as_dict(second)}
        accuser = finished.driver.roles["v0"].key
        event = events.sign_event(accuser, Kind.EVIDENCE, first.created_at, proof)
        outcome = submit(state, event)
        assert outcome.reject is None, outcome.reject
        assert outcome.state.members[first.pubkey].state.value == "EJECTED"


def before_end(finished: Finished) -> RunState:
    from kumiai.rounds.run import step

    state = RunState()
    for record in finished.driver.log.read():
        if record.event.kind == Kind.CERTIFY:
            return state
        state = step(state, record).state
    raise AssertionError("no certificate")


def as_dict(event) -> dict[str, Any]:
    from kumiai.base import canonical

    return canonical.decode(events.encode_event(event), 10**6)


def submit(state: RunState, event):
    from kumiai.rounds.run import step

    record = Record(state.height + 1, state.time_ms, event, "00" * 32)
    return step(state, record)


def test_a_groups_value_is_divided_equally_and_nobody_is_blamed():
    harmful = Judgement("g", AssignmentState.INVALID, "harmful", "", -9, 3, 0)
    good = Judgement("h", AssignmentState.VALID, "counted", "", 2, 3, 1)
    copied = Judgement("i", AssignmentState.INVALID, "copy", "h", 5, 0, 2)
    groups = {"g": ("a", "b", "c"), "h": ("d", "e", "f"), "i": ("j", "k", "l")}
    found = {j.member: j for j in share_equally((harmful, good, copied), groups)}
    assert [found[m].value for m in "abc"] == [-3, -3, -3]
    assert {found[m].verdict for m in "abcjkl"} == {AssignmentState.INCONCLUSIVE}
    assert found["a"].reason == "group-harmful"
    assert found["j"].reason == "group-malformed"
    assert (found["d"].verdict, found["d"].value) == (AssignmentState.VALID, 1)


def test_a_holder_that_did_not_get_its_piece_says_so_instead_of_guessing():
    finished, _ = play(3, rounds=1)
    state = before_end(finished)
    member = state.round.revealed[0]
    stranger = MaskHolder(derive_stream_key(bytes(32), "somebody else"))
    assert stranger.unmask(state, state.round, member) == {"shares": ["", "", ""]}
    assert "secret" not in repr(stranger)


def test_the_mean_over_groups_is_the_open_mean_bit_for_bit():
    _, compute = play(7, rounds=1)
    groups = [group for _, group, _ in compute.summed[:2]]
    members = [member for group in groups for member in group.members]
    assert len(members) == 7
    updates = [compute.plain[member, 1, 1] for member in members]
    kernels = NumpyKernels()
    mean_P = GroupSums(compute.blobs, SIZE).compute_mean(groups, kernels)
    assert np.array_equal(mean_P, aggregate("mean", updates, [1] * 7, kernels=kernels))


def test_a_sum_beyond_the_fixed_point_is_none():
    _, compute = play(3, rounds=1)
    _, group, sum_P = compute.summed[0]
    assert sum_P is not None
    member, blob = group.masked[0]
    words_P = decode_long_vector("masked", compute.blobs.get(blob, 10**4), SIZE)
    other = compute.blobs.put(encode_vector("masked", words_P + 2**31))
    changed = replace(group, masked=((member, other), *group.masked[1:]))
    assert GroupSums(compute.blobs, SIZE).find(changed) is None
