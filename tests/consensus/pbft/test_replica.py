"""The machine: order, exactly once, views, checkpoints, catching up, crashes, traitors."""

from __future__ import annotations

import pytest

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.effects import Broadcast, Persist, Received, Send
from kumiai.consensus.pbft.pool import WINDOW, Done
from kumiai.consensus.pbft.proofs import is_decided, is_equivocation
from kumiai.consensus.pbft.replica import Replica
from kumiai.consensus.pbft.safety import ViewEntered, Voted
from kumiai.consensus.pbft.views import list_proposals
from kumiai.consensus.quorum import compute_quorum

from .conftest import SCHEME


def to_all(bench, operation="") -> None:
    request = bench.request(operation)
    for index in range(len(bench.replicas)):
        bench.receive(index, request)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 11])
def test_everybody_executes_the_same_in_the_same_order(make_bench, size):
    bench = make_bench(size)
    for index in range(12):
        bench.submit(index % size)
        bench.deliver()
    assert bench.done[0] == [f"operation {i}" for i in range(1, 13)]
    assert all(done == bench.done[0] for done in bench.done)
    assert len({replica.head for replica in bench.replicas}) == 1


def test_alone_it_decides_at_once(make_bench):
    bench = make_bench(1)
    bench.submit(0, "x")
    assert bench.done == [["x"]]
    assert bench.mail == []


def test_a_decision_convinces_anybody(bench):
    bench.submit(2)
    bench.deliver()
    for decided in (each[0] for each in bench.decided):
        assert is_decided(bench.committee, SCHEME, decided.proof)
        assert len(decided.proof.commits) == 3


@pytest.mark.parametrize("size", [5, 8, 11, 14])
def test_a_quorum_of_the_reference_code_does_not_decide(make_bench, size):
    """n / 3 * 2 others and itself: with 5, 8, 11, 14 two such groups need share no honest one."""
    bench, few = make_bench(size), size // 3 * 2 + 1
    assert few < compute_quorum(size)
    to_all(bench)
    bench.deliver(lambda s, r, x: s >= few or r >= few)
    assert bench.done == [[]] * size


@pytest.mark.parametrize("size", [4, 7])
def test_a_silent_primary_is_replaced(make_bench, size):
    """The reference code has a fixed primary, no views and no timeouts: it stops for ever."""
    bench = make_bench(size)
    to_all(bench, "x")
    bench.pass_time(3_000, down={0})
    assert bench.done[1:] == [["x"]] * (size - 1)
    assert {replica.safety.view for replica in bench.replicas[1:]} == {1}


def test_silent_primaries_one_after_another(make_bench):
    bench = make_bench(7)
    to_all(bench, "x")
    bench.pass_time(10_000, down={0, 1})
    assert bench.done[2:] == [["x"]] * 5
    assert {replica.safety.view for replica in bench.replicas[2:]} == {2}


def test_what_was_decided_survives_the_view(bench):
    """One replica alone saw the decision; the others prepared it: the new view must propose it."""
    to_all(bench, "x")
    bench.deliver(
        lambda s, r, x: isinstance(x, m.Signed) and isinstance(x.body, m.Commit) and r != 3
    )
    assert bench.done == [[], [], [], ["x"]]
    to_all(bench, "y")
    bench.pass_time(5_000, down={0})
    assert bench.done[1:] == [["x", "y"]] * 3


def test_a_lost_batch_is_fetched(bench):
    """A replica that prepared nothing learns the digest in the new view, and asks for the rest."""
    request = bench.request("x")
    for index in (0, 2, 3):
        bench.receive(index, request)
    bench.deliver(
        lambda s, r, x: r == 1 or (isinstance(x, m.Signed) and isinstance(x.body, m.Commit))
    )
    bench.pass_time(8_000, down={0})
    assert bench.done[1:] == [["x"]] * 3


def test_a_request_is_executed_once_however_often_it_comes(bench):
    request = bench.request("x")
    for _ in range(3):
        for index in range(4):
            bench.receive(index, request)
        bench.deliver()
    assert bench.done == [["x"]] * 4
    assert all(replica.pool.waiting == {} for replica in bench.replicas)


def test_requests_of_a_client_may_pass_each_other_within_the_window(bench):
    old, new = bench.request("old"), bench.request("new")
    for request in (new, old, new, old):
        bench.receive(0, request)
        bench.deliver()
    assert bench.done == [["new", "old"]] * 4
    bench.count += WINDOW
    last = bench.request("last")  # old lies below its window, new within
    assert last.timestamp == new.timestamp + WINDOW + 1
    bench.receive(0, last)
    bench.deliver()
    for request in (old, new, m.sign_request(bench.client, 0, "before")):
        bench.receive(0, request)
        bench.deliver()
    assert bench.done == [["new", "old", "last"]] * 4
    assert not any(replica.pool.waiting for replica in bench.replicas)


def test_what_a_client_is_remembered_by_is_bounded():
    done = Done()
    for timestamp in range(0, 100_000, 3):
        done.add(timestamp)
        assert done.has(timestamp)
        assert len(done.recent) <= 2 * WINDOW
    assert not done.has(99_998)
    assert done.has(99_998 - WINDOW)


def test_checkpoints_bound_the_memory(bench):
    for _ in range(40):
        bench.submit(1)
        bench.deliver()
    for replica in bench.replicas:
        assert replica.safety.stable.sequence == 40
        assert not replica.slots
        assert not replica.safety.votes
        assert not replica.safety.prepared


def test_who_was_away_is_served(bench):
    for _ in range(30):
        bench.submit(1)
        bench.deliver(lambda s, r, x: 3 in (s, r))
    assert bench.done[3] == []
    bench.pass_time(6_000)
    assert bench.done[3] == bench.done[0]
    bench.submit(3)
    bench.deliver()
    assert all(len(done) == 31 for done in bench.done)


def test_a_crash_loses_nothing_that_was_signed(bench):
    for _ in range(6):
        bench.submit(1)
        bench.deliver()
    bench.submit(1)
    bench.deliver(lambda s, r, x: isinstance(x, m.Signed) and isinstance(x.body, m.Commit))
    before = [replica.safety for replica in bench.replicas]
    for index in range(4):
        bench.restart(index)
    assert [replica.safety for replica in bench.replicas] == before
    assert [replica.executed for replica in bench.replicas] == [6] * 4
    bench.pass_time(3_000)
    assert all(len(done) == 7 for done in bench.done)


def test_a_primary_that_crashed_says_the_same_again(bench):
    bench.submit(0, "x")
    bench.mail.clear()  # its proposal reached nobody
    bench.restart(0)
    bench.pass_time(2_000)
    assert bench.done == [["x"]] * 4
    assert {replica.safety.view for replica in bench.replicas} == {0}


def test_a_primary_that_crashed_without_the_batch_signs_no_other(bench):
    """It opened a view with a digest that others had prepared, and died before it had the batch."""
    digest = "ab" * 32
    bench.journals[1] = [ViewEntered(1, False), Voted("pre-prepare", 1, 1, digest)]
    bench.restart(1)
    proposal = bench.replicas[1].slots[1].get_proposal(1, 1)
    assert proposal.body == m.PrePrepare(1, 1, digest)
    assert bench.replicas[1].slots[1].batches == {}


def test_a_crash_after_a_new_view_opens_no_second_decision(bench):
    """The model found it: x is decided in view 0; two replicas begin view 1, which proposes x, and
    die before they vote; the traitor that leads view 1 proposes y to them. Only the traitor has
    the proof that x is decided, and shows it to replica 0 at the end.
    """
    traitor = 1

    def hide_commits(sender, receiver, message):
        is_commit = isinstance(message, m.Signed) and isinstance(message.body, m.Commit)
        return 3 in (sender, receiver) or (is_commit and receiver != traitor)

    bench.submit(0, "x")
    bench.deliver(hide_commits)
    (known,) = bench.decided[traitor]
    changes = {}
    for index in (0, 2, 3):
        replica = bench.replicas[index]
        replica._effects = []
        replica._leave(1)
        for effect in replica._effects:
            if isinstance(effect, Persist):
                bench.journals[index] += effect.entries
            elif isinstance(effect, Broadcast):
                changes[index] = effect.message
    shown = tuple(changes[index] for index in (0, 2, 3))
    _, proposals = list_proposals(m.NewView(1, shown, ()))
    assert [body.digest for body in proposals] == [known.proof.digest]
    signatures = tuple(bench.sign(traitor, body).signature for body in proposals)
    new_view = bench.sign(traitor, m.NewView(1, shown, signatures))
    for index in (2, 3):
        effects = bench.replicas[index].step(Received(new_view), 0, 0)
        first = next(effect for effect in effects if isinstance(effect, Persist))
        bench.journals[index] += first.entries  # and dies
        bench.restart(index)
        assert bench.replicas[index].safety.view == 1
    other = propose(bench, traitor, 1, 1, "y")
    for index in (2, 3):
        bench.receive(index, other)
    bench.deliver(lambda sender, receiver, message: not {sender, receiver} <= {2, 3})
    commit = bench.sign(traitor, m.Commit(1, 1, other.batch.digest))
    for index in (2, 3):
        bench.receive(index, commit)
    bench.receive(0, known)
    assert bench.done == [["x"], ["x"], [], []]


@pytest.mark.parametrize("crashed", [1, 2])
def test_a_view_is_shown_again_after_a_crash_to_who_missed_it(bench, crashed):
    """A seed found it: who had begun the view could not show it, and the others waited in vain."""

    def missed(sender, receiver, message):
        is_new_view = isinstance(message, m.Signed) and isinstance(message.body, m.NewView)
        return is_new_view and (receiver == 3 or sender not in (1, crashed))

    bench.submit(2)
    bench.pass_time(2_000, missed, down=(0,))
    views = [(replica.safety.view, replica.safety.is_changing) for replica in bench.replicas]
    assert views[1:] == [(1, False), (1, False), (1, True)]
    bench.restart(crashed)
    helper = bench.replicas[crashed]
    effects = helper.step(Received(bench.sign(3, m.Status(1, True, 0))), 10_000, 0)
    shown = [each.message for each in effects if isinstance(each, Send)]
    bench.mail += [(crashed, 3, message) for message in shown]
    bench.deliver(lambda sender, receiver, message: (sender, receiver) != (crashed, 3))
    assert not bench.replicas[3].safety.is_changing
    helper.safety.leave_view(2)
    assert helper.safety.shown is None


def test_nothing_is_signed_that_was_not_allowed(bench):
    with pytest.raises(ValueError, match="without having been allowed"):
        bench.replicas[1]._sign_vote(m.Prepare(0, 1, "ab" * 32))


def test_who_gets_work_asks_soon_for_what_is_missing(bench):
    """A proposal came before its NEW-VIEW and was dropped: nobody may wait a heartbeat for it."""
    bench.pass_time(1_000)  # idle: the next status is far
    soon_ms = bench.now_ms + bench.replicas[1].settings.resend_ms
    assert bench.replicas[1].next_deadline_ms > soon_ms
    bench.receive(1, bench.request())
    assert bench.replicas[1].next_deadline_ms <= soon_ms


def test_who_is_far_behind_keeps_no_more_than_its_windows(bench):
    """It hears every vote and lacks one batch: each checkpoint moves its window, and it forgets."""

    def lost(sender, receiver, message):
        is_first = isinstance(message, m.Proposal) and message.order.body.sequence == 1
        return receiver == 3 and (is_first or isinstance(message, m.Found | m.Decided))

    for _ in range(60):
        bench.submit(1)
        bench.deliver(lost)
        assert len(bench.replicas[3].slots) <= 2 * bench.replicas[3].settings.window
    assert bench.done[3] == []
    bench.pass_time(20_000)
    assert bench.done[3] == bench.done[0]


def test_a_batch_is_not_sent_again_and_again(bench):
    bench.submit(0, "x")
    bench.mail.clear()
    digest = bench.replicas[0].safety.get_voted("pre-prepare", 1)
    for _ in range(5):
        bench.receive(0, bench.sign(2, m.Fetch(1, digest)))
    assert [type(message) for _, _, message in bench.mail] == [m.Found]
    bench.receive(0, bench.sign(3, m.Fetch(1, digest)))
    assert len(bench.mail) == 2


def test_what_is_signed_is_written_down_before(bench):
    request = bench.request()
    effects = bench.replicas[0].step(Received(request), 0, 0)
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Broadcast)
    proposal = next(e.message for e in effects if isinstance(e, Broadcast))
    kinds = [type(effect) for effect in bench.replicas[1].step(Received(proposal), 0, 0)]
    assert kinds.index(Persist) < kinds.index(Broadcast)


def propose(bench, sender, view, place, *operations) -> m.Proposal:
    requests = tuple(bench.request(operation) for operation in operations)
    batch = m.Batch(requests, bench.now_ms)
    order = bench.sign(sender, m.PrePrepare(view, place, batch.digest))
    return m.Proposal(order, batch)


def propose_at(bench, time_ms) -> m.Proposal:
    batch = m.Batch((bench.request(),), time_ms)
    return m.Proposal(bench.sign(0, m.PrePrepare(0, 1, batch.digest)), batch)


@pytest.mark.parametrize(
    ("time_ms", "is_taken"),
    [(49_500, True), (50_500, True), (50_501, False), (48_500, True), (48_499, False), (0, False)],
)
def test_a_primary_tells_the_time_within_what_others_see(bench, time_ms, is_taken):
    """The drift to both sides, and a patience for the way."""
    bench.now_ms = 50_000
    bench.receive(1, propose_at(bench, time_ms))
    assert bench.refused[1] == ([] if is_taken else ["time"])
    assert bool(bench.journals[1]) == is_taken


def test_a_primary_with_a_wrong_clock_is_replaced_by_one_with_a_right_one(bench):
    bench.clocks_ms[0] = 3_600_000
    bench.submit(1, "x")
    bench.deliver()
    assert "time" in bench.refused[1]
    bench.pass_time(20_000)
    assert all(done == ["x"] for done in bench.done[1:])
    assert bench.replicas[1].safety.view > 0
    assert 0 < bench.replicas[1].time_ms < 25_000


def test_the_orders_clock_does_not_go_back(bench):
    bench.now_ms = 10_000
    bench.clocks_ms[0] = 400
    bench.submit(0)
    bench.deliver()
    bench.clocks_ms[0] = -400
    bench.submit(0)
    bench.deliver()
    assert [decided.batch.time_ms for decided in bench.decided[1]] == [10_400, 9_600]
    assert bench.replicas[1].time_ms == 10_400
    bench.restart(1)
    assert bench.replicas[1].time_ms == 10_400


def test_two_proposals_for_one_place_are_evidence(bench):
    first, second = propose(bench, 0, 0, 1, "x"), propose(bench, 0, 0, 1, "y")
    bench.receive(1, first)
    bench.receive(1, second)
    (found,) = bench.accused[1]
    assert is_equivocation(bench.committee, SCHEME, found)
    assert found.first.sender == 0


def test_who_was_told_otherwise_is_shown_the_proof(bench):
    """Each backup saw one proposal only; the prepares differ, so they show each other theirs."""
    first, second = propose(bench, 0, 0, 1, "x"), propose(bench, 0, 0, 1, "y")
    bench.receive(1, first)
    bench.receive(2, second)
    bench.deliver()
    assert bench.accused[1]
    assert bench.accused[2]
    assert all(is_equivocation(bench.committee, SCHEME, f) for f in bench.accused[1])


def test_who_was_told_otherwise_is_shown_the_proof_in_whatever_order(bench):
    """The other's prepare came before the proposal that contradicts it."""
    first, second = propose(bench, 0, 0, 1, "x"), propose(bench, 0, 0, 1, "y")
    bench.receive(1, first)
    bench.deliver()
    bench.receive(2, second)
    bench.deliver()
    assert bench.accused[1]
    assert bench.accused[2]


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("not-primary", lambda b: propose(b, 2, 0, 1, "x")),
        ("digest", lambda b: m.Proposal(propose(b, 0, 0, 1, "x").order, m.NULL_BATCH)),
        (
            "forged",
            lambda b: m.Proposal(
                m.Signed(m.PrePrepare(0, 1, "ab" * 32), 0, "00" * 64), m.NULL_BATCH
            ),
        ),
        ("bare-proposal", lambda b: propose(b, 0, 0, 1, "x").order),
        ("primary-prepared", lambda b: b.sign(0, m.Prepare(0, 1, "ab" * 32))),
        ("forged", lambda b: m.Signed(m.Commit(0, 1, "ab" * 32), 2, "00" * 64)),
        ("forged", lambda b: m.Signed(m.Checkpoint(4, "ab" * 32), 2, "00" * 64)),
        ("undecided", lambda b: m.Decided(m.NULL_BATCH, m.CommitProof(0, 1, "ab" * 32, ()))),
        ("view-change", lambda b: b.sign(2, m.ViewChange(1, m.StableProof(4, "ab" * 32, ()), ()))),
        ("new-view", lambda b: b.sign(2, m.NewView(2, (), ()))),
        ("request", lambda b: m.Request(b.client.pubkey, 1, "x", "00" * 64)),
    ],
)
def test_what_does_not_hold_changes_nothing(bench, reason, make):
    bench.receive(1, make(bench))
    assert bench.refused[1] == [reason]
    assert bench.mail == []
    assert bench.journals[1] == []


@pytest.mark.parametrize("place", [0, 9, 10**9])
def test_places_outside_the_window_are_not_kept(bench, place):
    bench.receive(1, propose(bench, 0, 0, place, "x"))
    bench.receive(1, bench.sign(2, m.Commit(0, place, "ab" * 32)))
    bench.receive(1, bench.sign(2, m.Commit(10**9, place, "ab" * 32)))
    assert bench.replicas[1].slots == {}


def test_one_traitor_alone_cannot_start_a_view_change(bench):
    """Votes for a place at which the primary proposed nothing start no clock."""
    bench.receive(1, bench.sign(2, m.Commit(0, 5, "ab" * 32)))
    bench.receive(1, bench.sign(2, m.ViewChange(7, m.StableProof(0, "0" * 64, ()), ())))
    bench.pass_time(20_000)
    assert {replica.safety.view for replica in bench.replicas} == {0}


def test_enough_others_take_a_replica_along(bench):
    for sender in (2, 3):
        bench.receive(1, bench.sign(sender, m.ViewChange(5, m.StableProof(0, "0" * 64, ()), ())))
    assert bench.replicas[1].safety.view == 5


def test_a_key_that_is_not_its_own_is_our_own_error(bench):
    with pytest.raises(ValueError, match="another key"):
        Replica(bench.committee, 1, bench.signers[2], SCHEME)
