"""Kills a member's process (SIGKILL) at every step of one act with money, and lets it come back.

Run as a program with a folder and an act; it forks one child for each step until an act passes
whole, takes each up again in another process, and prints as JSON what each came to. A step is
every call to the intents and the wallet (before, after), and in their files every statement that
writes (before) and every commit (before). Reads in between change nothing that could be lost.
"""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import Engine, event

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.nodes.market.cashier import Cashier
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.intents import Debt

AMOUNT, FUNDED = 5_000, 1_000_000
DEBT = Debt("round", "job", 1, "ab" * 32)
PREIMAGE = "77" * 32
HASH = hashlib.sha256(bytes.fromhex(PREIMAGE)).hexdigest()


class Steps:
    """Counts the steps and kills this process at the chosen one."""

    def __init__(self, deadly: int) -> None:
        self.deadly, self.count, self.is_on = deadly, 0, False

    def watch(self, engine: Engine) -> None:
        """Every write of this file is a step."""
        event.listen(engine, "commit", self)
        event.listen(engine, "before_cursor_execute", self._on_statement)

    def _on_statement(self, connection: object, cursor: object, text: str, *_: object) -> None:
        if not text.startswith(("SELECT", "PRAGMA")):
            self()

    def __call__(self, *_: object) -> None:
        if not self.is_on:
            return
        self.count += 1
        if self.count == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)


class Stepped:
    """Any object with a step before and after each of its calls."""

    def __init__(self, inner: object, step: Callable[[], None]) -> None:
        self._inner, self._step = inner, step

    def __getattr__(self, name: str) -> object:
        method = getattr(self._inner, name)
        if asyncio.iscoroutinefunction(method):

            async def call_async(*args: object, **more: object) -> object:
                self._step()
                answer = await method(*args, **more)
                self._step()
                return answer

            return call_async

        def call(*args: object, **more: object) -> object:
            self._step()
            answer = method(*args, **more)
            self._step()
            return answer

        return call


class Member:
    """One member with its wallet and its intents; every step of it may be its last."""

    def __init__(self, bank: EmbeddedBank, folder: Path, name: str, steps: Steps) -> None:
        self.store = SqliteIntents(folder / f"{name}.db", is_synced=False)
        steps.watch(self.store._engine)
        self.wallet = EmbeddedWallet(bank, name)
        self.cashier = Cashier(
            Stepped(self.wallet, steps),  # type: ignore[arg-type]
            Stepped(self.store, steps),  # type: ignore[arg-type]
            bolt11.decode,
            lambda: 1_800_000_000,
        )


class Play:
    """The act: a customer pays or locks, a provider settles or cancels."""

    def __init__(self, folder: Path, deadly: int) -> None:
        self.steps = Steps(deadly)
        self.bank = EmbeddedBank(folder / "bank.db", clock=lambda: 1_800_000_000)
        self.bank.fund("customer", FUNDED, "once")
        self.customer = Member(self.bank, folder, "customer", self.steps)
        self.provider = Member(self.bank, folder, "provider", self.steps)
        self.steps.watch(self.bank._engine)

    async def ask(self) -> str:
        return (await self.provider.cashier.ask("a", DEBT, AMOUNT)).bolt11

    async def ask_hold(self) -> str:
        return (await self.provider.cashier.ask_hold("h", DEBT, AMOUNT, HASH)).bolt11

    async def begin(self, *, is_again: bool) -> None:
        """Nothing yet: the files are there."""

    async def lock(self, *, is_again: bool) -> None:
        text = await self.ask_hold()
        await self.customer.cashier.pay("p", DEBT, text, AMOUNT, payment_hash=HASH)

    async def pay(self, *, is_again: bool) -> None:
        """A restarted member tries another invoice first, as a careless one would."""
        first = await self.ask()
        self.steps.is_on = True
        if is_again:
            other = (await self.provider.wallet.make_invoice("other", AMOUNT)).bolt11
            try:
                await self.customer.cashier.pay("p/2", DEBT, other, AMOUNT)
                return
            except WalletError as error:
                if error.code != "ALREADY_PAID":
                    raise
        await self.customer.cashier.pay("p", DEBT, first, AMOUNT)

    async def hold(self, *, is_again: bool) -> None:
        text = await self.ask_hold()
        self.steps.is_on = True
        await self.customer.cashier.pay("p", DEBT, text, AMOUNT, payment_hash=HASH)

    async def settle(self, *, is_again: bool) -> None:
        self.steps.is_on = True
        if is_again:
            await self.provider.cashier.resolve_open()
        await self.provider.cashier.settle("h", PREIMAGE)

    async def cancel(self, *, is_again: bool) -> None:
        self.steps.is_on = True
        if is_again:
            await self.provider.cashier.resolve_open()
        await self.provider.cashier.cancel("h")

    async def invoice(self, *, is_again: bool) -> None:
        self.steps.is_on = True
        await self.ask()
        await self.ask_hold()

    def close(self) -> None:
        self.bank.close()
        self.customer.store.close()
        self.provider.store.close()

    async def tell(self) -> dict[str, object]:
        """What it came to, by the wallets' own words."""
        await self.customer.cashier.resolve_open()
        await self.provider.cashier.resolve_open()
        self.bank.check_books()
        balance = self.bank.get_balance("customer")
        records = [*self.customer.store.list_all(), *self.provider.store.list_all()]
        return {
            "spent": FUNDED - balance.spendable_msat - balance.held_msat,
            "held": balance.held_msat,
            "received": self.bank.get_balance("provider").spendable_msat,
            "states": {f"{it.intent.key} {it.intent.action}": it.outcome.state for it in records},
        }


def run_once(folder: Path, act: str, deadly: int, *, is_again: bool) -> dict[str, object]:
    async def inside() -> dict[str, object]:
        play = Play(folder, deadly)
        method: Callable[..., Awaitable[None]] = getattr(play, act)
        await method(is_again=is_again)
        play.steps.is_on = False
        told = {"steps": play.steps.count, **await play.tell()}
        play.close()
        return told

    return asyncio.run(inside())


def run_in_child(folder: Path, act: str, deadly: int, *, is_again: bool) -> object:
    """The result of a process of its own, or the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            told = run_once(folder, act, deadly, is_again=is_again)
            (folder / "told.json").write_text(json.dumps(told))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, f"{act}, step {deadly}, {folder}"
    return json.loads((folder / "told.json").read_text())


def main() -> None:
    folder, act = Path(sys.argv[1]), sys.argv[2]
    results: list[object] = []
    begun = folder / "begun"  # made once, copied for each step
    begun.mkdir(parents=True)
    prepared = "lock" if act in ("settle", "cancel") else "begin"
    assert isinstance(run_in_child(begun, prepared, 0, is_again=False), dict)
    for deadly in range(1, 10_000):
        place = folder / f"{act}{deadly}"
        shutil.copytree(begun, place)
        first = run_in_child(place, act, deadly, is_again=False)
        if first != signal.SIGKILL:
            break  # there are no more steps
        results.append(run_in_child(place, act, 0, is_again=True))
    print(json.dumps({"whole": first, "after": results}))


if __name__ == "__main__":
    main()
