"""What a mint answers (NUT-01 to NUT-09): its form and sizes are checked here, nothing is believed.

Every reader takes JSON that was capped and parsed, and raises ValueError, TypeError, LookupError or
AttributeError for another form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.payments.cashu import points
from kumiai.adapters.payments.cashu.keysets import (
    KEY_COUNT_MAX,
    KEYSET_COUNT_MAX,
    Keyset,
    check_keyset,
)
from kumiai.adapters.payments.cashu.tokens import AMOUNT_MAX, Dleq

QUOTE_CHARS_MAX = 256
INVOICE_CHARS_MAX = 4_096
PREIMAGE_CHARS_MAX = 256
TIME_S_MAX = 2**40


@dataclass(frozen=True, slots=True)
class BlindSignature:
    """The mint's answer to one blinded message; e and s prove it (NUT-12)."""

    amount: int
    keyset: str
    point: str
    e: str
    s: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What the mint asks for ecash: pay `bolt11`, then `id` fetches it (NUT-04)."""

    id: str
    bolt11: str
    amount: int
    state: str  # UNPAID | PAID | ISSUED
    expires_at_s: int = 0  # 0: never


@dataclass(frozen=True, slots=True)
class MeltQuote:
    """What the mint asks for paying an invoice, and what became of that (NUT-05, NUT-08)."""

    id: str
    amount: int
    fee_reserve: int
    state: str  # UNPAID | PENDING | PAID
    expires_at_s: int = 0
    preimage: str = ""
    change: tuple[BlindSignature, ...] = ()  # on the first of the blank outputs, in their order


@dataclass(frozen=True, slots=True)
class ProofState:
    """What the mint says of one proof (NUT-07): UNSPENT, PENDING or SPENT."""

    y: str
    state: str
    witness: str | None


def read_nuts(info: Any) -> frozenset[int]:
    """A document counts unless it is switched off; 4 and 5 list methods, others `supported`."""
    numbers = set()
    for name, value in info["nuts"].items():
        if not name.isdecimal() or len(name) > 4 or not isinstance(value, dict):
            continue
        if value.get("disabled") is not True and value.get("supported", True) is not False:
            numbers.add(int(name))
    return frozenset(numbers)


def read_keyset_list(answer: Any) -> list[dict[str, Any]]:
    """Return the mint's list of keysets, entries with an id and a unit."""
    entries = answer["keysets"]
    if not isinstance(entries, list) or len(entries) > KEYSET_COUNT_MAX:
        raise ValueError(f"not a list of at most {KEYSET_COUNT_MAX} keysets")
    for entry in entries:
        if not isinstance(entry["id"], str) or not entry["id"].isprintable():
            raise ValueError("a keyset without an id")
        if not isinstance(entry["unit"], str):
            raise ValueError("a keyset without a unit")
    return entries


def read_keyset(entry: dict[str, Any], answer: Any) -> Keyset:
    """Return one keyset whose keys are those of its id."""
    found = [item for item in answer["keysets"] if item["id"] == entry["id"]]
    keys = {int(amount): str(key) for amount, key in found[0]["keys"].items()} if found else {}
    expiry = entry.get("final_expiry")
    keyset = Keyset(
        id=entry["id"],
        unit=str(entry["unit"]),
        is_active=entry["active"] is True,
        input_fee_ppk=int(entry.get("input_fee_ppk") or 0),
        final_expiry_s=None if expiry is None else int(expiry),
        keys=keys,
    )
    check_keyset(keyset)
    return keyset


def read_quote(answer: Any) -> Quote:
    """Return a quote for ecash (NUT-04)."""
    bolt11, state = answer["request"], answer["state"]
    if not isinstance(bolt11, str) or len(bolt11) > INVOICE_CHARS_MAX:
        raise ValueError("a quote without an invoice")
    if state not in {"UNPAID", "PAID", "ISSUED", "PENDING"}:
        raise ValueError(f"state {str(state)[:20]!r} is unknown")
    amount = _read_amount(answer["amount"]) if answer.get("amount") is not None else 0
    return Quote(_read_id(answer), bolt11, amount, state, _read_expiry(answer))


def read_melt_quote(answer: Any) -> MeltQuote:
    """Return a quote for a payment, and what became of it (NUT-05)."""
    state, preimage, change = answer["state"], answer.get("payment_preimage"), answer.get("change")
    if state not in {"UNPAID", "PENDING", "PAID"}:
        raise ValueError(f"state {str(state)[:20]!r} is unknown")
    if preimage is not None and (
        not isinstance(preimage, str) or len(preimage) > PREIMAGE_CHARS_MAX
    ):
        raise ValueError("a preimage that is none")
    if change is not None and (not isinstance(change, list) or len(change) > KEY_COUNT_MAX):
        raise ValueError(f"change that is no list of at most {KEY_COUNT_MAX}")
    return MeltQuote(
        _read_id(answer),
        _read_amount(answer["amount"]),
        _read_amount(answer["fee_reserve"]),
        state,
        _read_expiry(answer),
        preimage or "",
        tuple(_read_signature(entry) for entry in change or ()),
    )


def _read_id(answer: Any) -> str:
    quote = answer["quote"]
    if not isinstance(quote, str) or not 0 < len(quote) <= QUOTE_CHARS_MAX or not quote.isascii():
        raise ValueError("a quote without an id")
    if not quote.replace("-", "").replace("_", "").isalnum():
        raise ValueError("a quote id that is no part of an address")
    return quote


def _read_amount(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= AMOUNT_MAX:
        raise ValueError(f"an amount that is not in 0..{AMOUNT_MAX}")
    return value


def _read_expiry(answer: Any) -> int:
    expiry = answer.get("expiry")
    if expiry is None:
        return 0
    if not isinstance(expiry, int) or not 0 <= expiry <= TIME_S_MAX:
        raise ValueError("an expiry that is no time")
    return expiry


def read_signatures(answer: Any, count: int) -> list[BlindSignature]:
    """Return exactly `count` signatures."""
    entries = answer["signatures"]
    if not isinstance(entries, list) or len(entries) != count:
        raise ValueError(f"not {count} signatures")
    return [_read_signature(entry) for entry in entries]


def read_restored(answer: Any, outputs: Sequence[dict[str, Any]]) -> dict[str, BlindSignature]:
    """Return the signatures of what was asked for, by the blinded point (NUT-09)."""
    pairs = zip(answer["outputs"], answer["signatures"], strict=True)
    asked = {output["B_"] for output in outputs}
    return {item["B_"]: _read_signature(entry) for item, entry in pairs if item["B_"] in asked}


def _read_signature(entry: Any) -> BlindSignature:
    amount, point = _read_amount(entry["amount"]), entry["C_"]
    if not isinstance(point, str):
        raise ValueError("a signature without amount or point")
    points.read_point(point)
    dleq = entry.get("dleq") or {}
    e, s = str(dleq.get("e", "")), str(dleq.get("s", ""))
    return BlindSignature(amount, str(entry["id"]), point, e, s)


def read_states(answer: Any, ys: Sequence[str]) -> list[ProofState]:
    """Return the states of these proofs, in their order."""
    known = {entry["Y"]: entry for entry in answer["states"]}
    states = []
    for y in ys:
        state, witness = known[y]["state"], known[y].get("witness")
        if state not in {"UNSPENT", "PENDING", "SPENT"}:
            raise ValueError(f"state {str(state)[:20]!r} is unknown")
        states.append(ProofState(y, state, witness if isinstance(witness, str) else None))
    return states


def to_dleq(signature: BlindSignature, factor: str) -> Dleq:
    """Return what a token must carry so that its receiver can check this signature."""
    return Dleq(signature.e, signature.s, factor)
