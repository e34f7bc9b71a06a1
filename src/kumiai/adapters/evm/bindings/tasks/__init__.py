"""Bindings of Tasks; generated."""
