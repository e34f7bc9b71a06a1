"""What the commands of `kumiai wallet` do: open the wallet, ask it, print plain words or JSON."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kumiai.adapters.payments.accounts import FAULTS, Books, Line, Verdict, read_receipts
from kumiai.adapters.payments.accounts import reconcile as compare
from kumiai.adapters.payments.accounts_csv import save_csv, show_time
from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.adapters.payments.open import SETTINGS, describe_wallet, open_bank, open_wallet
from kumiai.apps.cli.entry import get_language, get_setting
from kumiai.apps.cli.marketing.faults import explain_wallet
from kumiai.apps.cli.options import Lang
from kumiai.apps.cli.terminal import safe
from kumiai.apps.cli.wallet.amounts import read_amount, show_amount
from kumiai.apps.cli.wallet.movements import describe_movement, show_movements
from kumiai.apps.cli.wallet.purse import Purse, read_purse
from kumiai.apps.cli.wallet.purse import Settings as PurseSettings
from kumiai.apps.cli.wallet.tables import make_sums, make_table
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import read_places
from kumiai.apps.market.purses import name_ecash
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.errors import InputError, VerificationError
from kumiai.nodes.market.errors import MarketError, WalletError
from kumiai.nodes.market.ports import Payment, WalletPort

DAY_S: Final = 86_400
INTENTS: Final = Path("intents.db")
NOT_MOVED: Final = "nothing moved"
NOT_OURS: Final = "not of this member's jobs"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user said about the wallet and the output."""

    name: str | None
    secret_file: Path | None
    as_json: bool
    lang: Lang | None
    folder: Path | None = None  # of a job or provider, whose wallet and intents are meant

    @property
    def texts(self) -> Texts:
        return load_texts(cast(Language, get_language(self.lang)))

    @property
    def console(self) -> Console:
        return Console(highlight=False, quiet=self.as_json)

    def get_name(self) -> str:
        """The wallet's text; InputError where none was named."""
        if self.name or self.folder is None:
            name = self.name or get_setting("WALLET")
        else:
            name = read_places(MarketFolder(self.folder)).wallet
        if not name:
            raise InputError("WALLET", None, "name the wallet, or set KUMIAI_WALLET")
        return name

    def get_secret_file(self) -> Path | None:
        """The file with the wallet's key, as said now or when the folder was made."""
        if self.secret_file is not None or self.folder is None or self.name:
            return self.secret_file
        written = read_places(MarketFolder(self.folder)).secret_file
        return Path(written) if written else None

    def get_intents(self, named: Path | None) -> Path:
        """The file of intents that was named, or the folder's; InputError if it is not there."""
        if named is None:
            if self.folder is not None:
                read_places(MarketFolder(self.folder))  # InputError if nobody lives there
                named = MarketFolder(self.folder).money_path
            else:
                named = INTENTS
        if not named.is_file():
            fix = "there is no such file; for a job or provider name its folder: --folder DIR"
            if self.folder is not None:
                fix = "its node has not run yet"
            raise InputError("--intents", str(named), fix)
        return named

    def run(self, work: Callable[[WalletPort], Awaitable[T]]) -> T:
        """Open the wallet, which must exist, and do `work` with it."""

        async def inside() -> T:
            known = {name: get_setting(name) for name in SETTINGS}
            opened = await open_wallet(
                self.get_name(),
                settings=known,
                secret_file=self.get_secret_file(),
                may_create=False,
            )
            try:
                return await work(opened)
            finally:
                await opened.close()

        try:
            return asyncio.run(inside())
        except WalletError as error:
            shown = describe_wallet(self.get_name())
            raise MarketError(explain_wallet(error, self.texts, shown)) from error

    def print_json(self, document: Mapping[str, object]) -> None:
        """Print one JSON document, if that was asked for."""
        if self.as_json:
            text = json.dumps(document, ensure_ascii=False, indent=1)
            # a server's JSON can spell half a character, which no terminal or file takes
            typer.echo(text.encode(errors="replace").decode())


def show_balance(settings: Settings) -> None:
    """Print what the wallet holds."""

    async def ask(opened: WalletPort) -> tuple[Any, Any]:
        return await opened.get_info(), await opened.get_balance()

    info, balance = settings.run(ask)
    shown = describe_wallet(settings.get_name())
    purse = _read_purse(settings)
    document = {"wallet": shown, "kind": info.kind, **asdict(balance)}
    if purse is not None:
        document["ecash"] = {"ecash": purse.name, **asdict(purse.balance)}
    settings.print_json(document)
    texts, console = settings.texts, settings.console
    console.print(safe(texts.text("wallet.balance", wallet=shown, kind=info.kind), "bold"))
    table = make_sums()
    table.add_row(texts.text("wallet.spendable"), show_amount(balance.spendable_msat))
    table.add_row(texts.text("wallet.held"), show_amount(balance.held_msat))
    console.print(table)
    if purse is not None:
        console.print(safe(texts.text("wallet.ecash.balance", ecash=purse.name), "bold"))
        table = make_sums()
        table.add_row(texts.text("wallet.spendable"), show_amount(purse.balance.spendable_msat))
        table.add_row(texts.text("wallet.held"), show_amount(purse.balance.held_msat))
        console.print(table)


def show_history(settings: Settings, days: int | None) -> None:
    """Print the wallet's movements."""
    since_s = max(0, int(time.time()) - days * DAY_S) if days else 0
    found = settings.run(lambda opened: opened.list_payments(since_s))
    shown = describe_wallet(settings.get_name())
    purse = _read_purse(settings)
    document: dict[str, object] = {"wallet": shown, "payments": [asdict(it) for it in found]}
    if purse is not None:
        moved = [it for it in purse.movements if (it.ended_at_s or it.created_at_s) >= since_s]
        shown_moves = [describe_movement(it) for it in moved]
        document["ecash"] = {"ecash": purse.name, "movements": shown_moves}
    settings.print_json(document)
    texts, console = settings.texts, settings.console
    if found:
        console.print(_make_history(found, texts))
    else:
        console.print(texts.text("wallet.no_history"))
    if purse is not None:
        console.print(safe(texts.text("wallet.ecash.balance", ecash=purse.name), "bold"))
        console.print(show_movements(moved, texts) if moved else texts.text("wallet.no_history"))


def _make_history(found: list[Payment], texts: Texts) -> Table:
    heads = ["time", "way", "amount", "fee", "state", "what"]
    if not any(it.fee_msat for it in found):
        heads.remove("fee")
    table = make_table(texts, *heads)
    for it in sorted(found, key=lambda it: (it.settled_at_s or it.created_at_s, it.description)):
        cells = {
            "time": _show_moment(it.settled_at_s or it.created_at_s),
            "way": texts.name("wallet.way_of", "in" if it.is_incoming else "out"),
            "amount": show_amount(it.amount_msat),
            "fee": show_amount(it.fee_msat) if it.fee_msat else "",
            "state": texts.name("wallet.state_of", it.state.value),
            "what": safe(it.description),
        }
        table.add_row(*(cells[head] for head in heads))
    return table


def show_books(settings: Settings, intents: Path | None, receipts: Path | None) -> None:
    """Print the accounts; VerificationError if they do not agree."""
    books = _make_books(settings, intents, receipts)
    settings.print_json(describe_books(books))
    texts, console = settings.texts, settings.console
    if books.lines:
        console.print(_make_lines(books, texts))
        console.print()
    sums = make_sums()
    for name, amount in _list_sums(books):
        sums.add_row(texts.text(f"wallet.{name}"), show_amount(amount))
    console.print(sums)
    if not books.is_reconciled:
        places = {"n": len(books.faults), "difference": show_amount(books.difference_msat)}
        raise VerificationError(texts.text("wallet.not_reconciled", **places))
    console.print(texts.text("wallet.reconciled"), style="green")


def save_books(settings: Settings, intents: Path | None, receipts: Path | None, out: Path) -> None:
    """Write the accounts as CSV."""
    books = _make_books(settings, intents, receipts)
    save_csv(books.lines, out)
    settings.print_json({"path": str(out), "lines": len(books.lines)})
    places = {"n": len(books.lines), "path": str(out)}
    settings.console.print(safe(settings.texts.text("wallet.exported", **places)))


def fund(settings: Settings, amount: str) -> None:
    """Make play money."""
    amount_msat = read_amount("AMOUNT", amount)
    bank, name = open_bank(settings.get_name())
    with bank:
        bank.fund(name, amount_msat)
        spendable_msat = bank.get_balance(name).spendable_msat
    shown = describe_wallet(settings.get_name())
    settings.print_json({"wallet": shown, "spendable_msat": spendable_msat})
    places = {"wallet": shown, "amount": show_amount(amount_msat)}
    settings.console.print(safe(settings.texts.text("wallet.funded", **places)))


def describe_books(books: Books) -> dict[str, object]:
    """Return the accounts as one JSON document; amounts are msat."""
    return {
        "is_reconciled": books.is_reconciled,
        **{f"{name}_msat": amount for name, amount in _list_sums(books)},
        "lines": [asdict(line) for line in books.lines],
    }


def _read_purse(settings: Settings) -> Purse | None:
    """The ecash of the member whose folder was named."""
    if settings.folder is None or settings.name or not name_ecash(MarketFolder(settings.folder)):
        return None
    return read_purse(PurseSettings(settings.folder, settings.as_json, settings.lang))


def _make_books(settings: Settings, intents: Path | None, receipts: Path | None) -> Books:
    kept = settings.get_intents(intents)
    said = read_receipts(receipts) if receipts is not None else None

    async def ask(opened: WalletPort) -> tuple[list[Payment], Any]:
        return await opened.list_payments(), await opened.get_balance()

    movements, balance = settings.run(ask)
    with SqliteIntents(kept, is_readonly=True) as store:
        return compare(store.list_all(), movements, balance, said)


def _list_sums(books: Books) -> list[tuple[str, int]]:
    return [
        ("received", books.received_msat),
        ("sent", books.sent_msat),
        ("fees", books.fee_msat),
        ("locked", books.locked_msat),
        ("spendable_told", books.balance.spendable_msat),
        ("difference", books.difference_msat),
    ]


def _make_lines(books: Books, texts: Texts) -> Table:
    heads = ["time", "way", "amount", "fee", "what", "verdict", "reason"]
    if not any(line.fee_msat for line in books.lines):
        heads.remove("fee")
    if not any(_get_reason(line, texts) for line in books.lines):
        heads.remove("reason")
    table = make_table(texts, *heads)
    for line in sorted(books.lines, key=_get_place):
        style = "red" if line.verdict in FAULTS else "dim" if line.verdict in _QUIET else ""
        cells = {
            "time": _show_moment(line.at_s),
            "way": texts.name("wallet.way_of", "in" if line.is_incoming else "out"),
            "amount": show_amount(line.amount_msat),
            "fee": show_amount(line.fee_msat) if line.fee_msat else "",
            "what": safe(_say_what_for(line, texts)),
            "verdict": Text(texts.name("wallet.verdict_of", line.verdict.value), style),
            "reason": safe(_get_reason(line, texts)),
        }
        table.add_row(*(cells[head] for head in heads))
    return table


def _get_place(line: Line) -> tuple[int, str, int, str]:
    """Rounds that were paid in one second stand in their order."""
    return line.at_s, line.job, line.round, line.description


def _get_reason(line: Line, texts: Texts) -> str:
    """What the verdict does not say already."""
    limit = f"wallet.limit_of.{line.reason.partition(':')[0]}"
    if texts.has(limit):
        return texts.text(limit)
    is_said = line.verdict is Verdict.VOID and line.reason.startswith(NOT_MOVED)
    return "" if is_said or line.verdict is Verdict.UNKNOWN else line.reason


def _say_what_for(line: Line, texts: Texts) -> str:
    """The job and round, where the intent names them; else what the invoice says."""
    if line.verdict is Verdict.UNKNOWN:  # the verdict says already that it is not ours
        return line.reason.removeprefix(NOT_OURS).removeprefix(": ")
    if not line.job:
        return line.description
    return texts.text("wallet.for_round", job=line.job[:8], round=line.round)


def _show_moment(at_s: int) -> str:
    """As people read it; the column's head says that it is UTC."""
    return show_time(at_s).replace("T", " ").removesuffix("Z")


_QUIET: Final = (Verdict.UNKNOWN, Verdict.VOID)
