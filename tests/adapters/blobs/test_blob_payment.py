"""Paid storage (BUD-07): 402 with an invoice, and the own wallet's word that it is paid."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the extra `market` is not installed")
pytest.importorskip("granian", reason="the extra `market` is not installed")

import aiohttp
from tests.adapters.blobs.servers import ALICE, BOB, QUICK, name_of

from kumiai.adapters.blobs.authorization import sign_authorization
from kumiai.adapters.blobs.client import HttpBlobs
from kumiai.adapters.blobs.payment import Till
from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.market.nips.bud import Verb
from kumiai.nodes.market.errors import BlobError, WalletError
from kumiai.nodes.market.ports import Invoice, Payment, PaymentState

DATA = bytes(5_000)


class StubWallet:
    """As much of `WalletPort` as a till needs."""

    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self.invoices: dict[str, Invoice] = {}
        self.is_down = False

    async def make_invoice(self, key, amount_msat, description="", expiry_s=3600, preimage=None):
        if self.is_down:
            raise WalletError("INTERNAL", "down", is_retriable=True)
        if key not in self.invoices:
            payment_hash = name_of(key.encode())
            self.invoices[key] = Invoice(
                f"lnbcrt{len(self.invoices)}", payment_hash, amount_msat, "02" * 33, 0, expiry_s
            )
            self.payments[payment_hash] = Payment(
                payment_hash, True, amount_msat, PaymentState.PENDING
            )
        return self.invoices[key]

    async def lookup(self, payment_hash, *, is_incoming):
        assert is_incoming
        return self.payments.get(payment_hash)

    def turn(self, bolt11: str, state: PaymentState) -> None:
        payment_hash = next(it.payment_hash for it in self.invoices.values() if it.bolt11 == bolt11)
        self.payments[payment_hash] = replace(self.payments[payment_hash], state=state)


class PerByte:
    def compute_price_msat(self, pubkey: str, size_bytes: int) -> int:
        return 0 if pubkey == BOB.pubkey else size_bytes * 10


def play(tmp_path: Path, scene) -> None:
    async def go() -> None:
        store, wallet = BlobStore(tmp_path / "store"), StubWallet()
        server = await BlobServer.start(store, till=Till(store.catalogue, wallet, PerByte()))
        async with aiohttp.ClientSession() as session:

            async def put(data: bytes, method: str = "PUT", name: str = "", **headers: str):
                name = name or name_of(data)
                signed = sign_authorization(ALICE, Verb.UPLOAD, int(time.time()), hashes=[name])
                named = {k.replace("_", "-"): v for k, v in headers.items()}
                named |= {"Authorization": signed, "X-SHA-256": name}
                body = data if method == "PUT" else None
                async with session.request(
                    method, server.url + "/upload", data=body, headers=named
                ) as answer:
                    return answer.status, answer.headers

            await scene(server, wallet, put)
        await server.stop()

    asyncio.run(go())


def test_bytes_are_taken_once_they_are_paid(tmp_path: Path) -> None:
    async def scene(server, wallet: StubWallet, put) -> None:
        status, headers = await put(DATA)
        assert (status, headers["X-Lightning"]) == (402, "lnbcrt0")
        assert wallet.invoices.popitem()[1].amount_msat == 50_000
        status, headers = await put(DATA, X_Lightning="00" * 32)  # a preimage is not evidence
        assert (status, headers["X-Lightning"]) == (402, "lnbcrt0")
        status, headers = await put(DATA, "HEAD", X_Content_Length="5000")
        assert (status, headers["X-Lightning"]) == (402, "lnbcrt0")
        assert server.store.find(name_of(DATA)) is None

    play(tmp_path, scene)


@pytest.mark.parametrize("state", [PaymentState.PENDING, PaymentState.ACCEPTED])
def test_money_that_only_may_come_is_none(tmp_path: Path, state: PaymentState) -> None:
    async def scene(_server, wallet: StubWallet, put) -> None:
        bolt11 = (await put(DATA))[1]["X-Lightning"]
        wallet.turn(bolt11, state)
        status, headers = await put(DATA)
        assert (status, headers["X-Lightning"]) == (402, bolt11)
        wallet.turn(bolt11, PaymentState.SETTLED)
        assert (await put(DATA))[0] == 201
        assert (await put(DATA))[0] == 200  # no second price
        assert len(wallet.invoices) == 1

    play(tmp_path, scene)


@pytest.mark.parametrize("state", [PaymentState.EXPIRED, PaymentState.FAILED])
def test_a_dead_invoice_is_replaced(tmp_path: Path, state: PaymentState) -> None:
    async def scene(_server, wallet: StubWallet, put) -> None:
        first = (await put(DATA))[1]["X-Lightning"]
        wallet.turn(first, state)
        second = (await put(DATA))[1]["X-Lightning"]
        assert second != first
        wallet.turn(second, PaymentState.SETTLED)
        assert (await put(DATA))[0] == 201

    play(tmp_path, scene)


def test_a_small_size_said_beforehand_pays_for_a_small_blob(tmp_path: Path) -> None:
    async def scene(_server, wallet: StubWallet, put) -> None:
        cheap = (await put(DATA, "HEAD", X_Content_Length="10"))[1]["X-Lightning"]
        wallet.turn(cheap, PaymentState.SETTLED)
        status, headers = await put(DATA)
        assert status == 402
        rest = [it for it in wallet.invoices.values() if it.bolt11 == headers["X-Lightning"]]
        assert rest[0].amount_msat == 50_000 - 100
        wallet.turn(rest[0].bolt11, PaymentState.SETTLED)
        assert (await put(DATA))[0] == 201

    play(tmp_path, scene)


def test_a_resumed_upload_pays_for_the_whole(tmp_path: Path) -> None:
    async def scene(server, wallet: StubWallet, put) -> None:
        more = {"Upload_Offset": "0", "Upload_Length": "5000"}
        status, headers = await put(DATA, **more)
        assert status == 402
        assert [it.amount_msat for it in wallet.invoices.values()] == [50_000]
        wallet.turn(headers["X-Lightning"], PaymentState.SETTLED)
        assert (await put(DATA, **more))[0] == 201

    play(tmp_path, scene)


def test_a_blob_that_is_here_is_adopted_at_its_true_size(tmp_path: Path) -> None:
    async def scene(server, wallet: StubWallet, put) -> None:
        async with aiohttp.ClientSession() as session:  # BOB pays nothing
            named = {"Authorization": sign_authorization(
                BOB, Verb.UPLOAD, int(time.time()), hashes=[name_of(DATA)]
            )}  # fmt: skip
            async with session.put(server.url + "/upload", data=DATA, headers=named) as answer:
                assert answer.status == 201
        for size in ("0", "10", "6000"):
            adopting = {"name": name_of(DATA), "Upload_Offset": size, "Upload_Length": size}
            status, headers = await put(b"", **adopting)
            assert status == 400 and "has 5000 bytes" in headers["X-Reason"]
        assert wallet.invoices == {}
        assert not server.store.catalogue.is_owner(ALICE.pubkey, name_of(DATA))
        adopting = {"name": name_of(DATA), "Upload_Offset": "5000", "Upload_Length": "5000"}
        status, headers = await put(b"", **adopting)
        assert status == 402
        wallet.turn(headers["X-Lightning"], PaymentState.SETTLED)
        assert (await put(b"", **adopting))[0] == 200
        assert server.store.catalogue.is_owner(ALICE.pubkey, name_of(DATA))

    play(tmp_path, scene)


def test_a_wallet_that_is_down_takes_no_bytes(tmp_path: Path) -> None:
    async def scene(server, wallet: StubWallet, put) -> None:
        wallet.is_down = True
        status, headers = await put(DATA)
        assert status == 503 and "wallet" in headers["X-Reason"]
        assert server.store.find(name_of(DATA)) is None

    play(tmp_path, scene)


def test_the_client_pays_where_it_may(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(DATA)

    async def scene(server, wallet: StubWallet, _put) -> None:
        asked: list[tuple[str, str]] = []

        async def pay(url: str, bolt11: str) -> None:
            asked.append((url, bolt11))
            wallet.turn(bolt11, PaymentState.SETTLED)

        async def pretend(_url: str, bolt11: str) -> None:
            asked.append((server.url, bolt11))

        for payer, count in ((None, 0), (pretend, 1), (pay, 1)):
            asked.clear()
            client = HttpBlobs(ALICE, [server.url], QUICK, payer)
            if payer is pay:
                await client.upload(tmp_path / "source")
            else:
                with pytest.raises(BlobError, match="402"):
                    await client.upload(tmp_path / "source")
            assert len(asked) == count
            await client.close()
        bob = HttpBlobs(BOB, [server.url], QUICK)  # the policy asks nothing of him
        await bob.upload(tmp_path / "source")
        await bob.close()

    play(tmp_path, scene)
