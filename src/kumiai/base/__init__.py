"""Floor 0: what every room speaks: hashes, canonical bytes, signed events, amounts, errors.

Pure: no clock, no randomness, no I/O. Everything here is deterministic in its arguments.
"""
