"""Write contracts/test/bls/Vectors.sol: hashes, keys and signatures as py_ecc makes them.

PYTHONPATH=src python tests/adapters/evm/bls_vectors.py
"""

from __future__ import annotations

from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from py_ecc.bls.hash_to_curve import map_to_curve_G1, map_to_curve_G2
from py_ecc.optimized_bls12_381 import FQ, FQ2, G2, curve_order, normalize

from kumiai.adapters.evm.bindings.bls.structs import G1Point, G2Point
from kumiai.adapters.evm.bls import PROOF_TAG, SIGNATURE_TAG, BlsKey, aggregate, hash_message

FILE = Path(__file__).resolve().parents[3] / "contracts" / "test" / "bls" / "Vectors.sol"
COUNT = 4
HEAD = """// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// Written by tests/adapters/evm/bls_vectors.py: what py_ecc makes of the same inputs.
library Vectors {
"""


def make_message(index: int) -> bytes:
    """The index-th message."""
    return sha256(f"message {index}".encode()).digest()


def make_key(label: str) -> BlsKey:
    """The same label always gives the same key."""
    number = int.from_bytes(sha256(label.encode()).digest(), "big") % curve_order
    return BlsKey(number.to_bytes(32, "big"))


def make_keys() -> list[BlsKey]:
    """Four keys whose secrets everybody knows."""
    return [make_key(f"key {index}") for index in range(COUNT)]


def write_vectors() -> str:
    """Return the file's text."""
    keys = make_keys()
    lines = [HEAD.rstrip("\n")]
    for index in range(COUNT):
        message = make_message(index)
        lines += _say(f"MESSAGE_{index}", message)
        lines += _say(f"SIGNED_{index}", _join(hash_message(message, SIGNATURE_TAG)))
        lines += _say(f"PROVEN_{index}", _join(hash_message(message, PROOF_TAG)))
    for index, key in enumerate(keys):
        lines += _say(f"KEY_{index}", _join(key.public))
    signatures = [key.sign(make_message(0)) for key in keys]
    lines += _say("BY_0", _join(signatures[0]))
    lines += _say("BY_ALL", _join(aggregate(signatures)))
    lines += _say("GENERATOR", _spell(G2))
    # on the curves, but before the cofactor is cleared: outside the subgroups
    lines += _say("OUTSIDE_G1", _spell(map_to_curve_G1(FQ(5))))
    lines += _say("OUTSIDE_G2", _spell(map_to_curve_G2(FQ2((5, 7)))))
    return "\n".join([*lines, "}", ""])


def _join(point: G1Point | G2Point) -> bytes:
    return b"".join(getattr(point, field.name) for field in fields(point))


def _spell(point: Any) -> bytes:
    parts = [part for each in normalize(point) for part in getattr(each, "coeffs", (each,))]
    return b"".join(int(part).to_bytes(64, "big") for part in parts)


def _say(name: str, value: bytes) -> list[str]:
    if len(value) == 32:
        return [f"    bytes32 internal constant {name} =", f"        0x{value.hex()};"]
    parts = [value[n : n + 32].hex() for n in range(0, len(value), 32)]
    texts = [f'        hex"{part}"' for part in parts]
    return [f"    bytes internal constant {name} =", *texts[:-1], f"{texts[-1]};"]


if __name__ == "__main__":
    FILE.write_text(write_vectors())
