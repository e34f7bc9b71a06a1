"""Bindings of Lens; generated."""
