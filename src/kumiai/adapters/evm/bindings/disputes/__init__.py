"""Bindings of Disputes; generated."""
