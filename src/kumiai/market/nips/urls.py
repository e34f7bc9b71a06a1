"""Addresses of relays and blob servers in one form: two spellings of one server are seen as one.

Source: NIP-01 and NIP-65 ("normalize"), RFC 3986 section 6.2.2: scheme and host in lower case, no
default port, no slash at the end. Deviation: only ASCII without user names, fragments or dots that
climb is taken, as relays and blob servers have no use for them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

URL_CHARS_MAX: Final = 255
LOCAL_NAMES: Final = (".local", ".internal", ".localhost", ".home.arpa")

_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_RELAY_PORTS: Final = {"ws": 80, "wss": 443}
_SERVER_PORTS: Final = {"http": 80, "https": 443}


def normalise_relay_url(text: str) -> str:
    """Return the one form of a ws:// or wss:// address; ValueError for anything else."""
    return _normalise(text, "relay", _RELAY_PORTS)


def normalise_server_url(text: str) -> str:
    """Return the one form of a blob server's http:// or https:// address; ValueError if none."""
    url = _normalise(text, "server", _SERVER_PORTS)
    if "?" in url:
        raise ValueError(f"server address {text[:80]!r}: it has a query")
    return url


def is_server_address(text: str) -> bool:
    """Tell whether a blob server could be asked there at all: not at port 99999, for one."""
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_whole and text.startswith(("http://", "https://")) and not any(map(str.isspace, text))


def is_public(url: str) -> bool:
    """Tell whether an address looks like one on the public network (names are not asked)."""
    host = (urlsplit(url).hostname or "").rstrip(".")  # "localhost." is localhost
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        pass
    last = host.rsplit(".", 1)[-1]
    is_number = last.isdigit() or last.startswith("0x")  # 127.1 and 0x7f.1 are addresses too
    return "." in host and not is_number and not host.endswith(LOCAL_NAMES)


def _normalise(text: str, what: str, ports: Mapping[str, int]) -> str:
    if len(text) > URL_CHARS_MAX or not _PRINTABLE.fullmatch(text):
        raise ValueError(f"{what} address {text[:80]!r}: too long, or not printable ASCII")
    parts = urlsplit(text)  # raises ValueError for a bad IPv6 address, .port for a bad port
    scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    if scheme not in ports:
        raise ValueError(f"{what} address {text[:80]!r}: not {' or '.join(ports)}://")
    if not _HOST.fullmatch(host) or "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{what} address {text[:80]!r}: host, or a user name or fragment")
    if port == 0 or any(step in {".", ".."} for step in parts.path.split("/")):
        raise ValueError(f"{what} address {text[:80]!r}: port 0, or a path with dots")
    host = f"[{host}]" if ":" in host else host
    shown_port = "" if port in {None, ports[scheme]} else f":{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}://{host}{shown_port}{parts.path.rstrip('/')}{query}"
