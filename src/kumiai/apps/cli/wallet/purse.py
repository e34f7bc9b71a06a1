"""What the commands for a member's ecash do: begin by telling what became of what was cut off."""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast

import typer
from rich.console import Console

from kumiai.adapters.payments import bolt11 as invoices
from kumiai.apps.cli.entry import EXIT_INTERRUPTED, get_language
from kumiai.apps.cli.marketing.faults import explain_wallet
from kumiai.apps.cli.options import Lang
from kumiai.apps.cli.terminal import safe
from kumiai.apps.cli.wallet.amounts import MSAT_OF_SAT, read_amount, show_amount
from kumiai.apps.cli.wallet.movements import describe_movement
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.purses import hold_purse, name_ecash, open_purse
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InputError
from kumiai.market.fees import compute_fee_max
from kumiai.nodes.market.errors import MarketError, WalletError
from kumiai.nodes.market.ports import Balance, PaymentState
from kumiai.nodes.market.purse import MoveKind, Movement, PursePort, TakenUp

POLL_S: Final = 2.0
MINT_FEE_MSAT: Final = 2_000  # of a payment's inputs: some thousandths of a unit each
TOKEN_CHARS_MAX: Final = 65_536
_LIVE: Final = (MoveKind.FILLED, MoveKind.PAID)

T = TypeVar("T")
Work = Callable[[PursePort], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Whose ecash it is, and how to tell."""

    folder: Path
    as_json: bool
    lang: Lang | None

    @property
    def texts(self) -> Texts:
        return load_texts(cast(Language, get_language(self.lang)))

    @property
    def place(self) -> MarketFolder:
        return MarketFolder(self.folder)

    @property
    def shown(self) -> str:
        """The folder as it is written in a command."""
        return shlex.quote(str(self.folder))

    def say(self, key: str, style: str = "", **places: object) -> None:
        """Print one line for people; where a program reads, on standard error."""
        console = Console(highlight=False, stderr=self.as_json)
        console.print(safe(self.texts.text(key, **places), style), soft_wrap=True)

    def print_json(self, document: Mapping[str, object]) -> None:
        """Print one JSON document, if that was asked for."""
        if self.as_json:
            typer.echo(json.dumps(document, indent=1))

    def run(self, work: Work[T]) -> T:
        """Open the ecash, tell what ended meanwhile, and do `work`; errors in plain words."""

        async def inside() -> T:
            async with open_purse(self.place) as purse:
                async with hold_purse(self.place):
                    taken = await purse.take_up()
                tell_taken_up(self, taken)
                return await work(purse)

        try:
            return asyncio.run(inside())
        except WalletError as error:
            raise MarketError(explain_wallet(error, self.texts)) from error
        except KeyboardInterrupt:
            self.say("wallet.ecash.left", "yellow", folder=self.shown)
            raise typer.Exit(EXIT_INTERRUPTED) from None


def tell_taken_up(settings: Settings, taken: TakenUp) -> None:
    """Say what ended since somebody looked last, and whether more could not be found out."""
    for it in taken.ended:
        ended = "settled" if it.state is PaymentState.SETTLED else "failed"
        key = f"wallet.ecash.ended.{it.kind}.{ended}"
        if settings.texts.has(key):
            amount, fee = show_amount(it.amount_msat), show_amount(it.fee_msat)
            settings.say(key, "green", amount=amount, fee=fee)
    if taken.fault is not None:
        fault = explain_wallet(taken.fault, settings.texts)
        settings.say("wallet.ecash.not_looked", "yellow", fault=fault)


@dataclass(frozen=True, slots=True)
class Purse:
    """A member's ecash, as it is on file."""

    name: str
    balance: Balance
    movements: list[Movement]


def read_purse(settings: Settings) -> Purse:
    """Tell what ended meanwhile, and return what is there; waits for no other command."""

    async def ask() -> tuple[TakenUp, Purse]:
        async with open_purse(settings.place) as purse:
            taken = TakenUp(())
            async with hold_purse(settings.place, waits=False) as is_held:
                if is_held:  # else whoever holds it learns what became of it
                    taken = await purse.take_up()
            balance, movements = await purse.get_balance(), await purse.list_movements()
        return taken, Purse(name_ecash(settings.place), balance, movements)

    taken, found = asyncio.run(ask())
    tell_taken_up(settings, taken)
    return found


def fill(settings: Settings, amount: str, wait: bool) -> None:
    """Show an invoice and, if wanted, stay until its ecash is there."""
    amount_msat = read_amount("AMOUNT", amount)

    async def ask(purse: PursePort) -> Movement:
        async with hold_purse(settings.place):
            asked = await purse.fill(await _find_open(purse, amount_msat), amount_msat)
        if not settings.as_json:
            settings.say("wallet.ecash.invoice", amount=show_amount(amount_msat))
            typer.echo(asked.bolt11)
        if not wait:
            return asked
        settings.say("wallet.ecash.waiting", "dim", folder=settings.shown)
        return await _insist(settings, lambda: purse.claim(asked.key))

    filled = settings.run(ask)
    settings.print_json(describe_movement(filled))
    if filled.state is PaymentState.SETTLED:
        settings.say("wallet.ecash.filled", "green", amount=show_amount(filled.amount_msat))
    else:
        settings.say("wallet.ecash.later", folder=settings.shown)


def pay(settings: Settings, text: str, fee_sat: int | None) -> None:
    """Pay an invoice and stay until it is known what became of it."""
    invoice = invoices.decode(text)
    fee_msat = compute_fee_max(invoice.amount_msat) + MINT_FEE_MSAT
    if fee_sat is not None:
        fee_msat = fee_sat * MSAT_OF_SAT

    async def attempt(purse: PursePort) -> Movement:
        async with hold_purse(settings.place):
            return await purse.pay(invoice.bolt11, fee_msat)

    async def ask(purse: PursePort) -> Movement:
        try:
            paid = await attempt(purse)
        except WalletError as error:
            known = {it.bolt11 for it in await purse.list_movements()}
            if not error.is_retriable or invoice.bolt11 not in known:
                raise  # nothing was begun
            paid = await _insist(settings, lambda: attempt(purse))
        if paid.state is PaymentState.PENDING:
            settings.say("wallet.ecash.under_way", "dim")
        while paid.state is PaymentState.PENDING:
            await asyncio.sleep(POLL_S)
            paid = await _insist(settings, lambda: attempt(purse))
        return paid

    paid = settings.run(ask)
    settings.print_json(describe_movement(paid))
    amount, fee = show_amount(paid.amount_msat), show_amount(paid.fee_msat)
    settings.say("wallet.ecash.paid", "green", amount=amount, fee=fee)
    if not paid.preimage:
        settings.say("wallet.ecash.no_proof", "dim")
    if paid.fee_msat > paid.fee_msat_max:
        agreed = show_amount(paid.fee_msat_max)
        settings.say("wallet.ecash.overcharged", "yellow", fee=fee, agreed=agreed)


def send(settings: Settings, amount: str) -> None:
    """Print a token."""
    amount_msat = read_amount("AMOUNT", amount)

    async def ask(purse: PursePort) -> str:
        async with hold_purse(settings.place):
            return await purse.send(f"send/{secrets.token_hex(8)}", amount_msat)

    token = settings.run(ask)
    settings.print_json({"amount_msat": amount_msat, "token": token})
    if not settings.as_json:
        settings.say("wallet.ecash.sent", amount=show_amount(amount_msat))
        typer.echo(token)
    settings.say("wallet.ecash.sent_help", "dim", folder=settings.shown)


def receive(settings: Settings, text: str) -> None:
    """Take a token in."""
    if text == "-":
        text = sys.stdin.read(TOKEN_CHARS_MAX + 2)
    token = text.strip()
    if not 0 < len(token) <= TOKEN_CHARS_MAX:
        fix = f"give a token: 1 to {TOKEN_CHARS_MAX} characters"
        raise InputError("TOKEN", f"({len(token)} characters)", fix)

    async def ask(purse: PursePort) -> int:
        async with hold_purse(settings.place):
            key = f"receive/{sha256_hex(token.encode(errors='replace'))}"
            return await purse.redeem(key, token)

    received_msat = settings.run(ask)
    settings.print_json({"amount_msat": received_msat})
    settings.say("wallet.ecash.received", "green", amount=show_amount(received_msat))


def show_pending(settings: Settings) -> None:
    """Show what is open, with the invoice or token of each."""

    async def ask(purse: PursePort) -> list[Movement]:
        found = []
        for it in await purse.list_movements():
            is_open = it.kind in _LIVE and it.state is PaymentState.PENDING
            if it.kind is MoveKind.SENT and it.token:
                is_open = (await purse.get_state(it.token)).state != "spent"
            if is_open:
                found.append(it)
        return found

    found = settings.run(ask)
    shown = [{**describe_movement(it), "token": it.token} for it in found]
    settings.print_json({"ecash": name_ecash(settings.place), "pending": shown})
    if settings.as_json:
        return
    if not found:
        settings.say("wallet.ecash.nothing_open")
    for it in found:
        places = {"amount": show_amount(it.amount_msat)}
        settings.say(f"wallet.ecash.open.{it.kind}", **places)
        typer.echo(it.token or it.bolt11)


async def _find_open(purse: PursePort, amount_msat: int) -> str:
    """The key of an invoice over that amount that waits already, or a new one."""
    for it in await purse.list_movements():
        is_same = it.kind is MoveKind.FILLED and it.amount_msat == amount_msat
        if is_same and it.state is PaymentState.PENDING:
            return it.key
    return f"fill/{secrets.token_hex(8)}"


async def _insist(settings: Settings, attempt: Callable[[], Awaitable[T]]) -> T:
    """Ask until the answer is final; a mint that is away is said once."""
    said = ""
    while True:
        try:
            return await attempt()
        except WalletError as error:
            if not error.is_retriable:
                raise
            fault = explain_wallet(error, settings.texts)
            if error.code != "OTHER" and fault != said:
                settings.say("wallet.ecash.again", "yellow", fault=fault)
                said = fault
        await asyncio.sleep(POLL_S)
