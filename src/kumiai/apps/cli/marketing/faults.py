"""What goes wrong with a service, in words for people: without ids and the plumbing of an error."""

from __future__ import annotations

import re
from typing import Final

from kumiai.apps.cli.terminal import clean
from kumiai.apps.market.places import LOCAL_BLOBS, LOCAL_RELAY
from kumiai.apps.report.texts import Texts
from kumiai.nodes.market.errors import WalletError

DIGITS: Final = 8  # of an id
GROUP: Final = "market.trouble_of"
WALLET_GROUP: Final = "wallet.fault_of"
KINDS: Final = (
    "storing",
    "fetching",
    "opening",
    "training",
    "judging",
    "combining",
    "ecash",
    "making invoice",
    "looking at",
    "paying",
    "sending event",
    "writing the journal",
    "listening",
    "looking for our events",
)
_ID = re.compile(r"\b[0-9a-f]{9,64}\b")
_UNREACHABLE = re.compile(
    r"Cannot connect to host \S+ ssl:\S+ \[[^\]]*\]|\[Errno \d+\] Connect call failed \([^)]*\)"
)
_STARTED_BY: Final = ((LOCAL_RELAY, "kumiai relay"), (LOCAL_BLOBS, "kumiai blobs"))


def name_work(what: str, texts: Texts) -> str:
    """What a node was doing, in the reader's language where the words are ours."""
    for kind in KINDS:
        if what == kind or what.startswith(f"{kind} "):
            return texts.text(f"{GROUP}.{kind}")
    return _ID.sub(lambda found: found[0][:DIGITS], what)


def describe_fault(fault: str, texts: Texts, url: str = "") -> str:
    """An error's sentence; `url`: the service's, where the reader knows already whose it is."""
    plain = _UNREACHABLE.sub(texts.text("market.unreachable"), fault)
    return _ID.sub(lambda found: found[0][:DIGITS], plain).removeprefix(f"{url}: ")


def explain_wallet(error: WalletError, texts: Texts, wallet: str = "") -> str:
    """Say in plain words what a wallet or mint refused, and what to do, where that is known.

    wallet: its name without anything secret, where there is one.
    """
    key = f"{WALLET_GROUP}.{error.code}"
    detail = clean(str(error).removeprefix(f"{error.code}: "))
    return texts.text(key, detail=detail, wallet=clean(wallet)) if texts.has(key) else detail


def hide_ids(fault: str) -> str:
    """The same for every blob or event that it happens to."""
    return _ID.sub("", fault)


def find_start(fault: str) -> str:
    """The command that starts the service of this machine that cannot be reached; "": none."""
    if not _UNREACHABLE.search(fault):
        return ""
    return next((command for url, command in _STARTED_BY if url in fault), "")
