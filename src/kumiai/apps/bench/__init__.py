"""Comparisons that a user can run: each prints a table and saves what it measured."""
