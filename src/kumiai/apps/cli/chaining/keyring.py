"""`kumiai chain keys`: make, take and show encrypted keys; a secret is never printed."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from kumiai.adapters.evm.accounts import encode_checksum
from kumiai.adapters.evm.keystore import (
    create_keystore,
    import_secret,
    load_keystore,
    read_keystore_address,
)
from kumiai.apps.chain.developers import DEV_SECRETS
from kumiai.apps.cli.chaining.door import Door, make_door, read_password_file
from kumiai.apps.cli.chaining.options import Settings
from kumiai.apps.cli.options import Lang
from kumiai.base.errors import InputError


def make(file: Path, password_file: Path | None, lang: Lang | None) -> None:
    """Make a new key."""
    door = _open(password_file, lang)
    _check_free(file)
    account = create_keystore(file, door.ask_password(str(file), is_new=True))
    door.say("chain.key_made", "bold", address=encode_checksum(account.address), path=str(file))
    door.say("chain.key_kept", "yellow")


def take(
    file: Path,
    secret_file: Path | None,
    dev: int | None,
    password_file: Path | None,
    lang: Lang | None,
) -> None:
    """Encrypt a key that the user has, or a developers' one."""
    door = _open(password_file, lang)
    _check_free(file)
    if dev is not None and secret_file is not None:
        raise InputError("--dev", dev, "is one key, --secret-file another: name one of them")
    if dev is not None:
        secret = DEV_SECRETS[dev].hex()
    elif secret_file is not None:
        secret = read_password_file(secret_file)
    else:
        if not sys.stdin.isatty():
            raise InputError("--secret-file", None, "nobody can be asked here: name the file")
        secret = typer.prompt(door.texts.text("chain.secret"), hide_input=True, err=True)
    account = import_secret(file, secret, door.ask_password(str(file), is_new=True))
    door.say("chain.key_made", "bold", address=encode_checksum(account.address), path=str(file))
    if dev is not None:
        door.say("chain.key_public", "yellow")


def show(file: Path, is_checked: bool, password_file: Path | None, lang: Lang | None) -> None:
    """Print the address, for people and scripts."""
    door = _open(password_file, lang)
    named = None if is_checked else read_keystore_address(file)
    if named is None:
        named = load_keystore(file, door.ask_password(str(file))).address
    typer.echo(encode_checksum(named))
    if is_checked:
        door.told.print(door.texts.text("chain.key_right"), style="green")


def _open(password_file: Path | None, lang: Lang | None) -> Door:
    return make_door(Settings(password_file=password_file, lang=lang))


def _check_free(file: Path) -> None:
    """Said before a password is asked for."""
    if file.exists():
        raise InputError("keystore", str(file), "the file is there already; choose another name")
