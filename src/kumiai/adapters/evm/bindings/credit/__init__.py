"""Bindings of Credit; generated."""
