"""Blind signatures on secp256k1: what makes a mint's promise into ecash (NUT-00, NUT-12).

A mint has a key a with A = a*G for each amount. The wallet picks a secret and a blinding factor r
and sends B_ = Y + r*G with Y = hash_to_curve(secret); the mint answers C_ = a*B_; the wallet keeps
C = C_ - r*A = a*Y, which only the mint could make and which it cannot link to B_.

A DLEQ proof (e, s) shows that C_ was made with the same a as A: without it a mint could give
useless or marked signatures, and a token of made-up ones would look unspent to its receiver.

All points are compressed, 66 hex digits; all scalars 64 hex digits. What is malformed raises
ValueError: it came from a mint or a peer.
"""

from __future__ import annotations

import hashlib

from coincurve import PrivateKey, PublicKey

POINT_HEX = 66
SCALAR_HEX = 64

_DOMAIN = b"Secp256k1_HashToCurve_Cashu_"
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_ATTEMPTS_MAX = 2**16  # each succeeds with probability 1/2


def hash_to_curve(secret: str) -> str:
    """Return Y, the point that stands for `secret` at the mint."""
    digest = hashlib.sha256(_DOMAIN + secret.encode()).digest()
    for counter in range(_ATTEMPTS_MAX):
        x = hashlib.sha256(digest + counter.to_bytes(4, "little")).digest()
        try:
            return PublicKey(b"\x02" + x).format().hex()
        except ValueError:
            continue
    raise ValueError("no point on the curve for this secret")


def blind(secret: str, factor: str) -> str:
    """Return B_ = Y + r*G, the message that the mint signs."""
    return _sum(read_point(hash_to_curve(secret)), _base(factor)).format().hex()


def unblind(signature: str, factor: str, mint_key: str) -> str:
    """Return C = C_ - r*A, the signature on the secret itself."""
    shift = _times(read_point(mint_key), factor)
    return _sum(read_point(signature), _minus(shift)).format().hex()


def is_dleq(blinded: str, signature: str, mint_key: str, e: str, s: str) -> bool:
    """Tell whether C_ = a*B_ for the a of the mint's key: the wallet's view (NUT-12)."""
    try:
        key, b, c = (read_point(point) for point in (mint_key, blinded, signature))
        r1 = _sum(_base(s), _minus(_times(key, e)))
        r2 = _sum(_times(b, s), _minus(_times(c, e)))
    except ValueError:
        return False
    points = "".join(point.format(compressed=False).hex() for point in (r1, r2, key, c))
    return hashlib.sha256(points.encode()).hexdigest() == e


def is_dleq_of_token(secret: str, proof: str, mint_key: str, e: str, s: str, factor: str) -> bool:
    """The same for who receives a token (NUT-12): blind again with the factor that came with it."""
    try:
        shift = _times(read_point(mint_key), factor)
        signature = _sum(read_point(proof), shift).format().hex()
        return is_dleq(blind(secret, factor), signature, mint_key, e, s)
    except ValueError:
        return False


def read_point(text: str) -> PublicKey:
    """Parse a compressed point; raises ValueError unless it is lower-case hex and on the curve."""
    if len(text) != POINT_HEX or text[:2] not in {"02", "03"} or text.lower() != text:
        raise ValueError("a point is 66 lower-case hex digits that begin with 02 or 03")
    return PublicKey(bytes.fromhex(text))


def _read_scalar(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(text) != SCALAR_HEX or not 0 < int.from_bytes(raw, "big") < _ORDER:
        raise ValueError("a scalar is 64 hex digits, above 0 and below the order of the curve")
    return raw


def _base(scalar: str) -> PublicKey:
    return PrivateKey(_read_scalar(scalar)).public_key


def _times(point: PublicKey, scalar: str) -> PublicKey:
    return point.multiply(_read_scalar(scalar))


def _minus(point: PublicKey) -> PublicKey:
    raw = point.format()
    return PublicKey(bytes([raw[0] ^ 1]) + raw[1:])  # 02 and 03 are the two signs of y


def _sum(a: PublicKey, b: PublicKey) -> PublicKey:
    return PublicKey.combine_keys([a, b])  # ValueError where the sum has no affine form
