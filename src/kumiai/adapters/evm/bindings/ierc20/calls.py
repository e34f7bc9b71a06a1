"""Calls of IERC20; generated."""

from __future__ import annotations

from kumiai.adapters.evm.abi import Call, Structs, make_function

_STRUCTS: Structs = {}
_ALLOWANCE = make_function(
    "allowance(address owner, address spender)", "(uint256 value_0)", _STRUCTS
)
_APPROVE = make_function("approve(address spender, uint256 amount)", "(bool value_0)", _STRUCTS)
_BALANCE_OF = make_function("balanceOf(address account)", "(uint256 value_0)", _STRUCTS)
_DECIMALS = make_function("decimals()", "(uint8 value_0)", _STRUCTS)
_NAME = make_function("name()", "(string value_0)", _STRUCTS)
_SYMBOL = make_function("symbol()", "(string value_0)", _STRUCTS)
_TOTAL_SUPPLY = make_function("totalSupply()", "(uint256 value_0)", _STRUCTS)
_TRANSFER = make_function("transfer(address to, uint256 amount)", "(bool value_0)", _STRUCTS)
_TRANSFER_FROM = make_function(
    "transferFrom(address sender, address to, uint256 amount)", "(bool value_0)", _STRUCTS
)


def allowance(owner: str, spender: str) -> Call[int]:
    """Make the call allowance."""
    return Call(_ALLOWANCE, (owner, spender))


def approve(spender: str, amount: int) -> Call[bool]:
    """Make the call approve."""
    return Call(_APPROVE, (spender, amount))


def balance_of(account: str) -> Call[int]:
    """Make the call balanceOf."""
    return Call(_BALANCE_OF, (account,))


def decimals() -> Call[int]:
    """Make the call decimals."""
    return Call(_DECIMALS, ())


def name() -> Call[str]:
    """Make the call name."""
    return Call(_NAME, ())


def symbol() -> Call[str]:
    """Make the call symbol."""
    return Call(_SYMBOL, ())


def total_supply() -> Call[int]:
    """Make the call totalSupply."""
    return Call(_TOTAL_SUPPLY, ())


def transfer(to: str, amount: int) -> Call[bool]:
    """Make the call transfer."""
    return Call(_TRANSFER, (to, amount))


def transfer_from(sender: str, to: str, amount: int) -> Call[bool]:
    """Make the call transferFrom."""
    return Call(_TRANSFER_FROM, (sender, to, amount))
