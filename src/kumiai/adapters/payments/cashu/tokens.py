"""Proofs and the texts they travel in: TokenV4 is written, V4 and V3 are read (NUT-00).

A proof is money: whoever knows `secret` and `signature` may spend it, unless the secret says who
must sign (`conditions`). A token comes from a peer: its size is capped before it is parsed, and
every field has a type and a range. Errors are ValueError with one sentence.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.payments.cashu import cbor, points

TOKEN_CHARS_MAX = 65_536
PROOF_COUNT_MAX = 64
SECRET_CHARS_MAX = 1_024  # what the reference mint takes
AMOUNT_MAX = 2**53 - 1  # also JSON's: the mint answers in JSON
KEYSET_SHORT_HEX = 16  # of a version 1 keyset a token names only the beginning (NUT-02)


@dataclass(frozen=True, slots=True)
class Dleq:
    """What shows that the mint made the signature (NUT-12); r is the blinding factor."""

    e: str
    s: str
    r: str


@dataclass(frozen=True, slots=True)
class Proof:
    """One piece of ecash: `signature` (C) of the mint on `secret`, worth `amount` units."""

    amount: int
    keyset: str  # in a token perhaps only the beginning of the id
    secret: str
    signature: str
    dleq: Dleq | None = None

    @property
    def y(self) -> str:
        """The point under which the mint knows this proof."""
        return points.hash_to_curve(self.secret)

    def to_dict(self) -> dict[str, Any]:
        """Return the mint's own form (NUT-00), without the proof of the signature."""
        return {
            "amount": self.amount,
            "id": self.keyset,
            "secret": self.secret,
            "C": self.signature,
        }


@dataclass(frozen=True, slots=True)
class Token:
    """Proofs of one mint and unit."""

    mint: str
    unit: str
    proofs: tuple[Proof, ...]

    @property
    def amount(self) -> int:
        """The sum of the proofs, before the mint's fee."""
        return sum(proof.amount for proof in self.proofs)


def encode_token(token: Token) -> str:
    """Return the TokenV4 text; short keyset ids, with what proves the signatures."""
    by_keyset: dict[str, list[cbor.Item]] = {}
    for proof in token.proofs:
        short = proof.keyset[:KEYSET_SHORT_HEX]
        item: dict[str, cbor.Item] = {
            "a": proof.amount,
            "s": proof.secret,
            "c": bytes.fromhex(proof.signature),
        }
        if proof.dleq is not None:
            dleq = proof.dleq
            fields = {"e": dleq.e, "s": dleq.s, "r": dleq.r}
            item["d"] = {name: bytes.fromhex(value) for name, value in fields.items()}
        by_keyset.setdefault(short, []).append(item)
    groups: list[cbor.Item] = [
        {"i": bytes.fromhex(short), "p": proofs} for short, proofs in by_keyset.items()
    ]
    raw = cbor.encode({"m": token.mint, "u": token.unit, "t": groups})
    return "cashuB" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_token(text: str) -> Token:
    """Parse a token; raises ValueError for another version, a wrong field or too many of them."""
    if not isinstance(text, str) or len(text) > TOKEN_CHARS_MAX:
        raise ValueError(f"a token has at most {TOKEN_CHARS_MAX} characters")
    version, payload = text[:6], text[6:].rstrip("=")
    try:
        raw = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
        if version == "cashuB":
            return _read_v4(cbor.decode(raw))
        if version == "cashuA":
            return _read_v3(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a Cashu token: {error}") from error
    raise ValueError("not a Cashu token: it begins with cashuA or cashuB")


def read_dleq(value: object) -> Dleq | None:
    """Parse JSON's {e, s, r}, as V3 tokens hold it; None for none."""
    if value is None:
        return None
    fields = _as_map(value)
    return Dleq(*(_hex(fields.get(name), points.SCALAR_HEX) for name in ("e", "s", "r")))


def check_proofs(proofs: Sequence[Proof]) -> tuple[Proof, ...]:
    """Return them; raises ValueError unless there are some, not too many, each only once."""
    if not 1 <= len(proofs) <= PROOF_COUNT_MAX:
        raise ValueError(f"{len(proofs)} proofs: a token has 1 to {PROOF_COUNT_MAX}")
    if len({proof.secret for proof in proofs}) != len(proofs):
        raise ValueError("a proof comes twice")
    return tuple(proofs)


def _read_v4(item: cbor.Item) -> Token:
    token = _as_map(item)
    proofs: list[Proof] = []
    for group in _as_list(token.get("t")):
        fields = _as_map(group)
        keyset = _keyset(_raw_hex(fields.get("i")))
        for entry in _as_list(fields.get("p")):
            proof = _as_map(entry)
            dleq = proof.get("d")
            if dleq is not None:
                dleq = {name: _raw_hex(value) for name, value in _as_map(dleq).items()}
            proofs.append(
                _read_proof(proof.get("a"), keyset, proof.get("s"), _raw_hex(proof.get("c")), dleq)
            )
    return Token(_text(token.get("m"), 512), _text(token.get("u"), 16), check_proofs(proofs))


def _read_v3(document: object) -> Token:
    token = _as_map(document)
    groups = [_as_map(group) for group in _as_list(token.get("token"))]
    mints = {_text(group.get("mint"), 512) for group in groups}
    if len(mints) != 1:
        raise ValueError("proofs of several mints, or of none")
    proofs: list[Proof] = []
    for group in groups:
        for entry in _as_list(group.get("proofs")):
            proof = _as_map(entry)
            keyset = _keyset(proof.get("id"))
            proofs.append(
                _read_proof(
                    proof.get("amount"),
                    keyset,
                    proof.get("secret"),
                    proof.get("C"),
                    proof.get("dleq"),
                )
            )
    return Token(mints.pop(), _text(token.get("unit", "sat"), 16), check_proofs(proofs))


def _read_proof(amount: object, keyset: str, secret: object, point: object, dleq: object) -> Proof:
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 < amount <= AMOUNT_MAX:
        raise ValueError(f"amount {amount!r} is not in 1..{AMOUNT_MAX}")
    signature = _hex(point, points.POINT_HEX)
    return Proof(amount, keyset, _text(secret, SECRET_CHARS_MAX), signature, read_dleq(dleq))


def _keyset(value: object) -> str:
    if isinstance(value, str) and len(value) in {KEYSET_SHORT_HEX, points.POINT_HEX}:
        return _hex(value, len(value))
    raise ValueError("a keyset id has 16 or 66 hex digits")


def _raw_hex(value: object) -> str:
    if not isinstance(value, bytes) or len(value) > 64:
        raise ValueError("bytes were expected")
    return value.hex()


def _hex(value: object, digit_count: int) -> str:
    if isinstance(value, str) and len(value) == digit_count and value.lower() == value:
        return bytes.fromhex(value).hex()
    raise ValueError(f"{digit_count} lower-case hex digits were expected")


def _text(value: object, char_count_max: int) -> str:
    if isinstance(value, str) and 0 < len(value) <= char_count_max and value.isprintable():
        return value
    raise ValueError(f"a text of 1 to {char_count_max} characters was expected")


def _as_map(value: object) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError("a map was expected")


def _as_list(value: object) -> Sequence[Any]:
    if isinstance(value, list) and len(value) <= PROOF_COUNT_MAX:
        return value
    raise ValueError(f"a list of at most {PROOF_COUNT_MAX} was expected")
