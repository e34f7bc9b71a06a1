"""Where a member meets others: relays, blob servers, its wallet.

What was not said is looked for in this order: the command's options, the job file, the environment
(KUMIAI_RELAYS, KUMIAI_BLOBS, KUMIAI_WALLET); relays and blob servers are then those that
`kumiai relay` and `kumiai blobs` start on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kumiai.adapters.payments.open import describe_wallet, expand_path, open_wallet
from kumiai.apps.market.folder import MarketFolder
from kumiai.base.errors import InputError
from kumiai.market.nips.urls import normalise_relay_url, normalise_server_url
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.record import decode_value

LOCAL_RELAY: Final = "ws://127.0.0.1:7447"
LOCAL_BLOBS: Final = "http://127.0.0.1:24242"
ADDRESSES_MAX: Final = 8
_FILES: Final = ("embedded", "nwc")  # kinds of wallets and ecash that name a file
_SILENT: Final = ("NOT_IMPLEMENTED", "RESTRICTED", "UNAUTHORIZED")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a member meets others, as its owner said."""

    relays: tuple[str, ...]
    blobs: tuple[str, ...]
    wallet: str
    secret_file: str = ""
    ecash: str = ""

    @property
    def wallet_shown(self) -> str:
        """The wallet without anything secret."""
        return describe_wallet(self.wallet)

    @property
    def wallet_or_none(self) -> str | None:
        """The same for messages; None where no wallet is named."""
        return self.wallet_shown if self.wallet else None

    @property
    def is_play_money(self) -> bool:
        """Tell whether its wallet is an embedded bank's."""
        return self.wallet.startswith("embedded:")


def complete_places(
    given: Places,
    settings: Mapping[str, str],
    written: Places | None = None,
    base_dir: Path = Path(),
) -> Places:
    """Fill in what was not said, and check it; InputError names where what is wrong was said.

    written: of the job file, whose paths are relative to `base_dir`. The result holds absolute
    paths: it means the same in whatever folder it is read again.
    """
    job = written or Places((), (), "")
    relays = {
        "--relay": given.relays,
        "market.relays": job.relays,
        "KUMIAI_RELAYS": _split(settings, "RELAYS"),
        "": (LOCAL_RELAY,),
    }
    blobs = {
        "--blobs": given.blobs,
        "market.blobs": job.blobs,
        "KUMIAI_BLOBS": _split(settings, "BLOBS"),
        "": (LOCAL_BLOBS,),
    }
    return Places(
        _pick(relays, normalise_relay_url, "ws://HOST:PORT or wss://HOST"),
        _pick(blobs, normalise_server_url, "http(s)://HOST:PORT"),
        _fix_path(given.wallet, Path())
        or _fix_path(job.wallet, base_dir)
        or _fix_path(settings.get("WALLET", ""), Path()),
        given.secret_file,
        _fix_path(given.ecash, Path()) or _fix_path(job.ecash, base_dir),
    )


def read_places(folder: MarketFolder) -> Places:
    """Return what a customer's or provider's folder says; InputError if it is none."""
    document = folder.read_plan()
    try:
        return decode_value(Places, document["places"])
    except (ValueError, KeyError) as error:
        raise InputError("DIR", str(folder.plan_path), f"cannot be read: {error}") from error


def need_wallet(places: Places, who: str) -> None:
    """InputError unless a wallet was named. who: "who pays" or "who is paid"."""
    if not places.wallet:
        fix = f"say {who}: --wallet embedded:FILE#NAME (play money), nwc:FILE or lnbits:URL"
        raise InputError("--wallet", "", fix)
    describe_wallet(places.wallet)  # InputError for a kind that there is not


async def read_spendable(places: Places, settings: Mapping[str, str]) -> int | None:
    """What its wallet can spend, in msat; None where it does not tell. The wallet must exist."""
    secret_file = Path(places.secret_file) if places.secret_file else None
    wallet = await open_wallet(
        places.wallet, settings=settings, secret_file=secret_file, may_create=False
    )
    try:
        return (await wallet.get_balance()).spendable_msat
    except WalletError as error:
        if error.code in _SILENT:
            return None
        raise
    finally:
        await wallet.close()


def _pick(
    choices: Mapping[str, Sequence[str]], normalise: Callable[[str], str], forms: str
) -> tuple[str, ...]:
    """The first choice that names anything, each address in its one form and once."""
    option, found = next((option, choice) for option, choice in choices.items() if choice)
    if len(found) > ADDRESSES_MAX:
        raise InputError(option, len(found), f"name at most {ADDRESSES_MAX}")
    kept: dict[str, None] = {}
    for text in found:
        try:
            kept[normalise(text)] = None
        except ValueError as error:
            raise InputError(option, text, f"write {forms}") from error
    return tuple(kept)


def _split(settings: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(settings.get(name, "").replace(",", " ").split())


def _fix_path(text: str, base_dir: Path) -> str:
    """`embedded:FILE#NAME` and the like with an absolute path; anything else as it is."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in _FILES or not rest.partition("#")[0]:
        return text
    path, hash_, name = rest.partition("#")
    return f"{kind}:{(base_dir / expand_path(path)).resolve()}{hash_}{name}"
