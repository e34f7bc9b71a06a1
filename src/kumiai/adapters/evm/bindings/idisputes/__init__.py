"""Bindings of IDisputes; generated."""
