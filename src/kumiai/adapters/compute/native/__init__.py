"""Compiled loops for aggregation, where the machine has a C compiler; the same integers."""
