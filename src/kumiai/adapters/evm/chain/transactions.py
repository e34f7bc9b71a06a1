"""Signed transactions of the types 0 (EIP-155), 1 (EIP-2930) and 2 (EIP-1559), read and checked.

Written here and not taken from the engine: the engine can be replaced, the bytes that people sign
cannot. Signatures are recovered by libsecp256k1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import rlp  # type: ignore[import-untyped]
from coincurve import PublicKey

from kumiai.adapters.evm.chain.errors import RpcError, refuse, reject_params
from kumiai.base.keys import keccak256

TRANSACTION_BYTES_MAX = 128 * 1024
INITCODE_BYTES_MAX = 2 * 24_576  # EIP-3860
GAS_BASE, GAS_CREATE = 21_000, 32_000
GAS_ZERO_BYTE, GAS_BYTE, GAS_INITCODE_WORD = 4, 16, 2
GAS_ACCESS_ADDRESS, GAS_ACCESS_KEY = 2_400, 1_900  # EIP-2930
GAS_FLOOR_TOKEN, TOKENS_PER_BYTE = 10, 4  # EIP-7623
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

AccessList = tuple[tuple[bytes, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Transaction:
    """One transaction and who sent it; also what an unsigned call is executed as.

    Amounts are in wei. `gas_fee_cap` and `gas_tip_cap` are both the gas price where `kind` < 2;
    `to` is empty where a contract is created.
    """

    kind: int
    chain_id: int
    nonce: int
    gas_tip_cap: int
    gas_fee_cap: int
    gas: int
    to: bytes
    value: int
    data: bytes
    sender: bytes
    access_list: AccessList = ()
    y_parity: int = 0
    r: int = 0
    s: int = 1
    raw: bytes = b""

    @cached_property
    def hash(self) -> bytes:
        """Keccak of what was sent."""
        return keccak256(self.raw)

    @cached_property
    def intrinsic_gas(self) -> int:
        """What it costs before the first instruction."""
        zeros = self.data.count(0)
        gas = GAS_BASE + GAS_ZERO_BYTE * zeros + GAS_BYTE * (len(self.data) - zeros)
        if not self.to:
            gas += GAS_CREATE + GAS_INITCODE_WORD * ((len(self.data) + 31) // 32)
        for _, keys in self.access_list:
            gas += GAS_ACCESS_ADDRESS + GAS_ACCESS_KEY * len(keys)
        return gas

    @cached_property
    def floor_gas(self) -> int:
        """What it costs at least, for its data (EIP-7623)."""
        zeros = self.data.count(0)
        tokens = zeros + TOKENS_PER_BYTE * (len(self.data) - zeros)
        return GAS_BASE + GAS_FLOOR_TOKEN * tokens

    @property
    def cost_max(self) -> int:
        """Wei that the sender must own: gas * fee cap + value."""
        return self.gas * self.gas_fee_cap + self.value

    def get_gas_price(self, base_fee: int) -> int:
        """Wei per gas that it pays in a block of this base fee."""
        return min(self.gas_fee_cap, self.gas_tip_cap + base_fee)


def decode_transaction(raw: bytes, chain_id: int, sender: bytes | None = None) -> Transaction:
    """Read a signed transaction for this chain; RpcError in geth's words where it is none.

    sender: who signed it, where that was found out before; None: recover it from the signature.
    """
    if not raw:
        raise refuse("typed transaction too short")
    if len(raw) > TRANSACTION_BYTES_MAX:
        limit = TRANSACTION_BYTES_MAX
        raise refuse(f"oversized data: transaction size {len(raw)}, limit {limit}")
    try:
        if raw[0] >= 0xC0:
            return _decode_legacy(raw, chain_id, sender)
        if raw[0] in (1, 2):
            return _decode_typed(raw, chain_id, sender)
    except RpcError:
        raise
    except (rlp.exceptions.RLPException, RecursionError, ValueError, TypeError) as error:
        raise reject_params(f"rlp: cannot decode transaction: {error}") from None
    if raw[0] in (3, 4):
        raise refuse(f"transaction type not supported: this chain takes 0, 1 and 2, not {raw[0]}")
    raise refuse("transaction type not supported")


def _decode_legacy(raw: bytes, chain_id: int, sender: bytes | None) -> Transaction:
    fields = _read_fields(raw, 9)
    nonce, price, gas = (_read_int(fields[i], 32) for i in (0, 1, 2))
    v, r, s = _read_int(fields[6], 32), _read_int(fields[7], 32), _read_int(fields[8], 32)
    if v in (27, 28):
        raise refuse("only replay-protected (EIP-155) transactions allowed over RPC")
    if v < 35:
        raise refuse("invalid transaction v, r, s values")
    _check_chain((v - 35) // 2, chain_id)
    y_parity = (v - 35) % 2
    if sender is None:
        signed = rlp.encode([*fields[:6], _write_int(chain_id), b"", b""])
        sender = recover_sender(keccak256(signed), y_parity, r, s)
    return Transaction(
        kind=0,
        chain_id=chain_id,
        nonce=nonce,
        gas_tip_cap=price,
        gas_fee_cap=price,
        gas=gas,
        to=_read_address(fields[3]),
        value=_read_int(fields[4], 32),
        data=_read_bytes(fields[5]),
        sender=sender,
        y_parity=y_parity,
        r=r,
        s=s,
        raw=raw,
    )


def _decode_typed(raw: bytes, chain_id: int, sender: bytes | None) -> Transaction:
    kind = raw[0]
    fields = _read_fields(raw[1:], 12 if kind == 2 else 11)
    _check_chain(_read_int(fields[0], 32), chain_id)
    tip = _read_int(fields[2], 32)
    cap, rest = (_read_int(fields[3], 32), fields[4:]) if kind == 2 else (tip, fields[3:])
    y_parity, r, s = (_read_int(item, 32) for item in rest[5:8])
    if sender is None:
        signed = bytes([kind]) + rlp.encode(fields[:-3])
        sender = recover_sender(keccak256(signed), y_parity, r, s)
    return Transaction(
        kind=kind,
        chain_id=chain_id,
        nonce=_read_int(fields[1], 8),
        gas_tip_cap=tip,
        gas_fee_cap=cap,
        gas=_read_int(rest[0], 8),
        to=_read_address(rest[1]),
        value=_read_int(rest[2], 32),
        data=_read_bytes(rest[3]),
        access_list=_read_access_list(rest[4]),
        sender=sender,
        y_parity=y_parity,
        r=r,
        s=s,
        raw=raw,
    )


def recover_sender(digest: bytes, y_parity: int, r: int, s: int) -> bytes:
    """The address that signed a digest; RpcError where nobody did, or with a malleable s."""
    in_range = 0 < r < CURVE_ORDER and 0 < s <= CURVE_ORDER // 2
    if y_parity > 1 or not in_range:
        raise refuse("invalid transaction v, r, s values")
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([y_parity])
    try:
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except Exception as error:  # noqa: BLE001 (coincurve raises bare Exception)
        raise refuse(f"invalid sender: {error}") from None
    return keccak256(key.format(compressed=False)[1:])[12:]


def _check_chain(found: int, chain_id: int) -> None:
    if found != chain_id:
        raise refuse(f"invalid chain id for signer: have {found} want {chain_id}")


def _read_fields(raw: bytes, count: int) -> list[object]:
    fields = rlp.decode(raw)  # strict: refuses bytes behind the end
    if not isinstance(fields, list) or len(fields) != count:
        raise ValueError(f"a list of {count} fields was expected")
    return fields


def _read_bytes(item: object) -> bytes:
    if not isinstance(item, bytes):
        raise ValueError("bytes were expected where a list stands")
    return item


def _read_int(item: object, size_max: int) -> int:
    data = _read_bytes(item)
    if len(data) > size_max or data[:1] == b"\0":
        raise ValueError(f"not an integer of at most {size_max} bytes without leading zeros")
    return int.from_bytes(data, "big")


def _write_int(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _read_address(item: object) -> bytes:
    data = _read_bytes(item)
    if len(data) not in (0, 20):
        raise ValueError("an address has 20 bytes")
    return data


def _read_access_list(item: object) -> AccessList:
    if not isinstance(item, list):
        raise ValueError("the access list is no list")
    entries = []
    for entry in item:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], list):
            raise ValueError("an entry of the access list is [address, [keys]]")
        address = _read_bytes(entry[0])
        keys = [_read_bytes(key) for key in entry[1]]
        if len(address) != 20 or any(len(key) != 32 for key in keys):
            raise ValueError("the access list names 20-byte addresses and 32-byte keys")
        entries.append((address, tuple(int.from_bytes(key, "big") for key in keys)))
    return tuple(entries)
