"""A process that pays as fast as it can at a shared bank until it is killed or has nothing left.

Run with the bank's file, the payer's name and the payee's. Prints one line when it begins.
"""

import asyncio
import sys
from pathlib import Path

from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.nodes.market.errors import WalletError


async def work(path: Path, payer: str, payee: str) -> None:
    with EmbeddedBank(path) as bank:
        mine, theirs = EmbeddedWallet(bank, payer), EmbeddedWallet(bank, payee)
        print("begun", flush=True)
        number = 0
        while True:
            number += 1
            invoice = await theirs.make_invoice(f"{payer} {number}", 1_000)
            try:
                await mine.pay(f"{number}", invoice.bolt11, 1_000, invoice.payee)
            except WalletError as error:
                if error.code == "INSUFFICIENT_BALANCE":
                    return
                raise


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
