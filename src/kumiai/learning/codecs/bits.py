"""Small integers as bits: fixed width, and ascending indices as Golomb-Rice coded gaps.

Bit j of number i lies at position i * width + j of a stream whose byte k holds positions 8k..8k+7,
lowest first; what is left of the last byte is zero, and a reader refuses anything else.

Gaps (Golomb, "Run-Length Encodings", 1966; Rice and Plaunt, "Adaptive Variable-Length Coding",
1971, for a divisor 2**b). Here all b low bits come first and all unary quotients after them, so
that both parts are read without a loop:

    g_i = index_i - index_(i-1) - 1 (index_(-1) = -1);  low_i = g_i mod 2**b, b bits
    quotient_i = g_i >> b as quotient_i zeros and a one

K of P indices take K * b bits and at most K + (P >> b) more: near the entropy for random gaps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Indices = NDArray[np.int64]


def count_bytes(bit_count: int) -> int:
    """Return the bytes that `bit_count` bits fill."""
    return -(-bit_count // 8)


def pack(codes_K: Codes, width: int) -> bytes:
    """Return K codes below 2**width at `width` bits each; width 1, 2, 4 or 8."""
    if width == 1:
        return np.packbits(codes_K, bitorder="little").tobytes()
    per_byte = 8 // width
    padded = np.zeros((count_bytes(len(codes_K) * width), per_byte), dtype=np.uint8)
    padded.reshape(-1)[: len(codes_K)] = codes_K
    packed = padded[:, 0].copy()
    for place in range(1, per_byte):
        packed |= padded[:, place] << (width * place)
    return packed.tobytes()


def unpack(data: bytes, count: int, width: int) -> Codes:
    """Return the `count` codes of `pack`; ValueError if the last byte's rest is not zero."""
    packed = np.frombuffer(data, dtype=np.uint8)
    used = count * width - 8 * (len(packed) - 1)  # bits of the last byte
    if len(packed) and used < 8 and packed[-1] >> used:
        raise ValueError(f"the last byte is {packed[-1]}, expected zeros after {used} bits")
    if width == 1:
        return np.unpackbits(packed, count=count, bitorder="little")
    per_byte, mask = 8 // width, np.uint8(2**width - 1)
    codes = np.empty((len(packed), per_byte), dtype=np.uint8)
    for place in range(per_byte):
        codes[:, place] = (packed >> (width * place)) & mask
    return codes.reshape(-1)[:count]


def compute_low_bits(size: int, count: int) -> int:
    """Return b, about log2(ln 2 * P / K): the divisor 2**b that suits random gaps."""
    return max(1, size * 69 // (100 * count)).bit_length() - 1


def compute_index_bytes(size: int, count: int) -> tuple[int, int]:
    """Return the least and the most bytes that `count` ascending indices below `size` take."""
    low_bits = compute_low_bits(size, count)
    low_bytes = count_bytes(count * low_bits)
    most = count + ((size - count) >> low_bits)  # the gaps add up to size - count at most
    return low_bytes + count_bytes(count), low_bytes + count_bytes(most)


def encode_indices(indices_K: Indices, size: int) -> bytes:
    """Return the gaps of K ascending indices below `size`."""
    low_bits = compute_low_bits(size, len(indices_K))
    gaps_K = np.diff(indices_K, prepend=-1) - 1
    quotients_K = gaps_K >> low_bits
    low_K = (gaps_K & ((1 << low_bits) - 1)).astype("<u8")
    low_KB = np.unpackbits(low_K.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    ends_K = np.cumsum(quotients_K + 1) - 1
    unary = np.zeros(int(ends_K[-1]) + 1, dtype=np.uint8)
    unary[ends_K] = 1
    low = np.packbits(np.ascontiguousarray(low_KB[:, :low_bits]), bitorder="little")
    return low.tobytes() + np.packbits(unary, bitorder="little").tobytes()


def decode_indices(data: bytes, count: int, size: int) -> Indices:
    """Return the K = count ascending indices below `size`; ValueError for anything else.

    `data` is within `compute_index_bytes`, so what is unpacked here is bounded by it.
    """
    low_bits = compute_low_bits(size, count)
    low_bytes = count_bytes(count * low_bits)
    low_K = np.zeros(count, dtype=np.int64)
    bits = unpack(data[:low_bytes], count * low_bits, 1).reshape(count, low_bits)
    for place in range(low_bits):
        low_K |= bits[:, place].astype(np.int64) << place
    unary = np.unpackbits(np.frombuffer(data, dtype=np.uint8, offset=low_bytes), bitorder="little")
    ends_K = np.flatnonzero(unary)
    if len(ends_K) != count:
        raise ValueError(f"{len(ends_K)} indices, expected {count}")
    if count_bytes(int(ends_K[-1]) + 1) != len(data) - low_bytes:
        raise ValueError("zero bytes after the last index")
    quotients_K = np.diff(ends_K, prepend=-1) - 1
    indices_K: Indices = np.cumsum((quotients_K << low_bits) + low_K + 1) - 1
    if int(indices_K[-1]) >= size:
        raise ValueError(f"index {int(indices_K[-1])} is outside 0..{size - 1}")
    return indices_K
