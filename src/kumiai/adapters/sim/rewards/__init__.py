"""Rewards in models, compared: who receives which model under Aequa and under its peers.

The members train as in a run, on the same splits and with the same work a round, and nothing of the
protocol is there: no signatures, committee or money. For `kumiai bench aequa` alone.
"""
