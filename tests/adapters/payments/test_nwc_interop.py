"""nostr-sdk's own NIP-47 client at our service: it shares no line of code with ours."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.payments.nwc_world import open_nwc_world

from kumiai.adapters.nostr import library
from kumiai.adapters.payments.nwc_desk import Grant
from kumiai.market.nips import nip47
from kumiai.nodes.market.ports import PaymentState

sdk = pytest.importorskip("nostr_sdk", reason="nostr-sdk is not installed: the extra `market`")


async def on_sdk_loop(call: Any) -> Any:
    """nostr-sdk's coroutines run on its own loop, as in the library's one door."""
    return await library._run(sdk, call)


NO_TERMS = {"description": None, "description_hash": None, "expiry": None}


def test_nostr_sdk_client_pays_and_is_paid(tmp_path: Path) -> None:
    async def play() -> None:
        async with open_nwc_world(tmp_path) as world:
            uri = sdk.NostrWalletConnectUri.parse(nip47.encode_uri(world.lines["payer"]))
            client = sdk.NostrWalletConnectBuilder(uri).timeout(timedelta(seconds=120)).build()
            info = await on_sdk_loop(client.get_info())
            assert "payer" in (info.alias or "")
            assert (await on_sdk_loop(client.get_balance())).balance == 10_000_000
            invoice = await world.payee.make_invoice("a", 21_001, "for a stranger")
            asked = sdk.PayInvoiceRequest(id=None, invoice=invoice.bolt11, amount=None)
            paid = await on_sdk_loop(client.pay_invoice(asked))
            preimage = bytes.fromhex(paid.preimage)
            assert hashlib.sha256(preimage).hexdigest() == invoice.payment_hash
            look = sdk.LookupInvoiceRequest(payment_hash=invoice.payment_hash, invoice=None)
            found = await on_sdk_loop(client.lookup_invoice(look))
            assert found.amount == 21_001 and found.preimage == paid.preimage
            assert (await on_sdk_loop(client.get_balance())).balance == 10_000_000 - 21_001
            made = await on_sdk_loop(
                client.make_invoice(sdk.MakeInvoiceRequest(amount=5_000, **NO_TERMS))
            )
            back = await world.payee.pay("b", made.invoice, 5_000)
            assert back.state is PaymentState.SETTLED
            listed = await on_sdk_loop(
                client.list_transactions(
                    sdk.ListTransactionsRequest(
                        _from=None,
                        until=None,
                        limit=10,
                        offset=None,
                        unpaid=None,
                        transaction_type=None,
                    )
                )
            )
            assert {it.payment_hash for it in listed} >= {invoice.payment_hash, back.payment_hash}
            with pytest.raises(sdk.NostrSdkError):  # a second time is refused, and moves nothing
                await on_sdk_loop(
                    client.pay_invoice(
                        sdk.PayInvoiceRequest(id=None, invoice=made.invoice, amount=None)
                    )
                )
            assert (await on_sdk_loop(client.get_balance())).balance == 10_000_000 - 21_001 + 5_000

    asyncio.run(play())


def test_nostr_sdk_client_is_told_why_not(tmp_path: Path) -> None:
    async def play() -> None:
        async with open_nwc_world(tmp_path) as world:
            (line,) = await world.serve("payer", Grant("narrow", 1_000, ("pay_invoice",)))
            uri = sdk.NostrWalletConnectUri.parse(nip47.encode_uri(line))
            client = sdk.NostrWalletConnectBuilder(uri).timeout(timedelta(seconds=120)).build()
            with pytest.raises(sdk.NostrSdkError, match=r"RESTRICTED|may not"):
                await on_sdk_loop(client.get_balance())
            invoice = await world.payee.make_invoice("a", 1_001)
            with pytest.raises(sdk.NostrSdkError, match=r"QUOTA_EXCEEDED|budget"):
                await on_sdk_loop(
                    client.pay_invoice(
                        sdk.PayInvoiceRequest(id=None, invoice=invoice.bolt11, amount=None)
                    )
                )

    asyncio.run(play())
