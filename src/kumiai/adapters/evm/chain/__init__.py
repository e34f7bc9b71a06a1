"""The embedded chain: an EVM in this process, one SQLite file, standard JSON-RPC."""
