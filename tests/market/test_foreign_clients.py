"""Programs written from docs/nip-training.md alone, on nostr-tools, and Kumiai's own members."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.market.foreign.world import FUNDS_MSAT, ForeignWorld, need_node

from kumiai.apps.market.folder import MarketFolder
from kumiai.market.kinds import Kind

pytestmark = pytest.mark.xdist_group("foreign-market")

TASK = Path(__file__).parent / "foreign" / "task.json"
PRICE_MSAT = 18_000
SETTINGS = {
    "task": str(TASK),
    "rounds": 2,
    "shards": 2,
    "bid_msat": 25_000,
    "offers_s": 120,
    "train_s": 120,
    "reveal_s": 60,
    "judge_s": 120,
}
EXPECTED = {"ready", "offered", "contracted", "delivered", "paid"}  # nothing refused
BOTH = {
    Kind.JOB,
    Kind.OFFER,
    Kind.CONTRACT,
    Kind.ACCEPTANCE,
    Kind.ROUND_REQUEST,
    Kind.RESULT,
    Kind.FEEDBACK,
    Kind.VERDICT,
}

JOB = """
name = "ours"
seed = 5

[model]
recipe = "mlp"
options = {{ hidden = "32" }}

[data]
source = "digits"
partition = "iid"
trainers = 2
holdout = 0.2
test = 0.2

[training]
rounds = 2
local_epochs = 2
learning_rate = 0.1
weighting = "samples"
slim = false

[model_rewards]
policy = "equal"

[market]
bid_sat = 25
budget_sat = 500
payment = ["{payment}"]
offers_s = 120
offers_enough = 2
accept_s = 120
train_s = 120
reveal_s = 60
judge_s = 120
payment_s = 60
min_gain_ppm = 1000
peer_margin_ppm = 500000
"""


@pytest.mark.parametrize(
    ("payment", "sealed"), [("hold", False), ("fair", True)], ids=["hold, open", "fair, sealed"]
)
def test_foreign_customer_is_served_by_our_providers(
    tmp_path: Path, payment: str, sealed: bool
) -> None:
    need_node()

    async def scenario() -> None:
        async with ForeignWorld(tmp_path) as world:
            providers = [await world.add_provider(name, 18) for name in ("Aoi", "Hana")]
            world.bank.fund("customer.mjs", FUNDS_MSAT)
            program = await world.run_script(
                "customer.mjs", payment=payment, sealed=sealed, **SETTINGS
            )
            told = await program.finish()
            assert [m["accepted"] for m in told["members"]] == [2, 2]
            assert told["paid_msat"] == 4 * PRICE_MSAT
            first, *_, last = told["losses"]
            assert last < first
            for provider in providers:
                state = await provider.node.wait_until(lambda s: s.earned_msat >= 2 * PRICE_MSAT)
                assert state.earned_msat == 2 * PRICE_MSAT
            for name in ("Aoi", "Hana"):
                assert world.bank.get_balance(name).spendable_msat == 2 * PRICE_MSAT
            world.bank.check_books()
            wanted = BOTH | {Kind.CLOSING, Kind.ANNOUNCEMENT, Kind.HEARTBEAT}
            job_keys = {told["job"]: told["job_key"]} if sealed else {}
            kinds, flawed = await world.validate(wanted, job_keys)
            assert flawed == []
            assert kinds >= wanted

    asyncio.run(scenario())


@pytest.mark.parametrize("payment", ["hold", "fair", "invoice"])
def test_foreign_provider_serves_our_customer_beside_one_of_ours(
    tmp_path: Path, payment: str
) -> None:
    need_node()

    async def scenario() -> None:
        async with ForeignWorld(tmp_path) as world:
            foreign = await world.run_script("provider.mjs", price_msat=PRICE_MSAT, train_s=5)
            await foreign.wait_for("ready")
            await world.add_provider("Aoi", 18)
            state = await world.run_customer(JOB.format(payment=payment))
            assert state.outcome == "all rounds done"
            members = state.members
            assert set(members) == {foreign.pubkey, _key_of(world, "Aoi")}
            for member in members.values():
                assert member.accepted >= 1, member
                assert member.paid_msat == member.accepted * PRICE_MSAT
            await foreign.wait_for("paid", members[foreign.pubkey].accepted)
            earned = world.bank.get_balance("provider.mjs").spendable_msat
            assert earned == members[foreign.pubkey].paid_msat
            assert {line["what"] for line in foreign.lines} <= EXPECTED
            world.bank.check_books()
            wanted = BOTH | {Kind.CLOSING, Kind.RATING, Kind.ANNOUNCEMENT, Kind.HEARTBEAT}
            kinds, flawed = await world.validate(wanted)
            assert flawed == []
            assert kinds >= wanted

    asyncio.run(scenario())


def test_foreign_customer_does_not_pay_for_noise(tmp_path: Path) -> None:
    need_node()

    async def scenario() -> None:
        async with ForeignWorld(tmp_path) as world:
            await world.add_provider("Aoi", 18)
            await world.add_provider("Zatsu", 18, is_honest=False)
            world.bank.fund("customer.mjs", FUNDS_MSAT)
            program = await world.run_script("customer.mjs", payment="hold", **SETTINGS)
            told = await program.finish()
            by_key = {member["provider"]: member for member in told["members"]}
            assert by_key[_key_of(world, "Aoi")]["accepted"] == 2
            noise = by_key[_key_of(world, "Zatsu")]
            assert (noise["accepted"], noise["paid_msat"]) == (0, 0) and noise["rejected"] == 2
            assert world.bank.get_balance("Zatsu").spendable_msat == 0
            assert world.bank.get_balance("customer.mjs").spendable_msat == FUNDS_MSAT - 36_000
            world.bank.check_books()

    asyncio.run(scenario())


def _key_of(world: ForeignWorld, name: str) -> str:
    return MarketFolder(world.folder / name).read_key().pubkey
