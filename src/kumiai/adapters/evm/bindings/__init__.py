"""Typed bindings of the contracts; generated, see ../generate.py."""
