"""A customer that was not there for a while: a closed lid, a power cut, a process that was ended.

What its providers said meanwhile lies on the relays, and its own silence must not be laid to them.
So whoever it waits for gets that time once more. Times that others can see (a request's deadline,
ecash's locktime) stay as they were said.
"""

from __future__ import annotations

from dataclasses import replace

from kumiai.market.customer import rounds
from kumiai.market.customer.state import Phase, Standing
from kumiai.market.customer.turn import Turn

WAKE_S = 60  # to be connected again and to hear what relays have kept
_WAITING_PHASES = frozenset({Phase.OFFERS, Phase.JUDGING, Phase.PAYING})
_WAITING_STANDINGS = frozenset({Standing.CHOSEN, Standing.SENT})


def wake(turn: Turn, missed_s: int) -> None:
    """Wait longer, by what was missed, for everything that is waited for."""
    if turn.s.phase in (Phase.DRAFT, Phase.CLOSED):
        return
    more_s = missed_s + WAKE_S
    turn.set(missed_s=turn.s.missed_s + missed_s)
    for work in list(turn.s.works.values()):
        if rounds.is_unasked(work) and turn.now_s > work.deadline_s:
            rounds.ask_anew(turn, work)
        elif work.is_open:
            key_by_s = work.key_by_s + more_s if work.key_by_s else 0
            turn.put_work(replace(work, grace_s=work.grace_s + more_s, key_by_s=key_by_s))
    for member in list(turn.s.members.values()):
        if member.standing in _WAITING_STANDINGS:
            turn.put_member(replace(member, since_s=member.since_s + more_s))
    if turn.s.phase in _WAITING_PHASES:
        turn.set(phase_since_s=turn.s.phase_since_s + more_s)
