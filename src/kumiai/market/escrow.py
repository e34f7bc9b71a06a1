"""What a token in escrow pays for, as text that is locked into it.

A juror signs a token that it cannot tell from another: without this who wins a dispute of its own
making could show the ecash of somebody else's job. Source: docs/nip-training.md, section 6.
"""

from __future__ import annotations

from kumiai.base.canonical import hash_document


def name_work(job: str, contract: str, round_number: int, attempt: int) -> str:
    """Return 64 hex digits that stand for one attempt of one round of one contract."""
    return hash_document(["kumiai-escrow-1", job, contract, round_number, attempt])
