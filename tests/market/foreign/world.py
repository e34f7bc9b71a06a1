"""Where foreign programs meet Kumiai's members: two relays, a blob server, a bank, on sockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from tests.market.foreign.wallet_door import open_door

from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.adapters.compute.market.customer import MarketCustomer
from kumiai.adapters.compute.market.provider import MarketProvider
from kumiai.adapters.nostr import embedded
from kumiai.adapters.nostr.relays import Relays
from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.adapters.sim.market_work import GarbageWork
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.apps.market.assembly import Member, Services, assemble
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import JobFile, parse_job
from kumiai.apps.market.planning import make_plan
from kumiai.base.events import Event
from kumiai.base.keys import key_from_secret
from kumiai.market.customer import Accept, Begin, Cancel, Customer, CustomerState, Phase, Rate
from kumiai.market.kinds import Kind, Policy
from kumiai.market.nips.nip01 import Filter, encode_event
from kumiai.market.provider import (
    Dispute,
    Leave,
    Provider,
    ProviderPolicy,
    RateCustomer,
    Start,
)
from kumiai.nodes.market.node import NodeTimes

FOLDER = Path(__file__).parent
FUNDS_MSAT = 1_000_000
WAIT_S = 300  # a program that hangs is ended; nothing is asserted about time
TIMES = NodeTimes(tick_s=0.25)


def need_node() -> str:
    """Return the path of node; the test is skipped without it or its packages."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (FOLDER / "node_modules" / "nostr-tools").is_dir():
        pytest.skip("npm's nostr-tools is not installed: run `make services`")
    return node


@dataclass
class ForeignProgram:
    """A script of this folder under way; its lines of output are JSON documents."""

    process: asyncio.subprocess.Process
    pubkey: str
    secret: str
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def wait_for(self, what: str, count: int = 1) -> None:
        """Read lines until that many of them say `what`."""
        while sum(line.get("what") == what for line in self.lines) < count:
            assert await self.read_line(), f"ended before it said {what!r}: {self.lines}"

    async def read_line(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), WAIT_S)
        if not line:
            return None
        self.lines.append(json.loads(line))
        return self.lines[-1]

    async def finish(self) -> dict[str, Any]:
        """Read to the end; return the last line."""
        while await self.read_line():
            pass
        assert await self.process.wait() == 0
        return self.lines[-1]

    async def stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 5)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class ForeignWorld:
    """`async with` it; everything that is started in it ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets: dict[str, str] = {}  # public key -> secret key, of everybody
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        self.relays = [await enter(await embedded.start()) for _ in range(2)]
        self.urls = tuple(relay.url for relay in self.relays)
        self.server = await BlobServer.start(BlobStore(self.folder / "blob-server"))
        self._stack.push_async_callback(self.server.stop)
        self.bank = EmbeddedBank(
            self.folder / "bank.sqlite", seed=hashlib.sha256(b"foreign").digest()
        )
        self._stack.callback(self.bank.close)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def run_script(self, name: str, **config: Any) -> ForeignProgram:
        """Start a script with a key and a wallet of its own."""
        node = need_node()
        wallet = EmbeddedWallet(self.bank, name)
        door = await self._stack.enter_async_context(open_door(wallet))
        secret = secrets.token_hex(32)
        key = key_from_secret(bytes.fromhex(secret))
        self.secrets[key.pubkey] = secret
        places = {"relays": self.urls, "blobs": self.server.url, "wallet": door}
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({"secret": secret, **places, **config}), encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            node,
            str(FOLDER / name),
            str(path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        program = ForeignProgram(process, key.pubkey, secret)
        self._stack.push_async_callback(program.stop)
        return program

    async def add_provider(self, name: str, price_sat: int, *, is_honest: bool = True) -> Member:
        """Start a provider of ours; one that is not honest delivers noise."""
        place, services = self._make_place(name)
        key, info = place.read_key(), await services.wallet.get_info()
        policy = ProviderPolicy(
            pubkey=key.pubkey,
            secret=place.read_secret(),
            name=name,
            price_msat=price_sat * 1_000,
            payee=info.payee,
            payment=(Policy.HOLD, Policy.FAIR, Policy.INVOICE),
            train_s=5,
        )
        blobs = LocalBlobs(place.blobs_path)
        honest = MarketProvider(blobs)
        self._stack.callback(honest.close)
        work = honest if is_honest else GarbageWork(honest, blobs)
        commands = (Start, Leave, Dispute, RateCustomer)
        member = assemble(
            place, Provider(policy), commands, services, name=name, provider_work=work, times=TIMES
        )
        await self._stack.enter_async_context(member)
        await member.node.say(Start())
        return member

    async def run_customer(self, job: str) -> CustomerState:
        """Run a job of ours to its end."""
        task, market = parse_job(job)
        file = JobFile(task, market, self.folder)
        place, services = self._make_place("customer")
        self.bank.fund("customer", FUNDS_MSAT)
        blobs = LocalBlobs(place.blobs_path)
        work = MarketCustomer(task, self.folder, blobs)
        self._stack.callback(work.close)
        pubkey, secret = place.read_key().pubkey, place.read_secret()
        plan = make_plan(file, work.prepare(), blobs, pubkey, secret, self.urls)
        commands = (Begin, Accept, Cancel, Rate)
        customer = assemble(
            place,
            Customer(plan),
            commands,
            services,
            name="customer",
            customer_work=work,
            times=TIMES,
        )
        await self._stack.enter_async_context(customer)
        await customer.node.say(Begin())
        closed = customer.node.wait_until(lambda state: state.phase is Phase.CLOSED)
        state: CustomerState = await asyncio.wait_for(closed, WAIT_S)
        for member in state.members.values():
            if member.contract:
                await customer.node.say(Rate(member.provider, 90, "as agreed"))
        return state

    async def validate(
        self, wanted: set[Kind], job_keys: dict[str, str] | None = None
    ) -> tuple[set[int], list[Any]]:
        """Hand every event on the relays to the script that knows the page: (kinds, what is wrong).

        Waits until there are events of the wanted kinds. job_keys: of sealed jobs, by their ids.
        """
        reader = Relays(self.urls, key_from_secret(secrets.token_bytes(32)))
        try:
            kinds = tuple(int(kind) for kind in Kind)
            events: list[Event] = []
            async with asyncio.timeout(WAIT_S):
                while not wanted <= {event.kind for event in events}:
                    await asyncio.sleep(0.3)  # the last ones are on their way
                    events = await reader.fetch([Filter(kinds=kinds)], WAIT_S)
        finally:
            await reader.close()
        told = await validate_events(self.folder, events, self.secrets, job_keys)
        return {one["kind"] for one in told}, [one for one in told if one["flaws"]]

    def _make_place(self, name: str) -> tuple[MarketFolder, Services]:
        place = MarketFolder(self.folder / name)
        place.create()
        key = place.read_key()
        self.secrets[key.pubkey] = key.secret.hex()
        wallet = EmbeddedWallet(self.bank, name)
        return place, Services(self.urls, (self.server.url,), wallet)


async def validate_events(
    folder: Path, events: list[Event], keys: dict[str, str], job_keys: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return what validate.mjs says of each event: {id, kind, flaws: [...]}."""
    path = folder / "validate.json"
    config = {"keys": keys, "job_keys": job_keys or {}}
    path.write_text(json.dumps(config), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        need_node(),
        str(FOLDER / "validate.mjs"),
        str(path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    lines = b"".join(encode_event(event) + b"\n" for event in events)
    output, _ = await asyncio.wait_for(process.communicate(lines), WAIT_S)
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]
