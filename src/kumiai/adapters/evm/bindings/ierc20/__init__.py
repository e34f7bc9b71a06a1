"""Bindings of IERC20; generated."""
