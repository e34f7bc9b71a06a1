"""A wallet served over relays (NIP-47) to whoever has its link: `kumiai wallet serve`.

The folder of a served wallet:

seed           64 hex digits from which the link's keys follow, and which wallet it is
link.txt       the nostr+walletconnect:// link; who has it can ask what was allowed
spent.sqlite   what left the wallet through the link: budgets outlive restarts
lock           held while it is served

All are readable by the owner alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.nostr.relays import Relays
from kumiai.adapters.payments.nwc_budget import NwcBudgets
from kumiai.adapters.payments.nwc_desk import HOLD_METHODS, METHODS, Grant
from kumiai.adapters.payments.nwc_service import NwcService, derive_service_key
from kumiai.adapters.payments.open import open_wallet
from kumiai.apps.market.places import Places
from kumiai.apps.market.private import create_private, write_private
from kumiai.apps.market.running import OnRelay, watch_relays
from kumiai.base.errors import InputError, StoreError
from kumiai.market.nips import nip47
from kumiai.nodes.market.ports import Balance, WalletInfo

PAY = "pay_invoice"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the link's holder may do. budget_msat: may leave in all, fees included; 0: it cannot
    pay. fee_msat: of one payment. methods: () for all that go with this wallet and budget.
    """

    budget_msat: int = 0
    fee_msat: int = 0
    methods: tuple[str, ...] = ()

    def choose_methods(self, info: WalletInfo) -> tuple[str, ...]:
        """Return the methods of the link; InputError for one that is none, or cannot be."""
        possible = [
            name
            for name in METHODS
            if (self.budget_msat or name != PAY) and (info.has_hold or name not in HOLD_METHODS)
        ]
        for name in self.methods:
            if name not in METHODS:
                raise InputError("--methods", name, f"choose among {', '.join(METHODS)}")
            if name not in possible and name == PAY:
                raise InputError("--methods", name, "say how much it may pay: --budget-sat 500")
            if name not in possible:
                raise InputError("--methods", name, f"this {info.kind} wallet cannot do it")
        return tuple(name for name in possible if not self.methods or name in self.methods)


@dataclass(frozen=True, slots=True)
class Opened:
    """What is told before the first request is taken."""

    link: str
    link_path: Path
    methods: tuple[str, ...]
    spent_msat: int
    balance: Balance


class ServedFolder:
    """Paths and secrets of one served wallet. Making the object creates nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seed_path = root / "seed"
        self.link_path = root / "link.txt"
        self.spent_path = root / "spent.sqlite"
        self._lock_path = root / "lock"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the folder to this process, made if it is not there; InputError if another has it.

        Two services would each see the other's payments under way as given up.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"{self.root}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                fix = "another process serves it: stop that, or name another folder"
                raise InputError("--folder", str(self.root), fix) from error
            yield
        finally:
            os.close(handle)

    def open_seed(self, wallet: str) -> bytes:
        """Return the seed, made at the first time; InputError where it is another wallet's.

        wallet: without its secrets. A link that was given away must not lead to another wallet.
        """
        try:
            create_private(self.seed_path, f"{secrets.token_hex(32)}\n{wallet}\n")
            lines = self.seed_path.read_text(encoding="utf-8").splitlines()
            seed = bytes.fromhex(lines[0])
        except OSError as error:
            raise StoreError(f"{self.seed_path}: {error.strerror}") from error
        except (ValueError, IndexError):
            lines, seed = [], b""
        if len(lines) != 2 or len(seed) != 32:
            fix = "does not hold a seed of 64 hex digits and a wallet: name another --folder"
            raise InputError("--folder", str(self.seed_path), fix)
        if lines[1] != wallet:
            fix = f"its link belongs to wallet {lines[1]}: name another folder for this one"
            raise InputError("--folder", str(self.root), fix)
        return seed

    def read_relays(self) -> tuple[str, ...]:
        """Return the relays of the link that was given out; () where there is none yet."""
        try:
            return nip47.parse_uri(self.link_path.read_text(encoding="utf-8")).relays
        except (OSError, ValueError):
            return ()

    def save_link(self, link: str) -> None:
        """Write the link, for `--wallet nwc:...`."""
        try:
            write_private(self.link_path, f"{link}\n")
        except OSError as error:
            raise StoreError(f"{self.link_path}: {error.strerror}") from error


async def serve_wallet(
    folder: ServedFolder,
    places: Places,
    allowed: Allowance,
    settings: Mapping[str, str],
    on_open: Callable[[Opened], None],
    on_ready: Callable[[], None],
    on_relay: OnRelay,
) -> None:
    """Serve the wallet of `places` over its relays until cancelled.

    on_open: told the link; on_ready: from now on requests are taken.
    """
    secret_file = Path(places.secret_file) if places.secret_file else None
    wallet = await open_wallet(places.wallet, settings=settings, secret_file=secret_file)
    try:
        info = await wallet.get_info()
        methods = allowed.choose_methods(info)
        balance = await wallet.get_balance()
        with folder.hold():
            shown = places.wallet_shown
            # two wallets of one server differ by their keys alone: they are told apart by name
            seed = folder.open_seed(shown if places.is_play_money else f"{shown} ({info.name})")
            # two links to one wallet must not take each other's payments for their own
            name = hashlib.sha256(b"served" + seed).hexdigest()[:16]
            grant = Grant(name, allowed.budget_msat, methods, allowed.fee_msat)
            with NwcBudgets(folder.spent_path) as budgets:
                relays = Relays(places.relays, derive_service_key(seed, name))
                try:
                    service = NwcService(wallet, relays, places.relays, seed, budgets)
                    link = nip47.encode_uri(service.add_connection(grant))
                    folder.save_link(link)
                    spent_msat = budgets.get_spent(name)
                    on_open(Opened(link, folder.link_path, methods, spent_msat, balance))
                    await _serve(service, relays, on_ready, on_relay)
                finally:
                    await relays.close()
    finally:
        await wallet.close()


async def _serve(
    service: NwcService, relays: Relays, on_ready: Callable[[], None], on_relay: OnRelay
) -> None:
    watching = asyncio.create_task(watch_relays(relays, on_relay))
    try:
        await service.start()
        on_ready()
        await asyncio.Event().wait()
    finally:
        watching.cancel()
        await service.close()
