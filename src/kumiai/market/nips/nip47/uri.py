"""The connection that a wallet hands its owner as one line: a secret, so it is never logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from kumiai.base.canonical import is_hash
from kumiai.base.keys import SigningKey, key_from_secret
from kumiai.market.nips.urls import normalise_relay_url

SCHEME: Final = "nostr+walletconnect://"
URI_CHARS_MAX: Final = 4_096
RELAY_COUNT_MAX: Final = 8

_SHORT_SCHEME: Final = "nostr+walletconnect:"  # as some wallets write it
_FIELD_COUNT_MAX: Final = 16
_LUD16_CHARS_MAX: Final = 320


@dataclass(frozen=True, slots=True)
class Connection:
    """wallet: the service's public key; key: ours for this wallet alone; lud16: its address."""

    wallet: str
    relays: tuple[str, ...]
    key: SigningKey
    lud16: str = ""


def encode_uri(connection: Connection) -> str:
    """Return the connection as a line; it holds the secret."""
    fields = [("relay", relay) for relay in connection.relays]
    fields.append(("secret", connection.key.secret.hex()))
    if connection.lud16:
        fields.append(("lud16", connection.lud16))
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields)
    return f"{SCHEME}{connection.wallet}?{query}"


def parse_uri(text: str) -> Connection:
    """Read the line; ValueError says what is missing, without repeating the secret."""
    text = text.strip()
    if len(text) > URI_CHARS_MAX:
        raise ValueError(f"a wallet connection of {len(text)} characters is too long")
    scheme = next((each for each in (SCHEME, _SHORT_SCHEME) if text.startswith(each)), None)
    if scheme is None:
        raise ValueError(f"a wallet connection begins with {SCHEME}")
    wallet, _, query = text[len(scheme) :].partition("?")
    wallet = wallet.removesuffix("/")
    if not is_hash(wallet):
        raise ValueError("the wallet's public key is 64 lower-case hex digits")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELD_COUNT_MAX)
    except ValueError as error:
        raise ValueError("a wallet connection has too many fields") from error
    secrets = [value for name, value in pairs if name == "secret"]
    if len(secrets) != 1 or not is_hash(secrets[0]):
        raise ValueError("a wallet connection has one secret of 64 lower-case hex digits")
    relays = [normalise_relay_url(value) for name, value in pairs if name == "relay"]
    if not 1 <= len(relays) <= RELAY_COUNT_MAX:
        raise ValueError(f"a wallet connection has 1 to {RELAY_COUNT_MAX} relays")
    addresses = [value[:_LUD16_CHARS_MAX] for name, value in pairs if name == "lud16"]
    key = key_from_secret(bytes.fromhex(secrets[0]))
    return Connection(wallet, tuple(dict.fromkeys(relays)), key, addresses[0] if addresses else "")
