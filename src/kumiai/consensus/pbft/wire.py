"""Messages as bytes: canonical JSON, sizes and counts capped before anything is believed.

Every message is an array that begins with its name. `decode` refuses all that `encode` would not
have written; it checks no signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kumiai.base import canonical
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import COMMITTEE_SIZE_MAX
from kumiai.consensus.pbft.proofs import Equivocation

MESSAGE_BYTES_MAX = 4 * 1024 * 1024  # a NEW-VIEW of a large committee; a batch of 1 MiB, escaped
PROOFS_MAX = 1_024  # in one VIEW-CHANGE
SIGNATURE_CHARACTERS = 128

_VOTES: Mapping[str, type[Any]] = {body.type: body for body in (m.PrePrepare, m.Prepare, m.Commit)}


def encode(message: m.Message) -> bytes:
    """Return the message's bytes."""
    if isinstance(message, m.Request):
        document: list[object] = ["request", *_write_request(message)]
    elif isinstance(message, m.Proposal):
        document = ["proposal", write_signed(message.order), write_batch(message.batch)]
    elif isinstance(message, m.Decided):
        proof = message.proof
        place = [proof.view, proof.sequence, proof.digest, proof.commits]
        document = ["decided", write_batch(message.batch), place]
    elif isinstance(message, m.Found):
        document = ["found", message.sequence, write_batch(message.batch)]
    else:
        document = ["signed", write_signed(message)]
    return canonical.encode(document)


def decode(data: bytes) -> m.Message:
    """Read one message; raises ValueError for what no `encode` wrote, or what is too big."""
    name, *fields = _list(canonical.decode(data, MESSAGE_BYTES_MAX), 1, 8)
    readers: dict[str, Callable[..., m.Message]] = {
        "request": lambda *given: _read_request(given),
        "proposal": lambda order, batch: m.Proposal(read_signed(order), read_batch(batch)),
        "decided": lambda batch, proof: m.Decided(read_batch(batch), _read_commit_proof(proof)),
        "found": lambda place, batch: m.Found(_number(place), read_batch(batch)),
        "signed": read_signed,
    }
    message: m.Message = _call(readers, name, fields)
    return message


def encode_evidence(found: Equivocation) -> bytes:
    """Return the bytes of a proof of a fault, for whoever is to judge it later, anywhere."""
    return canonical.encode(["evidence", write_signed(found.first), write_signed(found.second)])


def decode_evidence(data: bytes) -> Equivocation:
    """Read one; raises ValueError for what is none. `proofs.is_equivocation` judges it."""
    name, first, second = _list(canonical.decode(data, MESSAGE_BYTES_MAX), 3, 3)
    if name != "evidence":
        raise ValueError("it is no evidence")
    return Equivocation(read_signed(first), read_signed(second))


def _write_request(request: m.Request) -> list[object]:
    return [request.client, request.timestamp, request.operation, request.signature]


def write_batch(batch: m.Batch) -> list[object]:
    """Return a batch as arrays and numbers."""
    return [batch.time_ms, [_write_request(request) for request in batch.requests]]


def write_signed(signed: m.Signed) -> list[object]:
    """Return a signed body as arrays, numbers and text."""
    body = signed.body
    fields = body.fields()
    if isinstance(body, m.NewView):
        fields = (body.view, [write_signed(change) for change in body.changes], body.proposals)
    return [body.type, fields, signed.sender, signed.signature]


def read_signed(document: object) -> m.Signed:
    """Read what `write_signed` wrote; raises ValueError."""
    name, fields, sender, signature = _list(document, 4, 4)
    readers: dict[str, Callable[..., m.Body]] = {
        **{kind: _read_vote(body) for kind, body in _VOTES.items()},
        "checkpoint": lambda place, head: m.Checkpoint(_number(place), _hash(head)),
        "view-change": lambda view, stable, proofs: m.ViewChange(
            _number(view),
            read_stable(stable),
            tuple(read_prepared(proof) for proof in _list(proofs, 0, PROOFS_MAX)),
        ),
        "new-view": _read_new_view,
        "status": lambda view, flag, executed: m.Status(
            _number(view), _flag(flag), _number(executed)
        ),
        "fetch": lambda place, digest: m.Fetch(_number(place), _hash(digest)),
    }
    body = _call(readers, name, _list(fields, 0, 8))
    return m.Signed(body, _number(sender), _signature(signature))


def _read_vote(body: type[Any]) -> Callable[..., m.Body]:
    def read(view: object, place: object, digest: object) -> m.Body:
        vote: m.Body = body(_number(view), _number(place), _hash(digest))
        return vote

    return read


def _read_new_view(view: object, changes: object, proposals: object) -> m.NewView:
    shown = [_list(change, 4, 4) for change in _list(changes, 0, COMMITTEE_SIZE_MAX)]
    if any(change[0] != m.ViewChange.type for change in shown):  # no new view within a new view
        raise ValueError("a new view shows what is no view change")
    return m.NewView(
        _number(view),
        tuple(read_signed(change) for change in shown),
        tuple(_signature(each) for each in _list(proposals, 0, PROOFS_MAX)),
    )


def _read_request(fields: object) -> m.Request:
    client, timestamp, operation, signature = _list(fields, 4, 4)
    if not isinstance(operation, str) or len(operation) > m.OPERATION_BYTES_MAX:
        raise ValueError("an operation is no text, or too long")
    return m.Request(_hash(client), _number(timestamp), operation, _signature(signature))


def read_batch(document: object) -> m.Batch:
    """Read what `write_batch` wrote; raises ValueError."""
    time_ms, requests = _list(document, 2, 2)
    return m.Batch(
        tuple(_read_request(each) for each in _list(requests, 0, m.BATCH_COUNT_MAX)),
        _number(time_ms),
    )


def _read_commit_proof(document: object) -> m.CommitProof:
    view, place, digest, commits = _list(document, 4, 4)
    return m.CommitProof(_number(view), _number(place), _hash(digest), _read_pairs(commits))


def read_prepared(document: object) -> m.PreparedProof:
    """Read a proof's fields; raises ValueError."""
    view, place, digest, proposal, prepares = _list(document, 5, 5)
    return m.PreparedProof(
        _number(view), _number(place), _hash(digest), _signature(proposal), _read_pairs(prepares)
    )


def read_stable(document: object) -> m.StableProof:
    """Read a proof's fields; raises ValueError."""
    place, head, checkpoints = _list(document, 3, 3)
    return m.StableProof(_number(place), _hash(head), _read_pairs(checkpoints))


def _read_pairs(document: object) -> tuple[tuple[int, str], ...]:
    pairs = (_list(pair, 2, 2) for pair in _list(document, 0, COMMITTEE_SIZE_MAX))
    return tuple((_number(sender), _signature(signature)) for sender, signature in pairs)


def _call(readers: Mapping[str, Callable[..., Any]], name: object, fields: list[object]) -> Any:
    reader = readers.get(name) if isinstance(name, str) else None
    if reader is None:
        raise ValueError(f"no message is called {str(name)[:40]!r}")
    try:
        return reader(*fields)
    except TypeError as error:
        raise ValueError(f"{name} with {len(fields)} fields") from error


def _list(document: object, least: int, most: int) -> list[Any]:
    if not isinstance(document, list | tuple) or not least <= len(document) <= most:
        raise ValueError(f"expected an array of {least} to {most}")
    return list(document)


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a number")
    if not 0 <= value <= canonical.INTEGER_MAX:
        raise ValueError("expected a number of 0 or more")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _hash(value: object) -> str:
    if not isinstance(value, str) or not canonical.is_hash(value):
        raise ValueError("expected a hash of 64 digits")
    return value


def _signature(value: object) -> str:
    if not isinstance(value, str) or len(value) > SIGNATURE_CHARACTERS:
        raise ValueError(f"expected a signature of at most {SIGNATURE_CHARACTERS} characters")
    return value
