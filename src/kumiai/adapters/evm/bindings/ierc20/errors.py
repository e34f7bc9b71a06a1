"""Errors of IERC20; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class ERC20InsufficientAllowance(ContractError):
    """ERC20InsufficientAllowance of IERC20."""

    spender: str
    allowance: int
    needed: int
    SIGNATURE: ClassVar[str] = (
        "ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed)"
    )


@dataclass(frozen=True, slots=True)
class ERC20InsufficientBalance(ContractError):
    """ERC20InsufficientBalance of IERC20."""

    sender: str
    balance: int
    needed: int
    SIGNATURE: ClassVar[str] = (
        "ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed)"
    )


ERRORS: ErrorTypes = collect_errors(globals())
