"""Two quick looks at a player: what it does alone, and what the others miss without it.

    standalone       v({i}) - v({})       n + 1 utilities
    leave-one-out    v(N) - v(N - i)      n + 1 utilities

Both are exact and cheap; neither shares out v(N) - v({}). Leave-one-out gives members who replace
one another nothing, so copies must be merged first (`duplicates`).
"""

from __future__ import annotations

import numpy as np

from kumiai.valuation.game import Plan, Valuation


def plan_standalone(player_count: int) -> Plan:
    """Value each player by its gain alone."""
    utilities = yield [0, *(1 << i for i in range(player_count))]
    return Valuation(utilities[1:] - utilities[0], np.zeros(player_count), 0)


def plan_leave_one_out(player_count: int) -> Plan:
    """Value each player by what everybody loses without it."""
    everybody = (1 << player_count) - 1
    utilities = yield [everybody, *(everybody ^ 1 << i for i in range(player_count))]
    return Valuation(utilities[0] - utilities[1:], np.zeros(player_count), 0)
