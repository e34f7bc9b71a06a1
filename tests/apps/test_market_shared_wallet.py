"""One owner's wallet serves many jobs: each folder's money has names of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("bolt11", reason="needs the extra `market`")

from kumiai.adapters.payments.bank import EmbeddedBank
from kumiai.adapters.payments.embedded import EmbeddedWallet
from kumiai.apps.market.assembly import Services, assemble
from kumiai.apps.market.folder import MarketFolder
from kumiai.market import effects as fx
from kumiai.market.judge import JudgePolicy, Judging

PLACES = (("ws://127.0.0.1:1",), ("http://127.0.0.1:1",))


def test_two_jobs_that_share_a_wallet_pay_the_same_provider_in_the_same_round(
    tmp_path: Path,
) -> None:
    """The machines name both payments alike; a wallet moves money once for each name."""

    async def pay_of(root: Path, wallet: EmbeddedWallet, bolt11: str, payee: str) -> list[str]:
        folder = MarketFolder(root)
        folder.create()
        machine = Judging(JudgePolicy(folder.read_key().pubkey, folder.read_secret()))
        member = assemble(folder, machine, (), Services(*PLACES, wallet), name="customer")
        seen: list[fx.Result] = []
        pay = fx.Pay(f"pay/1/0/{'ab' * 32}", bolt11, 5_000, payee, "", "cd" * 32, 1)
        try:
            await asyncio.wait_for(member.node._carriers[fx.Pay](pay, seen.append), 120)
        finally:
            for close in member._close:
                await close()
        return [getattr(one, "state", "failed") for one in seen]

    async def run() -> None:
        bank = EmbeddedBank(tmp_path / "bank.sqlite")
        bank.fund("owner", 100_000)
        owner, provider = EmbeddedWallet(bank, "owner"), EmbeddedWallet(bank, "provider")
        payee = (await provider.get_info()).payee
        for number in (1, 2):
            invoice = await provider.make_invoice(f"job {number}", 5_000)
            states = await pay_of(tmp_path / f"job{number}", owner, invoice.bolt11, payee)
            assert states[-1] == "settled"
        assert (await provider.get_balance()).spendable_msat == 10_000
        bank.close()

    asyncio.run(run())
