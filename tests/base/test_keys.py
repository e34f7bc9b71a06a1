"""Keys answer for what they sign, in one spelling only."""

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base import keys

KEY = keys.derive_key(b"seed", "trainer/1")
FUNDS = keys.derive_key(b"seed", "funds/1")
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

# BIP-340, test-vectors.csv: (secret, public key, auxiliary randomness, message, signature)
SIGNING_VECTORS = [
    (
        "0000000000000000000000000000000000000000000000000000000000000003",
        "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        (
            "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215"
            "25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0"
        ),
    ),
    (
        "b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef",
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "0000000000000000000000000000000000000000000000000000000000000001",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        (
            "6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de3341"
            "8906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a"
        ),
    ),
    (
        "c90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b14e5c9",
        "dd308afec5777e13121fa72b9cc1b7cc0139715309b086c960e18fd969774eb8",
        "c87aa53824b4d7ae2eb035a2b5bbbccc080e76cdc6d1692c4b0b62d798e6d906",
        "7e2d58d8b3bcdf1abadec7829054f90dda9805aab56c77333024b9d0a508b75c",
        (
            "5831aaeed7b44bb74e5eab94ba9d4294c49bcf2a60728d8b4c200f50dd313c1b"
            "ab745879a5ad954a72c45a91c3a51d3c7adea98d82f8481e0e1e03674a6f3fb7"
        ),
    ),
    (
        "0b432b2677937381aef05bb02a66ecd012773062cf3fa2549e44f58ed2401710",
        "25d1dff95105f5253c4022f628a996ad3a0d95fbf21d468a1b33f8c160d8f517",
        "f" * 64,
        "f" * 64,
        (
            "7eb0509757e246f19449885651611cb965ecc1a187dd51b64fda1edc9637d5ec"
            "97582b9cb13db3933705b32ba982af5af25fd78881ebb32771fc5922efc66ea3"
        ),
    ),
]
_PUBKEY = "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659"
_MESSAGE = "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89"
_R = "6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e177769"
_S = "69e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b"
# BIP-340 vectors 4 (good) and 5, 6, 8, 11 to 14 (bad): (public key, message, signature, good, why)
CHECKING_VECTORS = [
    (
        "d69c3509bb99e412e68b0fe8544e72837dfa30746d8be2aa65975f29d22dc7b9",
        "4df3c3f68fcc83b27e9d42c90431a72499f17875c81a599b566c9889b9696703",
        (
            "00000000000000000000003b78ce563f89a0ed9414f5aa28ad0d96d6795f9c63"
            "76afb1548af603b3eb45c9f8207dee1060cb71c04e80f593060b07d28308d7f4"
        ),
        True,
        "leading zeros",
    ),
    (
        "eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34",
        _MESSAGE,
        _R + _S,
        False,
        "public key not on the curve",
    ),
    (
        _PUBKEY,
        _MESSAGE,
        (
            "fff97bd5755eeea420453a14355235d382f6472f8568a18b2f057a1460297556"
            "3cc27944640ac607cd107ae10923d9ef7a73c643e166be5ebeafa34b1ac553e2"
        ),
        False,
        "has_even_y(R) is false",
    ),
    (
        _PUBKEY,
        _MESSAGE,
        _R + "961764b3aa9b2ffcb6ef947b6887a226e8d7c93e00c5ed0c1834ff0d0c2e6da6",
        False,
        "negated s value",
    ),
    (
        _PUBKEY,
        _MESSAGE,
        "4a298dacae57395a15d0795ddbfd1dcb564da82b0f269bc70a74f8220429ba1d" + _S,
        False,
        "sig[0:32] is not an X coordinate on the curve",
    ),
    (
        _PUBKEY,
        _MESSAGE,
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f" + _S,
        False,
        "sig[0:32] is equal to field size",
    ),
    (_PUBKEY, _MESSAGE, _R + f"{CURVE_ORDER:064x}", False, "sig[32:64] is equal to curve order"),
    (
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30",
        _MESSAGE,
        _R + _S,
        False,
        "public key exceeds the field size",
    ),
]


@pytest.mark.parametrize(("secret", "pubkey", "aux", "message", "signature"), SIGNING_VECTORS)
def test_bip340_signing_vectors(secret, pubkey, aux, message, signature):
    key = keys.key_from_secret(bytes.fromhex(secret))
    digest = bytes.fromhex(message)
    assert key.pubkey == pubkey
    assert PrivateKey(key.secret).sign_schnorr(digest, bytes.fromhex(aux)).hex() == signature
    assert keys.is_signature(pubkey, digest, signature)
    assert keys.is_signature(pubkey, digest, keys.sign_digest(key, digest))


@pytest.mark.parametrize(("pubkey", "message", "signature", "is_good", "why"), CHECKING_VECTORS)
def test_bip340_checking_vectors(pubkey, message, signature, is_good, why):
    assert keys.is_signature(pubkey, bytes.fromhex(message), signature) is is_good, why


@given(st.integers(0, 63), st.integers(1, 255))
def test_a_changed_signature_byte_is_found(at, mask):
    digest = bytes(range(32))
    raw = bytearray.fromhex(keys.sign_digest(KEY, digest))
    raw[at] ^= mask
    assert not keys.is_signature(KEY.pubkey, digest, raw.hex())


def test_one_signature_has_one_spelling():
    digest = bytes(range(32))
    signature = keys.sign_digest(KEY, digest)
    assert keys.is_signature(KEY.pubkey, digest, signature)
    for other in (
        signature.upper(),
        " " + signature,
        signature[:2] + " " + signature[2:],
        signature + "\n",
    ):
        assert not keys.is_signature(KEY.pubkey, digest, other)
    assert not keys.is_signature(KEY.pubkey.upper(), digest, signature)
    assert not keys.is_signature(KEY.pubkey + " ", digest, signature)


@pytest.mark.parametrize(
    "bad", ["", "zz", "00", "0" * 64, "0" * 128, "f" * 128, "é" * 64, "\ud800"]
)
def test_nonsense_is_no_signature_and_no_key(bad):
    digest = bytes(32)
    signature = keys.sign_digest(KEY, digest)
    assert not keys.is_signature(KEY.pubkey, digest, bad)
    assert not keys.is_signature(bad, digest, signature)
    assert not keys.is_signature(KEY.pubkey, b"", signature)


def test_derived_keys_are_repeatable_and_apart():
    assert keys.derive_key(b"seed", "trainer/1") == KEY
    assert keys.derive_key(b"seed", "trainer/2").pubkey != KEY.pubkey
    assert keys.derive_key(b"other", "trainer/1").pubkey != KEY.pubkey


def test_a_secret_never_shows():
    assert KEY.secret.hex() not in repr(KEY)
    assert repr(KEY.secret) not in f"{KEY} {KEY!r}"


@pytest.mark.parametrize(
    "secret", [b"", b"\x01", bytes(32), CURVE_ORDER.to_bytes(32, "big"), b"\x01" * 33]
)
def test_no_key_from_a_bad_secret(secret):
    with pytest.raises(ValueError, match=r"32 bytes|scalar"):
        keys.key_from_secret(secret)


def test_address_of_secret_1():
    """The best known address: that of the secret 1."""
    one = keys.key_from_secret((1).to_bytes(32, "big"))
    assert keys.compute_address(one) == "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"
    assert one.pubkey == "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


def test_a_binding_holds_for_one_address_and_one_work_key():
    address = keys.compute_address(FUNDS)
    binding = keys.sign_binding(FUNDS, KEY.pubkey)
    other = keys.derive_key(b"seed", "funds/2")
    assert keys.is_binding(address, KEY.pubkey, binding)
    assert not keys.is_binding(keys.compute_address(other), KEY.pubkey, binding)
    assert not keys.is_binding(address, other.pubkey, binding)
    assert not keys.is_binding(address, KEY.pubkey, keys.sign_binding(other, KEY.pubkey))
    assert not keys.is_binding(address.upper(), KEY.pubkey, binding)


@given(st.integers(0, 64), st.integers(1, 255))
def test_a_changed_binding_byte_is_found(at, mask):
    raw = bytearray.fromhex(keys.sign_binding(FUNDS, KEY.pubkey))
    raw[at] ^= mask
    assert not keys.is_binding(keys.compute_address(FUNDS), KEY.pubkey, raw.hex())


def test_a_binding_has_one_form():
    address, binding = keys.compute_address(FUNDS), keys.sign_binding(FUNDS, KEY.pubkey)
    raw = bytes.fromhex(binding)
    high_s = CURVE_ORDER - int.from_bytes(raw[32:64], "big")
    twin = raw[:32] + high_s.to_bytes(32, "big") + bytes([raw[64] ^ 1])
    for other in (binding.upper(), binding + " ", twin.hex(), "", "zz", "00" * 65, "\ud800"):
        assert not keys.is_binding(address, KEY.pubkey, other)
    assert not keys.is_binding(address, "\ud800", binding)
