"""Wallets by name: one text says which kind of wallet it is and where.

    embedded:PATH#NAME            a member's account in the embedded bank's file
    lnbits:http://HOST:PORT       an LNbits wallet; its key from a file or the environment
    nostr+walletconnect://...     any wallet that speaks NIP-47 (nwc:PATH: the address is in a file)

Secrets never stand in a message: what is shown of a wallet is `describe_wallet`. A kind's module is
imported when such a wallet is opened; a further kind is one function and one line of `_OPENERS`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kumiai.base.errors import InputError
from kumiai.nodes.market.ports import WalletPort

if TYPE_CHECKING:
    from kumiai.adapters.payments.bank import EmbeddedBank

TEXT_CHARS_MAX: Final = 4_096
SECRET_BYTES_MAX: Final = 4_096
NWC: Final = "nostr+walletconnect"
DEFAULT_NAME: Final = "me"
SETTINGS: Final = ("LNBITS_KEY", "NWC_SECRET")  # what `settings` may hold; KUMIAI_... outside

FORMS: Final = (
    "embedded:PATH#NAME",
    "lnbits:http://HOST:PORT",
    "nostr+walletconnect://...",
    "nwc:PATH (a file with that address)",
)


@dataclass(frozen=True, slots=True)
class WalletSource:
    """What a wallet is opened with: the text after its kind, and where secrets may come from.

    settings: LNBITS_KEY and the like, as the caller read them from the environment (KUMIAI_...).
    secret_file: named by the user; its first line is the secret. may_create: an embedded bank that
    is not there may be begun.
    """

    rest: str
    may_create: bool = True
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_file: Path | None = None

    def get_secret(self, setting: str, what: str) -> str:
        """Return the secret from its file or the setting; InputError says how to give it."""
        if self.secret_file is not None:
            return read_secret(self.secret_file)
        if secret := self.settings.get(setting, ""):
            return secret
        fix = f"{what} is needed: name --secret-file FILE, or set KUMIAI_{setting}"
        raise InputError("wallet", "(its secret)", fix)


Opener = Callable[[WalletSource], Awaitable[WalletPort]]


async def open_wallet(
    text: str,
    *,
    settings: Mapping[str, str] | None = None,
    secret_file: Path | None = None,
    may_create: bool = True,
) -> WalletPort:
    """Open the wallet that `text` names; InputError lists the kinds if it is none of them."""
    kind, rest = _split(text)
    return await _OPENERS[kind](WalletSource(rest, may_create, settings or {}, secret_file))


def open_bank(text: str) -> tuple[EmbeddedBank, str]:
    """Open the embedded bank that `text` names, or begin it; return it and the member's name."""
    kind, rest = _split(text)
    if kind != "embedded":
        raise InputError("wallet", f"{kind}:...", "only embedded:PATH#NAME has a bank of its own")
    return _open_bank(rest, may_create=True)


def describe_wallet(text: str) -> str:
    """Return the wallet's name without anything secret, for messages and logs."""
    kind, rest = _split(text)
    if kind in (NWC, "nwc"):
        return f"{NWC}:..." if kind == NWC else f"nwc:{rest}"
    if kind == "lnbits":  # who writes a password into it is told so when it is opened, not before
        rest = re.sub("//.*@", "//", rest.split("?", 1)[0])
    return f"{kind}:{rest}"


def read_secret(path: Path) -> str:
    """Return the first line of a file that holds a secret; InputError without one."""
    try:
        with path.open("rb") as file:
            line = file.read(SECRET_BYTES_MAX).decode().split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("secret file", str(path), f"cannot be read: {error}") from None
    if not line:
        raise InputError("secret file", str(path), "its first line is empty")
    return line


def expand_path(text: str) -> Path:
    """Return the path; `~` is the home: after a kind and a colon no shell has seen to it."""
    with contextlib.suppress(RuntimeError):  # nobody is called so
        return Path(text).expanduser()
    return Path(text)


def _split(text: str) -> tuple[str, str]:
    kind, colon, rest = text.partition(":")
    if not colon or kind not in _OPENERS or not rest or len(text) > TEXT_CHARS_MAX:
        # what was given is not repeated: it may be an address that holds a secret
        shown = f"{kind[:20]}:..." if colon and len(kind) <= 20 else "..."
        raise InputError("wallet", shown, f"name one of {', '.join(FORMS)}")
    return kind, rest


def _open_bank(rest: str, *, may_create: bool) -> tuple[EmbeddedBank, str]:
    from kumiai.adapters.payments.bank import EmbeddedBank

    path, _, name = rest.partition("#")
    if not path:
        raise InputError("wallet", rest, "a file is missing: embedded:PATH#NAME")
    if not may_create and not expand_path(path).is_file():
        raise InputError("wallet", rest, "there is no such file; `kumiai wallet fund` begins one")
    bank = EmbeddedBank(expand_path(path))
    name = name or DEFAULT_NAME
    if not may_create and not bank.has_member(name):
        bank.close()
        raise InputError("wallet", rest, f"nobody there is called {name}")
    return bank, name


async def _open_embedded(source: WalletSource) -> WalletPort:
    from kumiai.adapters.payments.embedded import EmbeddedWallet

    bank, name = _open_bank(source.rest, may_create=source.may_create)
    return EmbeddedWallet(bank, name, owns_bank=True)


async def _open_lnbits(source: WalletSource) -> WalletPort:
    from kumiai.adapters.payments.lnbits import LnbitsWallet

    # an admin key may also look; with an invoice key the wallet can only be paid
    key = source.get_secret("LNBITS_KEY", "the wallet's admin key")
    return LnbitsWallet(source.rest, admin_key=key)


async def _open_nwc(source: WalletSource) -> WalletPort:
    from kumiai.adapters.nostr.relays import Relays
    from kumiai.adapters.payments.nwc import NwcWallet
    from kumiai.market.nips.nip47 import parse_uri

    try:
        connection = parse_uri(f"{NWC}:{source.rest}")
    except ValueError as error:  # its text does not repeat the secret
        raise InputError("wallet", f"{NWC}:...", str(error)) from None
    # some relays hand out a connection's events to its own keys alone (NIP-42)
    relays = Relays(connection.relays, connection.key)
    return NwcWallet(connection, relays, owns_relays=True)


async def _open_nwc_file(source: WalletSource) -> WalletPort:
    address = read_secret(expand_path(source.rest))
    kind, rest = _split(address)
    if kind != NWC:
        raise InputError("wallet", f"nwc:{source.rest}", f"the file holds no {NWC}://... address")
    return await _open_nwc(replace(source, rest=rest))


_OPENERS: Final[dict[str, Opener]] = {
    "embedded": _open_embedded,
    "lnbits": _open_lnbits,
    NWC: _open_nwc,
    "nwc": _open_nwc_file,
}
