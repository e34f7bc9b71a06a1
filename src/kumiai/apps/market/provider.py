"""A provider's life: make its folder, run its node until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.open import open_wallet
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.apps.market.assembly import Member, Services, assemble
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import Places, complete_places, need_wallet
from kumiai.apps.market.planning import MSAT, check_payment, choose_payment, describe_hardware
from kumiai.apps.market.purses import open_ecash, open_purses
from kumiai.apps.market.running import OnRelay, run_until
from kumiai.base.errors import InputError
from kumiai.market.customer.state import UNPAID_STATES
from kumiai.market.provider import (
    Dispute,
    Leave,
    Pause,
    Provider,
    ProviderPolicy,
    ProviderState,
    RateCustomer,
    Start,
)
from kumiai.market.provider.announcing import is_said
from kumiai.market.provider.state import Stage, Standing
from kumiai.nodes.market.node import Observer
from kumiai.nodes.market.ports import WalletPort
from kumiai.nodes.market.record import InputCodec, decode_value, encode_value
from kumiai.nodes.market.replay import replay

KIND = "provider"
COMMANDS = (Start, Leave, Pause, Dispute, RateCustomer)
AUTO = "auto"
GOODBYE_S = 3.0
PROBE_S = 60  # an invoice that is only looked at expires
OWED = frozenset({Stage.LOCKED, Stage.ACCEPTED, Stage.DISPUTED})
# a folder from before these bounds goes on as it began: its journal was folded without them
_UNBOUND = {"wait_s_max": 0, "offers_max": 0, "offers_of_one_max": 0}
_OWED = ("watch/", "settle/", "cancel/", "redeem/", "publish/")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the owner of a machine takes on, as options say it."""

    name: str
    price_sat: int
    hardware: str = AUTO
    payment: tuple[str, ...] = ("hold", "fair", "invoice")
    train_s: int = 60
    recipes: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    contracts_max: int = 4
    disputes: bool = False
    refused: tuple[str, ...] = ()
    wait_s_max: int = 24 * 3600


async def create_provider(
    folder: MarketFolder, wishes: Wishes, places: Places, settings: Mapping[str, str]
) -> ProviderPolicy:
    """Make a provider's folder; its wallet is asked what it can do. An embedded bank that is not
    there is begun.
    """
    if wishes.price_sat < 1:
        raise InputError("--price", wishes.price_sat, "a round costs at least 1 sat")
    check_payment(wishes.payment)
    places = complete_places(places, settings)
    need_wallet(places, "who is paid")
    secret_file = Path(places.secret_file) if places.secret_file else None
    wallet = await open_wallet(places.wallet, settings=settings, secret_file=secret_file)
    try:
        info = await wallet.get_info()
        payment = choose_payment(wishes.payment, info, has_ecash=bool(places.ecash))
        payee = info.payee or await _find_payee(wallet)
    finally:
        await wallet.close()
    folder.create()
    ecash = open_ecash(places.ecash, folder)
    ecash_key = ecash.pubkey if ecash is not None else ""
    if ecash is not None:
        await ecash.close()
    policy = ProviderPolicy(
        pubkey=folder.read_key().pubkey,
        secret=folder.read_secret(),
        name=wishes.name,
        price_msat=wishes.price_sat * MSAT,
        payee=payee,
        payment=payment,
        ecash=ecash_key,
        train_s=wishes.train_s,
        recipes=wishes.recipes,
        code=wishes.code,
        contracts_max=wishes.contracts_max,
        hardware=describe_hardware() if wishes.hardware == AUTO else wishes.hardware,
        refused=wishes.refused,
        disputes=wishes.disputes,
        wait_s_max=wishes.wait_s_max,
    )
    save_provider(folder, policy, places)
    return policy


async def _find_payee(wallet: WalletPort) -> str:
    """Return the key that signs the wallet's invoices, read from one that nobody will pay.

    Customers compare it with what an offer named; not every wallet tells it otherwise.
    """
    key = f"which key signs {secrets.token_hex(8)}"
    made = await wallet.make_invoice(key, MSAT, "not to be paid", PROBE_S)
    return bolt11.decode(made.bolt11).payee


def save_provider(folder: MarketFolder, policy: ProviderPolicy, places: Places) -> None:
    """Write down everything that a provider's node needs to go on at any time."""
    folder.write_plan(KIND, {"places": encode_value(places), "policy": encode_value(policy)})


def move_provider(folder: MarketFolder, given: Places) -> None:
    """From now on the provider's node uses these relays and blob servers, where any are named."""
    policy, places = read_policy(folder)
    new = complete_places(given, {}, places)
    if new != places:
        save_provider(folder, policy, new)


def read_policy(folder: MarketFolder) -> tuple[ProviderPolicy, Places]:
    """Return what a provider's folder holds; InputError if it is none."""
    document = folder.read_plan(KIND)
    try:
        policy = decode_value(ProviderPolicy, {**_UNBOUND, **document["policy"]})
        return policy, decode_value(Places, document["places"])
    except (ValueError, KeyError) as error:
        raise InputError("DIR", str(folder.plan_path), f"cannot be read: {error}") from error


def read_state(folder: MarketFolder) -> tuple[ProviderPolicy, ProviderState]:
    """Fold the journal of a provider, also while its node runs elsewhere."""
    policy, _ = read_policy(folder)
    if not folder.journal_path.is_file():
        return policy, ProviderState()
    journal = SqliteMarketJournal(folder.journal_path, KIND, is_readonly=True)
    try:
        state = replay(Provider(policy), InputCodec(*COMMANDS), journal.read())
    finally:
        journal.close()
    return policy, state


async def run_provider(
    folder: MarketFolder,
    observer: Observer,
    settings: Mapping[str, str],
    on_relay: OnRelay | None = None,
) -> ProviderState:
    """Run the provider's node until it has left the market and its last contract has ended."""
    from kumiai.adapters.compute.market.provider import MarketProvider

    policy, places = read_policy(folder)
    async with AsyncExitStack() as opened:
        wallet, ecash = await opened.enter_async_context(open_purses(places, folder, settings))
        blobs = LocalBlobs(folder.blobs_path)
        work = opened.enter_context(
            closing(MarketProvider(blobs, lambda code: code in policy.code))
        )
        member = assemble(
            folder,
            Provider(policy),
            COMMANDS,
            Services(places.relays, places.blobs, wallet, ecash),
            name=KIND,
            provider_work=work,
            observer=observer,
        )
        async with member:
            try:
                await member.node.say(Start())
                state: ProviderState = await run_until(member, folder, has_left, COMMANDS, on_relay)
                return state
            except asyncio.CancelledError:
                await say_goodbye(member)
                raise


async def say_goodbye(member: Member) -> None:
    """Tell the relays that the machine is switched off, unless something is under way.

    Takes GOODBYE_S at most: what is not said by then ends by itself within ten minutes.
    """
    if member.task.done():
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            await member.node.say(Pause())
            if member.node.state.is_away:
                await member.node.wait_until(is_said)
                await member.node.wait_sent(GOODBYE_S)


def has_left(state: ProviderState) -> bool:
    """Tell whether nothing is owed any more after `Leave`."""
    if state.is_open or not state.announced_s or not is_said(state):
        return False
    works = state.works.values()
    if any(work.stage in OWED and work.payment not in UNPAID_STATES for work in works):
        return False  # money is still on its way
    if any(key.startswith(_OWED) for key in state.pending):
        return False  # also of contracts that were cancelled: what was delivered is paid
    return all(c.standing is Standing.ENDED for c in state.contracts.values())
