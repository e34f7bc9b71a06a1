"""Bindings of IArena; generated."""
