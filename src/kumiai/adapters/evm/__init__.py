"""EVM chains: a client for any node, an embedded chain of its own, and the ledger over both."""
