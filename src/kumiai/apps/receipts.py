"""Receipt files: one JSON document that proves itself, without the run it came from.

It holds the receipt, the Merkle path to the root in the round's certificate, the certificate's
body, and the signed events by which a quorum put their names under it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kumiai.base import canonical, events, merkle
from kumiai.base.events import Event
from kumiai.rounds.certificate import check_certificate
from kumiai.rounds.receipt import encode_receipt
from kumiai.rounds.signed import Certificate

FORMAT = "kumiai/receipt-file/1"
FILE_BYTES_MAX = 1_000_000


def make_receipt_files(
    certificate: Certificate,
    receipts: Sequence[Mapping[str, object]],
    signatures: Sequence[Event],
) -> list[tuple[str, bytes]]:
    """Return (file name, canonical bytes) for each receipt of a certified round."""
    proofs = merkle.compute_proofs([encode_receipt(receipt) for receipt in receipts])
    shared = {
        "format": FORMAT,
        "certificate": dict(certificate.body),
        "signatures": [canonical.decode(events.encode_event(e), 10**6) for e in signatures],
    }
    files = []
    for receipt, proof in zip(receipts, proofs, strict=True):
        path = {"index": proof.index, "size": proof.size, "path": list(proof.path)}
        document = {**shared, "receipt": dict(receipt), "proof": path}
        name = f"r{int(str(receipt['round'])):05d}-{str(receipt['member'])[:16]}.json"
        files.append((name, canonical.encode(document)))
    return files


def read_receipt_file(path: Path) -> dict[str, Any]:
    """Return the parsed file; ValueError when it is no canonical receipt file."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ValueError(f"bigger than {FILE_BYTES_MAX} bytes")
    document = canonical.decode(path.read_bytes(), FILE_BYTES_MAX)
    wanted = {"format", "certificate", "signatures", "receipt", "proof"}
    if not isinstance(document, dict) or set(document) != wanted or document["format"] != FORMAT:
        raise ValueError(f"a receipt file has exactly the fields {sorted(wanted)}")
    return document


def find_problems(document: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with a receipt file; empty means it proves what it says."""
    problems = []
    body, receipt = document["certificate"], document["receipt"]
    try:
        signatures = [
            events.decode_event(canonical.encode_checked(entry)) for entry in document["signatures"]
        ]
        problem = check_certificate(body, signatures)
        if problem is not None:
            problems.append(f"certificate: {problem.detail}")
        proof = merkle.MerkleProof(
            index=document["proof"]["index"],
            size=document["proof"]["size"],
            path=tuple(document["proof"]["path"]),
        )
        if proof.size != body["receipts_count"]:
            problems.append("proof: made for another number of receipts")
        if not merkle.is_included(encode_receipt(receipt), proof, body["receipts_root"]):
            problems.append("receipt: not in the certificate's tree, so not what was signed")
        problems += [
            f"receipt: {name} differs from the certificate's"
            for name in ("task", "round", "attempt")
            if receipt[name] != body[name]
        ]
        problems += check_arithmetic(receipt)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problems.append(f"malformed: {type(error).__name__} {error}")
    return problems


def check_arithmetic(receipt: Mapping[str, Any]) -> list[str]:
    """Recompute: gross = floor(pool * weight / weight_total) = amount + backers + locked."""
    names = ("pool", "weight", "weight_total", "gross", "to_backers", "locked", "amount")
    pool, weight, total, gross, backers, locked, amount = (int(receipt[name]) for name in names)
    problems = []
    if total and gross != pool * weight // total:
        problems.append(
            f"amount: gross is {gross}, pool * weight / total gives {pool * weight // total}"
        )
    if total and amount + backers + locked != gross:
        problems.append(f"amount: {amount} + {backers} + {locked} is not {gross}")
    return problems
