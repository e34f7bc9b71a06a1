"""Kill -9 at every step of moving ecash, then ask again with the same key: money moves once.

    python ecash_crash.py embedded PART FOLDER
    python ecash_crash.py cashu PART FOLDER URL

PART is escrow (locking, redeeming) or purse (paying, sending, filling).

A step is a statement about to write, a transaction about to begin or to be committed, a request
about to leave, an answer that has come. For each step a fork is killed there; then the same call is
made again in a fresh wallet, and what all members have is compared, to the msat.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from sqlalchemy import event

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.cashu.api import MintApi
from kumiai.adapters.payments.cashu.embedded_purse import EmbeddedPurse
from kumiai.adapters.payments.cashu.purse import CashuPurse
from kumiai.base.keys import derive_key
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import EcashLock

FUNDED_MSAT = 8_192_000
AMOUNT_MSAT = 100_000
STEPS_MAX = 60
FEE_MSAT_MAX = 6_000  # of a payment: the route's and the mint's
SWAP_FEE_MSAT = {"embedded": 0, "cashu": 1_000}  # up to ten pieces: rounded up to one satoshi


class World:
    """Customer and provider, opened afresh for every call: nothing survives but the files."""

    def __init__(self, kind: str, folder: Path, url: str) -> None:
        self.kind, self.folder, self.url = kind, folder, url

    def open(self, name: str) -> Any:
        key = derive_key(name.encode(), "ecash")
        if self.kind == "embedded":
            return EmbeddedPurse(self.folder / "bank.sqlite", key)
        return CashuPurse(self.url, key, self.folder / f"{name}.sqlite")

    def call(self, name: str, make: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def inside() -> Any:
            wallet = self.open(name)
            try:
                return await make(wallet)
            finally:
                await wallet.close()

        return asyncio.run(inside())

    def kill_at(
        self, step: int, name: str, make: Callable[[Any], Coroutine[Any, Any, Any]]
    ) -> bool:
        """Run it in a fork that dies at that step; False if it came to its end before."""
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(self._run_armed(step, name, make))
            finally:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)

    async def _run_armed(
        self, step: int, name: str, make: Callable[[Any], Coroutine[Any, Any, Any]]
    ) -> None:
        wallet = self.open(name)
        left = step

        def tick(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        engine = wallet.engine if self.kind == "embedded" else wallet._store.engine

        def tick_if_it_writes(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(("INSERT", "UPDATE", "DELETE")):
                tick()

        event.listen(engine, "before_cursor_execute", tick_if_it_writes)
        event.listen(engine, "begin", tick)
        event.listen(engine, "commit", tick)
        ask = MintApi._request

        async def ask_armed(*arguments: Any) -> Any:
            tick()
            answer = await ask(*arguments)
            tick()
            return answer

        MintApi._request = ask_armed  # type: ignore[method-assign]
        await make(wallet)
        tick()  # done, and nobody was told
        await wallet.close()

    def count(self) -> int:
        balances = [self.call(name, lambda w: w.get_balance()) for name in ("customer", "provider")]
        assert all(balance.held_msat == 0 for balance in balances), balances
        return sum(balance.spendable_msat for balance in balances)


def fund(world: World) -> None:
    if world.kind == "embedded":
        world.call("customer", lambda w: w.deposit("funds", FUNDED_MSAT))
        return
    step = 0
    while world.kill_at(step := step + 1, "customer", lambda w: w.request_funds("f", FUNDED_MSAT)):
        pass
    asked = world.call("customer", lambda w: w.request_funds("f", FUNDED_MSAT))
    assert asked == world.call("customer", lambda w: w.request_funds("f", FUNDED_MSAT))
    step = 0
    while world.kill_at(step := step + 1, "customer", lambda w: w.claim_funds("f")):
        assert step < STEPS_MAX
    assert world.call("customer", lambda w: w.claim_funds("f")) == FUNDED_MSAT
    print(f"fund: {step - 1} steps")


def lock_and_redeem(world: World, *, is_redeem_killed: bool) -> None:
    """One of the two is killed at each of its steps in turn."""
    provider = world.open("provider").pubkey
    customer = world.open("customer").pubkey
    fee_msat = SWAP_FEE_MSAT[world.kind]
    what = "redeem" if is_redeem_killed else "lock"
    for step in range(1, STEPS_MAX):
        before = world.count()
        lock = EcashLock((provider,), 1, int(time.time()) + 3_600, customer)
        key = f"{what} {step}"

        def make(wallet: Any, key: str = key, lock: EcashLock = lock) -> Any:
            return wallet.lock(key, AMOUNT_MSAT, lock)

        is_killed = not is_redeem_killed and world.kill_at(step, "customer", make)
        token = world.call("customer", make)
        assert world.call("customer", make) == token
        assert world.count() == before - AMOUNT_MSAT - 2 * fee_msat, (what, step, "locked")

        def take(wallet: Any, key: str = key, token: str = token) -> Any:
            return wallet.redeem(key, token)

        is_killed |= is_redeem_killed and world.kill_at(step, "provider", take)
        assert world.call("provider", take) == AMOUNT_MSAT
        assert world.count() == before - 2 * fee_msat, (what, step, "redeemed")
        if not is_killed:
            print(f"{what}: {step - 1} steps")
            return
    raise AssertionError("it never came to its end")


def pay(world: World) -> None:
    """Killed at each step; it is learned what became of it, and the same invoice is paid again."""
    for step in range(1, STEPS_MAX):
        before = world.count()
        secret, now_s = os.urandom(32).hex(), int(time.time())
        text = bolt11.sign(b"\x11" * 32, secret, secret, AMOUNT_MSAT, now_s, 3_600)

        def make(wallet: Any, text: str = text) -> Any:
            return wallet.pay(text, FEE_MSAT_MAX)

        is_killed = world.kill_at(step, "customer", make)
        taken = world.call("customer", lambda w: w.take_up())
        assert taken.fault is None, (step, taken)
        paid = world.call("customer", make)
        assert paid.state == "settled" and world.call("customer", make) == paid
        assert all(it == paid for it in taken.ended), (step, taken)
        assert world.count() == before - AMOUNT_MSAT - paid.fee_msat, (step, "paid")
        assert paid.fee_msat <= FEE_MSAT_MAX
        if not is_killed:
            print(f"pay: {step - 1} steps")
            return
    raise AssertionError("it never came to its end")


def fill_again(world: World) -> None:
    """Invoice and claim, killed at each step and then only taken up: the ecash comes once."""
    for step in range(1, STEPS_MAX):
        key, before = f"fill {step}", world.count()

        async def make(wallet: Any, key: str = key) -> None:
            await wallet.fill(key, AMOUNT_MSAT)
            while True:
                try:
                    await wallet.claim(key)
                    return
                except WalletError as error:
                    if not error.is_retriable:
                        raise
                    time.sleep(0.05)

        is_killed = world.kill_at(step, "customer", make)
        for _ in range(100):
            world.call("customer", lambda w: w.take_up())
            known = {it.key: it.state for it in world.call("customer", list_movements)}
            if known.get(key, "none") in ("none", "settled"):
                break
            time.sleep(0.1)
        gained = AMOUNT_MSAT if key in known else 0  # else nobody was shown an invoice
        assert known.get(key, "settled") == "settled", (step, known)
        assert world.count() == before + gained, (step, "filled")
        if not is_killed:
            print(f"fill: {step - 1} steps")
            return
    raise AssertionError("it never came to its end")


def list_movements(wallet: Any) -> Any:
    return wallet.list_movements()


def send(world: World) -> None:
    """A token whose making was cut off is there at the next start, or was never begun."""
    for step in range(1, STEPS_MAX):
        key = f"send {step}"

        def make(wallet: Any, key: str = key) -> Any:
            return wallet.send(key, AMOUNT_MSAT)

        is_killed = world.kill_at(step, "customer", make)
        world.call("customer", lambda w: w.take_up())
        tokens = [it.token for it in world.call("customer", list_movements) if it.key == key]
        world.count()  # nothing is held
        assert all(tokens), (step, tokens)
        for token in tokens:

            def take(wallet: Any, key: str = key, token: str = token) -> Any:
                return wallet.redeem(key, token)

            assert world.call("provider", take) == AMOUNT_MSAT
        if not is_killed:
            print(f"send: {step - 1} steps")
            return
    raise AssertionError("it never came to its end")


def main(kind: str, part: str, folder: str, url: str = "") -> None:
    world = World(kind, Path(folder), url)
    fund(world)
    if part == "escrow":
        lock_and_redeem(world, is_redeem_killed=False)
        lock_and_redeem(world, is_redeem_killed=True)
    else:
        pay(world)
        send(world)
        fill_again(world)


if __name__ == "__main__":
    main(*sys.argv[1:])
