"""Who may spend a proof: the lock as the text that the mint signed (NUT-10, NUT-11, NUT-14).

P2PK: `signatures_required` of `signers` sign. HTLC: they do so and show the preimage of a hash.
From the locktime on, `refund` alone may spend as well; the signers still may, so whoever comes
first is paid. A lock without a refund key is refused here in both directions: after its locktime
anybody could spend it.

Signatures cover the secret and not what is bought with it (SIG_INPUTS): one that was given away can
be used by its holder together with his own, for whichever side he is on. It goes to nobody but the
one who shall redeem, encrypted, as the token does. (SIG_ALL would bind it, but then who redeems
must be known, with his blinded outputs, when the signature is made.)
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from kumiai.adapters.payments.cashu import points
from kumiai.adapters.payments.cashu.tokens import SECRET_CHARS_MAX
from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError
from kumiai.base.keys import SigningKey, is_signature, sign_digest
from kumiai.nodes.market.ports import EcashLock

SIGNER_COUNT_MAX = 8
LOCKTIME_MAX_S = 2**40
_CHANCE_DIGITS = 8  # of a nonce; pieces of one token are no more than a few
_SINGLE_TAGS = frozenset({"sigflag", "locktime", "n_sigs", "n_sigs_refund"})
_LIST_TAGS = frozenset({"refund", "pubkeys"})


def check_lock(lock: EcashLock) -> None:
    """Raise InputError unless every mint takes this lock and it leads back to somebody."""
    if not 1 <= len(lock.signers) <= SIGNER_COUNT_MAX:
        raise InputError("lock.signers", len(lock.signers), f"name 1 to {SIGNER_COUNT_MAX} keys")
    if len({key[2:] for key in lock.signers}) != len(lock.signers):
        raise InputError("lock.signers", list(lock.signers), "name each signer once")
    for name, key in [("lock.signers", key) for key in lock.signers] + [
        ("lock.refund", lock.refund)
    ]:
        try:
            points.read_point(key)
        except ValueError as error:
            raise InputError(name, key, f"give a compressed public key: {error}") from error
    if not 1 <= lock.signatures_required <= len(lock.signers):
        raise InputError(
            "lock.signatures_required", lock.signatures_required, "at least 1, at most the signers"
        )
    if not 0 < lock.locktime_s <= LOCKTIME_MAX_S:
        raise InputError("lock.locktime_s", lock.locktime_s, "give a time in seconds since 1970")
    if lock.payment_hash and not is_hash(lock.payment_hash):
        raise InputError("lock.payment_hash", lock.payment_hash, "give 64 lower-case hex digits")
    if lock.about and not is_hash(lock.about):
        raise InputError("lock.about", lock.about, "give 64 lower-case hex digits")


def make_nonce(about: str = "") -> str:
    """Return 32 hex digits unlike all others; with `about`, `is_about` finds that in them."""
    if not about:
        return secrets.token_hex(16)
    return _bind(secrets.token_hex(4), about)


def is_about(secret: str, about: str) -> bool:
    """Tell whether the nonce of a secret was made for `about`; False for what is no lock."""
    try:
        match json.loads(secret):
            case [str(), {"nonce": str(nonce)}]:
                return nonce == _bind(nonce[:_CHANCE_DIGITS], about)
    except (ValueError, RecursionError):
        pass
    return False


def _bind(chance: str, about: str) -> str:
    bound = hashlib.sha256((chance + about).encode(errors="replace")).hexdigest()
    return chance + bound[: 32 - _CHANCE_DIGITS]


def encode_secret(lock: EcashLock, nonce: str) -> str:
    """Return the secret that binds a proof to `lock`; `nonce` makes it unlike all others."""
    tags = [["sigflag", "SIG_INPUTS"], ["locktime", str(lock.locktime_s)], ["refund", lock.refund]]
    keys = lock.signers if lock.payment_hash else lock.signers[1:]
    if keys:
        tags.append(["pubkeys", *keys])
    if lock.signatures_required > 1:
        tags.append(["n_sigs", str(lock.signatures_required)])
    data = lock.payment_hash or lock.signers[0]
    kind = "HTLC" if lock.payment_hash else "P2PK"
    return json.dumps([kind, {"nonce": nonce, "data": data, "tags": tags}], separators=(",", ":"))


def decode_secret(secret: str) -> EcashLock | None:
    """Return the lock in a secret, or None for a plain one, that whoever holds it may spend.

    Raises ValueError for any lock that `encode_secret` could not say: unknown kinds and tags, a tag
    or field twice, no refund, SIG_ALL, several refund keys. Mints differ in how they read those.
    """
    if len(secret) > SECRET_CHARS_MAX:
        raise ValueError("the secret is too long")
    if not secret.lstrip().startswith("["):
        return None
    try:
        document = json.loads(secret, object_pairs_hook=_read_object)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError("a secret that begins like a lock and is none") from error
    match document:
        case [("P2PK" | "HTLC") as kind, {"nonce": str(), "data": str(data), "tags": list(items)}]:
            tags = _read_tags(items)
        case _:
            raise ValueError("not a lock with nonce, data and tags")
    if tags.get("sigflag", ["SIG_INPUTS"]) != ["SIG_INPUTS"]:
        raise ValueError("signatures over the outputs (SIG_ALL) are not used here")
    if len(tags.get("refund", [])) != 1 or tags.get("n_sigs_refund", ["1"]) != ["1"]:
        raise ValueError("no refund key, or several: anybody or several could spend it later")
    keys = tuple(tags.get("pubkeys", []))
    lock = EcashLock(
        signers=keys if kind == "HTLC" else (data, *keys),
        signatures_required=_read_integer(tags.get("n_sigs", ["1"])[0]),
        locktime_s=_read_integer(tags.get("locktime", [""])[0]),
        refund=tags["refund"][0],
        payment_hash=data if kind == "HTLC" else "",
    )
    try:
        check_lock(lock)
    except InputError as error:
        raise ValueError(str(error)) from error
    if kind == "HTLC" and not lock.payment_hash:
        raise ValueError("an HTLC without a hash")
    return lock


def find_kind(secret: str) -> str | None:
    """Return P2PK or HTLC for any lock that our signature alone may open, also one of others' make.

    None for a plain secret; ValueError for a lock that wants its signatures over the outputs.
    """
    try:
        document = json.loads(secret)
    except (ValueError, RecursionError):
        return None
    match document:
        case [("P2PK" | "HTLC") as kind, {"tags": list(tags)}]:
            if ["sigflag", "SIG_ALL"] in tags:
                raise ValueError("signatures over the outputs (SIG_ALL) are not made here")
            return str(kind)
        case [("P2PK" | "HTLC") as kind, dict()]:
            return str(kind)
    return None


def is_same_lock(one: EcashLock, other: EcashLock) -> bool:
    """Tell whether two locks let the same parties spend at the same time; order does not matter."""
    return (
        set(one.signers) == set(other.signers)
        and one.signatures_required == other.signatures_required
        and one.locktime_s == other.locktime_s
        and one.refund == other.refund
        and one.payment_hash == other.payment_hash
    )


def sign_secret(key: SigningKey, secret: str) -> str:
    """Sign as NUT-11 wants it: BIP-340 over the sha256 of the secret's text; 128 hex digits."""
    return sign_digest(key, hashlib.sha256(secret.encode()).digest())


def has_signed(pubkey: str, secret: str, signature: str) -> bool:
    """Tell whether the owner of the compressed key signed this secret."""
    return is_signature(pubkey[2:], hashlib.sha256(secret.encode()).digest(), signature)


def encode_witness(signatures: list[str], preimage: str | None) -> str:
    """Return what is shown to the mint with a proof; the preimage only where there is one."""
    witness: dict[str, Any] = {"signatures": signatures}
    if preimage is not None:
        witness["preimage"] = preimage
    return json.dumps(witness, separators=(",", ":"))


def read_preimage(witness: object, payment_hash: str) -> str | None:
    """Return the preimage in a spent proof's witness; None if it is not the hash's."""
    try:
        document = json.loads(witness) if isinstance(witness, str) else witness
        preimage = document.get("preimage") if isinstance(document, dict) else None
        if isinstance(preimage, str) and is_hash(preimage):
            digest = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
            return preimage if digest == payment_hash else None
    except (ValueError, RecursionError):
        pass
    return None


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if {name for name, _ in pairs} - {"nonce", "data", "tags"} or len(dict(pairs)) != len(pairs):
        raise ValueError("a lock has nonce, data and tags, each once")
    return dict(pairs)


def _read_tags(items: list[Any]) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = {}
    for item in items:
        if not isinstance(item, list) or not all(isinstance(x, str) and x for x in item):
            raise ValueError("a tag is a list of texts")
        name, values = (item[0], item[1:]) if item else ("", [])
        if name not in _SINGLE_TAGS | _LIST_TAGS or name in tags or not values:
            raise ValueError(f"tag {name!r} is unknown, empty or comes twice")
        if name in _SINGLE_TAGS and len(values) != 1:
            raise ValueError(f"tag {name} has one value")
        tags[name] = values
    return tags


def _read_integer(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 13 and str(int(text)) == text:
        return int(text)
    raise ValueError(f"{text[:20]!r} is no number")
