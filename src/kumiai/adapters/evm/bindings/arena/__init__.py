"""Bindings of Arena; generated."""
