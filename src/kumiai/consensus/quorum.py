"""How many validators must agree so that no two groups can decide differently.

Source: M. Castro, B. Liskov, Practical Byzantine Fault Tolerance, OSDI 1999, section 3 (n >= 3f+1).
f = floor((n-1)/3) validators may be Byzantine; q = floor((n+f)/2) + 1 signatures decide. Any two
sets of q among n share at least f+1 members, so at least one honest one, and q <= n-f, so the
honest ones alone suffice. n counts the committee's snapshot, never those who happened to answer.
"""

from __future__ import annotations


def compute_fault_tolerance(committee_size: int) -> int:
    """Return f, the number of Byzantine validators a committee of this size tolerates."""
    if committee_size < 1:
        raise ValueError(f"a committee of {committee_size} cannot decide anything")
    return (committee_size - 1) // 3


def compute_quorum(committee_size: int) -> int:
    """Return q, the number of equal signatures that decide."""
    return (committee_size + compute_fault_tolerance(committee_size)) // 2 + 1
