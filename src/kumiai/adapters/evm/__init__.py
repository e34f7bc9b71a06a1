"""Kumiai on an EVM chain: the embedded chain, and the client that speaks to any node."""
