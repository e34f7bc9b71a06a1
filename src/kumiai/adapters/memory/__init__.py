"""Twins of the durable stores that live in this process only: for tests and simulated worlds."""
