"""Epochs of a run: which validators judge, certify and order for the next rounds.

An epoch lasts `validation.epoch_rounds` rounds. It ends early when fewer than a quorum of its seats
are left, by withdrawal or ejection: what no quorum can sign has no future. Who only fell silent
keeps its seat and its chance of one: silence can be forced on an honest member by its network, and
a committee without it would tolerate fewer faults than there are.
"""

from __future__ import annotations

from dataclasses import replace

from kumiai.consensus.epochs import Epoch, choose_seats
from kumiai.consensus.quorum import compute_quorum
from kumiai.rounds.state import NodeState, RunPhase, RunState

COMMITTEE_STATES = frozenset(
    {NodeState.ACTIVE, NodeState.STANDBY, NodeState.DROPPED, NodeState.SYNCING}
)


def open_epoch(state: RunState, round_index: int) -> RunState:
    """Return the run with the epoch in which a round is: the same one, or one that begins."""
    assert state.task is not None
    terms = state.task.validation
    if state.epochs:
        last = state.epochs[-1]
        is_over = terms.epoch_rounds and round_index >= last.first_round + terms.epoch_rounds
        is_able = len(_list_left(state, last.seats)) >= compute_quorum(len(last.seats))
        if is_able and not is_over:
            return state
    able = _list_left(state, tuple(state.members))
    stakes = {key: state.members[key].stake for key in able}
    if not stakes:
        return state
    seats = choose_seats(stakes, terms.seats or len(stakes), state.beacon)
    epoch = Epoch(len(state.epochs) + 1, round_index, seats)
    return replace(state, epochs=(*state.epochs, epoch))


def list_committee(state: RunState) -> tuple[str, ...]:
    """Return who judges and certifies now, sorted: the epoch's seats that are not gone.

    At the end all who ever sat open what they bound themselves to, and sign together.
    """
    if state.phase is RunPhase.FINALIZING:
        seats = {key for epoch in state.epochs for key in epoch.seats}
    else:
        seats = set(state.epochs[-1].seats) if state.epochs else set(state.members)
    return tuple(sorted(_list_left(state, tuple(seats))))


def _list_left(state: RunState, keys: tuple[str, ...]) -> tuple[str, ...]:
    found = (state.members[key] for key in keys)
    return tuple(m.pubkey for m in found if m.role == "validator" and m.state in COMMITTEE_STATES)
