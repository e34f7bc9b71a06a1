"""Encrypted key files: version 3 keystores with scrypt, as other Ethereum wallets read and write.

A file is written with mode 600, whole or not at all, and never over another. Its own parameters
are checked before they are used: a hostile file could ask for any amount of memory.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.accounts import Account
from kumiai.adapters.evm.json_input import load_json
from kumiai.base.errors import InputError, StoreError

FILE_BYTES_MAX = 65_536
PASSWORD_CHARS_MIN = 8
SCRYPT_MEMORY_MAX = 1 << 30  # bytes: 128 * n * r
SCRYPT_P_MAX = 16
PBKDF2_ROUNDS_MAX = 10_000_000
WORK_FACTOR = 1 << 18  # n of scrypt: about half a second and 256 MiB


def create_keystore(path: Path, password: str, *, work_factor: int = WORK_FACTOR) -> Account:
    """Make a new random account and its file; InputError if the file is there already."""
    while True:  # a number outside the curve's order has probability 2**-128
        try:
            account = Account(secrets.token_bytes(32))
            break
        except ValueError:
            continue
    save_keystore(path, account, password, work_factor=work_factor)
    return account


def import_secret(
    path: Path, secret_hex: str, password: str, *, work_factor: int = WORK_FACTOR
) -> Account:
    """Keep a secret key (64 hex digits, with or without 0x) in a new file."""
    digits = secret_hex.strip().removeprefix("0x")
    try:
        account = Account(bytes.fromhex(digits))
    except ValueError:  # the message must not repeat the secret
        raise InputError("secret key", "(hidden)", "give 64 hex digits of a valid key") from None
    save_keystore(path, account, password, work_factor=work_factor)
    return account


def save_keystore(
    path: Path, account: Account, password: str, *, work_factor: int = WORK_FACTOR
) -> None:
    """Encrypt the account into a new file; InputError on a short password or an existing file."""
    from eth_account import Account as EthAccount

    if len(password) < PASSWORD_CHARS_MIN:
        fix = f"use at least {PASSWORD_CHARS_MIN} characters"
        raise InputError("keystore password", "(hidden)", fix)
    if path.exists():
        raise InputError("keystore", str(path), "the file is there already; choose another name")
    body = EthAccount.encrypt(
        account.export_secret(), password, kdf="scrypt", iterations=work_factor
    )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(body, file)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # fails where somebody made the file meanwhile
    except OSError as error:
        raise StoreError(f"keystore {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def load_keystore(path: Path, password: str) -> Account:
    """Decrypt a file; InputError names what is wrong: file, format, parameters or password."""
    from eth_account import Account as EthAccount

    body = _read(path)
    _check_parameters(path, body)
    try:
        secret = bytes(EthAccount.decrypt(body, password))
    except ValueError as error:
        if "MAC" in str(error):
            fix = "the password is wrong, or the file was changed"
            raise InputError("keystore password", "(hidden)", fix) from None
        raise InputError("keystore", str(path), f"cannot be decrypted: {error}") from error
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError("keystore", str(path), "is no version 3 keystore") from error
    account = Account(secret)
    named = str(body.get("address", "")).lower().removeprefix("0x")
    if named and "0x" + named != account.address:
        raise InputError("keystore", str(path), f"says {named}, but holds {account.address}")
    return account


def read_keystore_address(path: Path) -> str | None:
    """Return the address that a file says it holds, None where it says none; no password needed.

    `load_keystore` holds it against the key. InputError where the file is no keystore.
    """
    named = str(_read(path).get("address", "")).lower().removeprefix("0x")
    is_address = len(named) == 40 and all(digit in "0123456789abcdef" for digit in named)
    return "0x" + named if is_address else None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InputError("keystore", str(path), f"cannot be read: {error.strerror}") from error
    try:
        if len(text) > FILE_BYTES_MAX:
            raise ValueError("too big")
        body = load_json(text)
        if not isinstance(body, dict) or body.get("version") != 3:
            raise ValueError("no version 3")
        crypto = body.get("crypto", body.get("Crypto"))
        if not isinstance(crypto, dict):
            raise ValueError("no crypto")
    except (ValueError, RecursionError) as error:
        raise InputError("keystore", str(path), "is no version 3 keystore") from error
    return {**body, "crypto": crypto}


def _check_parameters(path: Path, body: dict[str, Any]) -> None:
    crypto = body["crypto"]
    given = crypto.get("kdfparams")
    kind = crypto.get("kdf")
    numbers = given if isinstance(given, dict) else {}

    def get(name: str) -> int:
        value = numbers.get(name)
        return value if isinstance(value, int) and value > 0 else 0

    is_scrypt = kind == "scrypt" and 0 < 128 * get("n") * get("r") <= SCRYPT_MEMORY_MAX
    is_scrypt = is_scrypt and 0 < get("p") <= SCRYPT_P_MAX
    is_pbkdf2 = kind == "pbkdf2" and 0 < get("c") <= PBKDF2_ROUNDS_MAX
    if not (is_scrypt or is_pbkdf2) or not 32 <= get("dklen") <= 64:
        raise InputError("keystore", str(path), "asks for other key derivation than wallets use")
