"""BOLT11 invoices: read whatever a peer sends, and sign those of the embedded bank.

Source: lightning/bolts, 11-payment-encoding.md. The only module that imports the library `bolt11`.
Deviations, all stricter than the library: mixed case, amounts below one msat and invoices without
an amount are refused; the amount is read as an integer, never through a decimal fraction.

Guarantee: `decode` returns what the owner of `payee` signed. A changed letter that leaves the
checksum whole (anybody can compute a new one) gives ANOTHER payee, not an error: compare `payee`
with the one that was agreed. Cost: some 2 ms each, and several times that beside threads that
compute, nearly all of a payment at the embedded bank (benchmarks/market_wallet.py); so texts that
were read, or made here (`remember`), are remembered.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError, KumiaiError
from kumiai.nodes.market.ports import Invoice

try:
    import bolt11 as library
except ModuleNotFoundError as missing:  # the extra's package, not ours
    raise KumiaiError(
        f"{missing.name} is not installed: `pip install 'kumiai[market]'` brings it"
    ) from missing

INVOICE_CHARS_MAX: Final = 2_048  # ours have about 300; many route hints make some 1,200
DESCRIPTION_BYTES_MAX: Final = 639  # a tagged field holds at most 1,023 groups of 5 bits
AMOUNT_MSAT_MAX: Final = 21_000_000 * 10**11  # every bitcoin there will be
SIGNED_MSAT_MAX: Final = 1_000 * 10**11 - 1  # the library writes 1,000 BTC as 1
EXPIRY_S_MAX: Final = 366 * 86_400
TIME_S_MAX: Final = 2**35 - 1  # the field has 35 bits
NETWORKS: Final = ("bc", "tb", "tbs", "bcrt")  # main, test, signet, regtest
REGTEST: Final = "bcrt"

_HEAD = re.compile(r"ln(bcrt|bc|tbs|tb)([1-9][0-9]{0,18})([munp]?)")
# What one unit of the amount is worth in tenths of a msat: 1 BTC = 10**11 msat.
_TENTHS: Final = {"": 10**12, "m": 10**9, "u": 10**6, "n": 10**3, "p": 1}
_FINAL_CLTV_BLOCKS: Final = 18


def decode(text: str) -> Invoice:
    """Read an invoice, once; InputError says what is wrong with one that is not whole."""
    if len(text) > INVOICE_CHARS_MAX:
        raise _refuse(text[:40], f"{len(text)} characters, at most {INVOICE_CHARS_MAX} are read")
    known = _get_known(text)
    if not known:
        known.append(read(text))
    return known[0]


def remember(invoice: Invoice) -> None:
    """Spare `decode` the work for what we have signed just now. Never for what another made."""
    _get_known(invoice.bolt11).append(invoice)


@lru_cache(maxsize=1_024)
def _get_known(text: str) -> list[Invoice]:
    """The place for what is in a text; empty until it was read."""
    return []


def read(text: str) -> Invoice:
    """Read an invoice anew, of at most INVOICE_CHARS_MAX characters; as `decode` otherwise."""
    network, amount_msat = _read_head(text)
    try:
        found = library.decode(text)
        payee, payment_hash, expiry_s = found.payee or "", found.payment_hash, int(found.expiry)
        description = found.description or ""
    except Exception as error:  # the library lets through what its parts raise
        raise _refuse(text, f"no BOLT11 invoice: {error}") from error
    if not is_hash(payment_hash):
        raise _refuse(text, "its payment hash has not 32 bytes")
    if expiry_s > EXPIRY_S_MAX:
        raise _refuse(text, f"it lasts {expiry_s} s, at most {EXPIRY_S_MAX} are allowed")
    if found.currency != network:
        raise _refuse(text, "its network is not the one of its first letters")
    return Invoice(
        bolt11=text.lower(),
        payment_hash=payment_hash,
        amount_msat=amount_msat,
        payee=payee,
        created_at_s=found.date,
        expires_at_s=found.date + expiry_s,
        description=description,
    )


def get_network(text: str) -> str:
    """Return the network that an invoice says it is for, one of NETWORKS; InputError if none."""
    return _read_head(text[:INVOICE_CHARS_MAX])[0]


def sign(
    secret: bytes,
    payment_hash: str,
    payment_secret: str,
    amount_msat: int,
    created_at_s: int,
    expiry_s: int,
    description: str = "",
    network: str = REGTEST,
) -> str:
    """Make an invoice signed by the node key `secret`; ValueError for what `decode` refuses."""
    check_terms(amount_msat, expiry_s, description)
    if not 0 <= created_at_s <= TIME_S_MAX or network not in NETWORKS:
        raise ValueError(f"time {created_at_s} or network {network!r} is out of range")
    Tag, State = library.TagChar, library.FeatureState
    tags = library.Tags()
    tags.add(Tag.payment_hash, payment_hash)
    tags.add(Tag.payment_secret, payment_secret)
    tags.add(Tag.description, description)
    tags.add(Tag.expire_time, expiry_s)
    tags.add(Tag.min_final_cltv_expiry, _FINAL_CLTV_BLOCKS)
    # a payment secret without these two bits is refused by readers that follow BOLT 9
    needed: dict[library.Feature | library.FeatureExtra, library.FeatureState] = {
        library.Feature.var_onion_optin: State.required,
        library.Feature.payment_secret: State.required,
    }
    tags.add(Tag.features, library.Features.from_feature_list(needed))
    amount = library.MilliSatoshi(amount_msat)
    invoice = library.Bolt11(network, created_at_s, tags, amount)
    return library.encode(invoice, secret.hex())


def check_terms(amount_msat: int, expiry_s: int, description: str) -> None:
    """Raise InputError for an amount, a life time or a text that no invoice of ours can have."""
    if isinstance(amount_msat, bool) or not 1 <= amount_msat <= SIGNED_MSAT_MAX:
        raise InputError("amount_msat", amount_msat, f"give 1 to {SIGNED_MSAT_MAX} msat")
    if not 1 <= expiry_s <= EXPIRY_S_MAX:
        raise InputError("expiry_s", expiry_s, f"give 1 to {EXPIRY_S_MAX} seconds")
    try:
        size_bytes = len(description.encode())
    except UnicodeEncodeError as error:
        raise InputError("description", description, "a text that has no UTF-8 form") from error
    if size_bytes > DESCRIPTION_BYTES_MAX:
        fix = f"{size_bytes} bytes, at most {DESCRIPTION_BYTES_MAX} fit"
        raise InputError("description", description, fix)


def _read_head(text: str) -> tuple[str, int]:
    if text not in (text.lower(), text.upper()):
        raise _refuse(text, "upper and lower case are mixed")
    head = _HEAD.fullmatch(text[: max(text.rfind("1"), 0)].lower())
    if head is None:
        raise _refuse(text, "no BOLT11 invoice with an amount: lnbc..., lntb..., lnbcrt...")
    network, digits, unit = head.groups()
    amount_msat, rest = divmod(int(digits) * _TENTHS[unit], 10)
    if rest or amount_msat > AMOUNT_MSAT_MAX:
        raise _refuse(text, "its amount is no whole number of msat, or more than there are")
    return network, amount_msat


def _refuse(text: str, fix: str) -> InputError:
    return InputError("invoice", text, fix)
