"""Bindings of BLS; generated."""
