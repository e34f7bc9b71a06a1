"""Money and settlement on an EVM chain: the client of any node, and the embedded chain."""
