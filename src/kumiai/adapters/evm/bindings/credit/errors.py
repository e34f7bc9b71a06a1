"""Errors of Credit; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class ECDSAInvalidSignature(ContractError):
    """ECDSAInvalidSignature of Credit."""

    SIGNATURE: ClassVar[str] = "ECDSAInvalidSignature()"


@dataclass(frozen=True, slots=True)
class ECDSAInvalidSignatureLength(ContractError):
    """ECDSAInvalidSignatureLength of Credit."""

    length: int
    SIGNATURE: ClassVar[str] = "ECDSAInvalidSignatureLength(uint256 length)"


@dataclass(frozen=True, slots=True)
class ECDSAInvalidSignatureS(ContractError):
    """ECDSAInvalidSignatureS of Credit."""

    s: bytes
    SIGNATURE: ClassVar[str] = "ECDSAInvalidSignatureS(bytes32 s)"


@dataclass(frozen=True, slots=True)
class ERC20InsufficientAllowance(ContractError):
    """ERC20InsufficientAllowance of Credit."""

    spender: str
    allowance: int
    needed: int
    SIGNATURE: ClassVar[str] = (
        "ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed)"
    )


@dataclass(frozen=True, slots=True)
class ERC20InsufficientBalance(ContractError):
    """ERC20InsufficientBalance of Credit."""

    sender: str
    balance: int
    needed: int
    SIGNATURE: ClassVar[str] = (
        "ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed)"
    )


@dataclass(frozen=True, slots=True)
class ERC20InvalidApprover(ContractError):
    """ERC20InvalidApprover of Credit."""

    approver: str
    SIGNATURE: ClassVar[str] = "ERC20InvalidApprover(address approver)"


@dataclass(frozen=True, slots=True)
class ERC20InvalidReceiver(ContractError):
    """ERC20InvalidReceiver of Credit."""

    receiver: str
    SIGNATURE: ClassVar[str] = "ERC20InvalidReceiver(address receiver)"


@dataclass(frozen=True, slots=True)
class ERC20InvalidSender(ContractError):
    """ERC20InvalidSender of Credit."""

    sender: str
    SIGNATURE: ClassVar[str] = "ERC20InvalidSender(address sender)"


@dataclass(frozen=True, slots=True)
class ERC20InvalidSpender(ContractError):
    """ERC20InvalidSpender of Credit."""

    spender: str
    SIGNATURE: ClassVar[str] = "ERC20InvalidSpender(address spender)"


@dataclass(frozen=True, slots=True)
class ERC2612ExpiredSignature(ContractError):
    """ERC2612ExpiredSignature of Credit."""

    deadline: int
    SIGNATURE: ClassVar[str] = "ERC2612ExpiredSignature(uint256 deadline)"


@dataclass(frozen=True, slots=True)
class ERC2612InvalidSigner(ContractError):
    """ERC2612InvalidSigner of Credit."""

    signer: str
    owner: str
    SIGNATURE: ClassVar[str] = "ERC2612InvalidSigner(address signer, address owner)"


@dataclass(frozen=True, slots=True)
class InvalidAccountNonce(ContractError):
    """InvalidAccountNonce of Credit."""

    account: str
    currentNonce: int
    SIGNATURE: ClassVar[str] = "InvalidAccountNonce(address account, uint256 currentNonce)"


@dataclass(frozen=True, slots=True)
class InvalidShortString(ContractError):
    """InvalidShortString of Credit."""

    SIGNATURE: ClassVar[str] = "InvalidShortString()"


@dataclass(frozen=True, slots=True)
class StringTooLong(ContractError):
    """StringTooLong of Credit."""

    str_: str
    SIGNATURE: ClassVar[str] = "StringTooLong(string str_)"


ERRORS: ErrorTypes = collect_errors(globals())
