"""Payments a second: the embedded bank alone, and with the cashier's intents around it.

    python benchmarks/market_wallet.py --save docs/results

One process, one payment after another, each with an invoice of its own: made and signed by the
payee, read and checked by the payer, moved in the bank's file. A hold cycle makes a hold invoice,
locks the money and settles it. `cashier` adds what a member does around it: both sides write their
intents first and the outcome after; `synced` also waits for the disk at each of these writes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AMOUNT_MSAT = 1_000
FUNDED_MSAT = 10**12


def make_preimage(number: int) -> tuple[str, str]:
    raw = hashlib.sha256(f"benchmark {number}".encode()).digest()
    return raw.hex(), hashlib.sha256(raw).hexdigest()


class Place:
    """A bank in a folder, a payer and a payee, each with a wallet and a cashier."""

    def __init__(self, folder: Path, *, is_synced: bool) -> None:
        self.bank = EmbeddedBank(folder / "bank.db", is_synced=is_synced)
        self.bank.fund("payer", FUNDED_MSAT)
        self.payer, self.payee = (EmbeddedWallet(self.bank, it) for it in ("payer", "payee"))
        self.stores = [
            SqliteIntents(folder / f"{name}.db", is_synced=is_synced) for name in ("payer", "payee")
        ]
        self.customer = Cashier(self.payer, self.stores[0], bolt11.decode, get_time_s)
        self.provider = Cashier(self.payee, self.stores[1], bolt11.decode, get_time_s)

    async def pay(self, number: int) -> None:
        invoice = await self.payee.make_invoice(f"a{number}", AMOUNT_MSAT)
        await self.payer.pay(f"p{number}", invoice.bolt11, AMOUNT_MSAT, invoice.payee)

    async def hold(self, number: int) -> None:
        preimage, payment_hash = make_preimage(number)
        invoice = await self.payee.make_hold_invoice(f"h{number}", AMOUNT_MSAT, payment_hash)
        await self.payer.pay(f"q{number}", invoice.bolt11, AMOUNT_MSAT, invoice.payee)
        await self.payee.settle(preimage)

    async def cashier_pay(self, number: int) -> None:
        debt = Debt("bench", "pay", number, "payee")
        invoice = await self.provider.ask(f"c{number}", debt, AMOUNT_MSAT)
        await self.customer.pay(f"c{number}", debt, invoice.bolt11, AMOUNT_MSAT)
        await self.provider.check(f"c{number}")

    async def cashier_hold(self, number: int) -> None:
        preimage, payment_hash = make_preimage(number)
        debt, key = Debt("bench", "hold", number, "payee"), f"d{number}"
        invoice = await self.provider.ask_hold(key, debt, AMOUNT_MSAT, payment_hash)
        await self.customer.pay(key, debt, invoice.bolt11, AMOUNT_MSAT, payment_hash=payment_hash)
        await self.provider.settle(key, preimage)
        await self.customer.check(key)

    def close(self) -> None:
        self.bank.check_books()
        self.bank.close()
        for store in self.stores:
            store.close()


def measure(act: Callable[[int], Awaitable[None]], start: int, count: int) -> tuple[float, float]:
    """Return acts a second and the 99th percentile of one in ms."""

    async def inside() -> list[float]:
        times = []
        for number in range(start, start + count):
            begun = time.perf_counter()
            await act(number)
            times.append(time.perf_counter() - begun)
        return sorted(times)

    times = asyncio.run(inside())
    return count / sum(times), times[int(0.99 * (count - 1))] * 1_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--payments", type=int, default=1_000, help="of each sort")
    add_save_option(parser, "market_wallet")
    options = parser.parse_args()
    out = Printout("market_wallet", options.save)
    table = Table(title=f"The embedded wallet: {options.payments} payments of each sort")
    for head in ("what", "files", "a second", "p99, ms"):
        table.add_column(head, justify="left" if head in ("what", "files") else "right")
    numbers = {}
    for is_synced in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), is_synced=is_synced)
            acts = {
                "pay": place.pay,
                "hold, settle": place.hold,
                "pay, with cashiers": place.cashier_pay,
                "hold, settle, with cashiers": place.cashier_hold,
            }
            for at, (name, act) in enumerate(acts.items()):
                rate, p99_ms = measure(act, at * 10**6, options.payments)
                files = "synced" if is_synced else "not synced"
                table.add_row(name, files, f"{rate:.0f}", f"{p99_ms:.1f}")
                numbers[f"{name}, {files}"] = {"per_second": rate, "p99_ms": p99_ms}
            place.close()
    out.show(table)
    out.say("Not synced: survives a killed process; synced: a power cut as well.")
    out.save(numbers)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from rich.table import Table

    from kumiai.adapters.payments import bolt11
    from kumiai.adapters.payments.bank import get_time_s
    from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
    from kumiai.adapters.payments.intents import SqliteIntents
    from kumiai.nodes.market.cashier import Cashier
    from kumiai.nodes.market.intents import Debt
    from saved_tables import Printout, add_save_option

    main()
