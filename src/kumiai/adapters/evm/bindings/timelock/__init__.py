"""Bindings of Timelock; generated."""
