"""The beacon: a number nobody could choose, drawn after everybody has committed to their work.

Every validator publishes, when it enrols, the end of a hash chain x_0 = sha256^K(secret). In round
r it reveals the element before the last one it revealed; anyone checks that hashing it leads back.
The round's beacon is sha256 over all revealed elements, the round and the log head at which the
commitments closed. This is a hash-chain variant of commit-reveal (RANDAO); our own construction.

Guarantee: with one honest validator among those who revealed, nobody knew the beacon before the
commitments closed, when no element could be shown yet. Which element belongs to which attempt at
a round is fixed, so nobody chooses among its own. Who sees all others' elements first may withhold
its own: k validators that collude choose among at most 2**k values, once a round, and each of them
that withholds is not paid for the round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def compute_element(secret: bytes, chain_length: int, index: int) -> str:
    """Return x_index = sha256^(chain_length - index)(secret) as hex; x_0 is the published tip."""
    if not 0 <= index <= chain_length:
        raise ValueError(f"element {index} is outside a chain of {chain_length}")
    value = secret
    for _ in range(chain_length - index):
        value = hashlib.sha256(value).digest()
    return value.hex()


def is_next_element(known: str, candidate: str, steps: int) -> bool:
    """Tell whether hashing `candidate` exactly so often, at least once, gives `known`."""
    try:
        value = bytes.fromhex(candidate)
    except ValueError:
        return False
    if len(value) != 32 or steps < 1:
        return False
    for _ in range(steps):
        value = hashlib.sha256(value).digest()
    return value.hex() == known


def combine(shares: Mapping[str, str], round_index: int, log_head: str) -> str:
    """Return the beacon: sha256 over head, round and (validator, element) pairs in key order."""
    text = f"{log_head}|{round_index}|" + "|".join(f"{k}:{shares[k]}" for k in sorted(shares))
    return hashlib.sha256(text.encode()).hexdigest()
