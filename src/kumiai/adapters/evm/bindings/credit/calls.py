"""Calls of Credit; generated."""

from __future__ import annotations

from kumiai.adapters.evm.abi import Call, Structs, make_function

_STRUCTS: Structs = {}
_CONSTRUCTOR = make_function("constructor()", "()", _STRUCTS)
_DOMAIN_SEPARATOR = make_function("DOMAIN_SEPARATOR()", "(bytes32 value_0)", _STRUCTS)
_ALLOWANCE = make_function(
    "allowance(address owner, address spender)", "(uint256 value_0)", _STRUCTS
)
_APPROVE = make_function("approve(address spender, uint256 value)", "(bool value_0)", _STRUCTS)
_BALANCE_OF = make_function("balanceOf(address account)", "(uint256 value_0)", _STRUCTS)
_DECIMALS = make_function("decimals()", "(uint8 value_0)", _STRUCTS)
_EIP712_DOMAIN = make_function(
    "eip712Domain()",
    "(bytes1 fields, string name, string version, uint256 chainId, address verifyingContract, bytes32 salt, uint256[] extensions)",
    _STRUCTS,
)
_MINT = make_function("mint(address account, uint256 amount)", "()", _STRUCTS)
_NAME = make_function("name()", "(string value_0)", _STRUCTS)
_NONCES = make_function("nonces(address owner)", "(uint256 value_0)", _STRUCTS)
_PERMIT = make_function(
    "permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)",
    "()",
    _STRUCTS,
)
_SYMBOL = make_function("symbol()", "(string value_0)", _STRUCTS)
_TOTAL_SUPPLY = make_function("totalSupply()", "(uint256 value_0)", _STRUCTS)
_TRANSFER = make_function("transfer(address to, uint256 value)", "(bool value_0)", _STRUCTS)
_TRANSFER_FROM = make_function(
    "transferFrom(address from_, address to, uint256 value)", "(bool value_0)", _STRUCTS
)


def constructor(bytecode: bytes) -> bytes:
    """Return the code of a creation with its arguments."""
    return bytecode + Call(_CONSTRUCTOR, ()).data[4:]


def domain_separator() -> Call[bytes]:
    """Make the call DOMAIN_SEPARATOR."""
    return Call(_DOMAIN_SEPARATOR, ())


def allowance(owner: str, spender: str) -> Call[int]:
    """Make the call allowance."""
    return Call(_ALLOWANCE, (owner, spender))


def approve(spender: str, value: int) -> Call[bool]:
    """Make the call approve."""
    return Call(_APPROVE, (spender, value))


def balance_of(account: str) -> Call[int]:
    """Make the call balanceOf."""
    return Call(_BALANCE_OF, (account,))


def decimals() -> Call[int]:
    """Make the call decimals."""
    return Call(_DECIMALS, ())


def eip712_domain() -> Call[tuple[bytes, str, str, int, str, bytes, tuple[int, ...]]]:
    """Make the call eip712Domain."""
    return Call(_EIP712_DOMAIN, ())


def mint(account: str, amount: int) -> Call[None]:
    """Make the call mint."""
    return Call(_MINT, (account, amount))


def name() -> Call[str]:
    """Make the call name."""
    return Call(_NAME, ())


def nonces(owner: str) -> Call[int]:
    """Make the call nonces."""
    return Call(_NONCES, (owner,))


def permit(
    owner: str, spender: str, value: int, deadline: int, v: int, r: bytes, s: bytes
) -> Call[None]:
    """Make the call permit."""
    return Call(_PERMIT, (owner, spender, value, deadline, v, r, s))


def symbol() -> Call[str]:
    """Make the call symbol."""
    return Call(_SYMBOL, ())


def total_supply() -> Call[int]:
    """Make the call totalSupply."""
    return Call(_TOTAL_SUPPLY, ())


def transfer(to: str, value: int) -> Call[bool]:
    """Make the call transfer."""
    return Call(_TRANSFER, (to, value))


def transfer_from(from_: str, to: str, value: int) -> Call[bool]:
    """Make the call transferFrom."""
    return Call(_TRANSFER_FROM, (from_, to, value))
