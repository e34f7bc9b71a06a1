"""Real Lightning nodes (LDK, made-up chain) pass the contract of all wallets, hold invoices too."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.adapters.payments.wallet_contract import (
    AMOUNT_MSAT,
    FUNDED_MSAT,
    WalletContract,
    Wallets,
    alter_amount,
    pay,
    refuse,
)
from tests.services.ldk_network import run_ldk

from kumiai.adapters.payments.ldk import LdkWallet
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState

pytestmark = pytest.mark.xdist_group("ldk")

# The blocks that an invoice gives its payee, and those that the payer adds at random so that nobody
# on the way can tell how far the payee is (LDK: at most three days); ten minutes each.
HOLD_S = (144 + 3 * 144) * 600


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    with run_ldk() as url:
        yield url


class TestLdkWallet(WalletContract):
    """The channel is one for all tests: balances are compared, not counted."""

    kind = "ldk"

    @pytest.fixture(autouse=True)
    def _network(self, network: str) -> None:
        self.url = network

    @asynccontextmanager
    async def open_wallets(self, folder: Path) -> AsyncIterator[Wallets]:
        payer, payee = LdkWallet(self.url, "customer"), LdkWallet(self.url, "provider")
        assert (await payer.get_balance()).spendable_msat >= FUNDED_MSAT
        try:
            yield Wallets(payer, payee, payer.pass_time, HOLD_S)
        finally:
            await payer.close()
            await payee.close()

    def test_altered_invoice_is_another_payees(self, tmp_path: Path) -> None:
        """These invoices name their payee: an altered one does not even read."""

        async def check(w: Wallets) -> None:
            before = await w.payer.get_balance()
            invoice = await w.payee.make_invoice("a", AMOUNT_MSAT)
            with pytest.raises(InputError):
                await w.payer.pay("p", alter_amount(invoice.bolt11), 2 * AMOUNT_MSAT)
            assert await w.payer.get_balance() == before

        self.run(tmp_path, check)


def test_a_hash_is_paid_once_by_wallets_that_forgot(network: str) -> None:
    """What a wallet remembers dies with it; the node still pays a payment hash once."""

    async def inside() -> None:
        payee, first = LdkWallet(network, "provider"), LdkWallet(network, "customer")
        invoice = await payee.make_invoice("once", AMOUNT_MSAT)
        await pay(first, "p", invoice, 0)
        between = await first.get_balance()
        await first.close()
        second = LdkWallet(network, "customer")
        again = await second.pay("p", invoice.bolt11, AMOUNT_MSAT, invoice.payee)
        assert again.state is PaymentState.SETTLED
        assert await second.get_balance() == between
        await second.close()
        await payee.close()

    asyncio.run(inside())


def test_what_is_no_node_or_invoice_of_it_is_refused(network: str) -> None:
    async def inside() -> None:
        with pytest.raises(InputError):
            LdkWallet(network, "nobody")
        wallet = LdkWallet(network, "customer")
        for text in ("", "lnbc1", "lnbcrt1", "x" * 5_000):
            with pytest.raises(InputError):
                await wallet.pay("p", text, AMOUNT_MSAT)
        await refuse(wallet.settle("00" * 32), "NOT_FOUND")
        await refuse(wallet.cancel("00" * 32), "NOT_FOUND")
        await wallet.close()
        gone = LdkWallet("http://127.0.0.1:9", "customer")
        with pytest.raises(WalletError) as caught:
            await gone.get_info()
        assert caught.value.is_retriable
        await gone.close()

    asyncio.run(inside())
