"""Floor 2: who earns what, to the last unit, and who holds the money meanwhile.

Read `rounds` first (one round's pools become lines with amounts), then `ranking` (why a place is
worth what it is worth), `delegation`, and `ledger` (the executable specification of the escrow).
Integers only: no float, no rounding in anybody's favour.
"""
