"""Durable storage of one run directory: log, blobs, vault, ledger, and the seal over all of it."""
