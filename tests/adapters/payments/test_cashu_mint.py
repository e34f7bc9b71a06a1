"""A real mint (nutshell): lies of a mint, tokens that peers make up, its own wallet."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from tests.adapters.payments.cashu_bank import SWAP_FEE_MSAT, open_bank, open_wallet
from tests.adapters.payments.ecash_contract import (
    AMOUNT_MSAT,
    FUNDED_MSAT,
    LONG_S,
    Bank,
    provider_only,
    refuse,
)
from tests.services.cashu_mint import Mint
from tests.services.lying_mint import LyingMint, lose

from kumiai.adapters.payments.cashu.conditions import decode_secret
from kumiai.adapters.payments.cashu.tokens import decode_token, encode_token
from kumiai.adapters.payments.cashu.wallet import CashuWallet
from kumiai.base.errors import InputError
from kumiai.base.keys import derive_key
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import EcashLock

pytestmark = pytest.mark.xdist_group("cashu")

_serial = count()


@pytest.fixture
def mint(cashu_mint: Mint) -> Mint:
    return cashu_mint


# -- a mint that lies --


def lie(mint: Mint, folder: Path, check: Callable[[LyingMint, Bank], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with LyingMint(mint.url) as liar, open_bank(liar.url, folder) as bank:
            await check(liar, bank)

    asyncio.run(inside())


def test_a_lost_answer_loses_no_money(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, b: Bank) -> None:
        lock = provider_only(b)
        liar.alter("/v1/swap", lose)
        for _ in range(2):  # the second time the mint says: spent already; and is asked again
            liar.alter("/v1/restore", lose)
            with pytest.raises(WalletError) as caught:
                await b.customer.lock("a", AMOUNT_MSAT, lock)
            assert caught.value.is_retriable
        assert (await b.customer.get_balance()).held_msat > AMOUNT_MSAT
        liar.alter("/v1/restore", None)
        token = await b.customer.lock("a", AMOUNT_MSAT, lock)  # still no answer to a swap
        with pytest.raises(WalletError):
            await b.provider.redeem("r", token)
        assert await b.provider.redeem("r", token) == AMOUNT_MSAT
        left = await b.customer.get_balance()
        assert left.held_msat == 0
        assert left.spendable_msat == FUNDED_MSAT - AMOUNT_MSAT - 2 * SWAP_FEE_MSAT

    lie(mint, tmp_path, check)


def test_a_crashed_wallet_fetches_its_answers(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, b: Bank) -> None:
        liar.alter("/v1/swap", lose)
        with pytest.raises(WalletError):
            await b.customer.lock("a", AMOUNT_MSAT, provider_only(b))
        assert await b.customer.resume() == 1
        assert await b.customer.resume() == 0
        balance = await b.customer.get_balance()
        assert balance.held_msat == 0
        assert balance.spendable_msat == FUNDED_MSAT - AMOUNT_MSAT - 2 * SWAP_FEE_MSAT

    lie(mint, tmp_path, check)


def test_signatures_that_prove_nothing_are_refused(mint: Mint, tmp_path: Path) -> None:
    def swap_proofs(status: int, body: bytes) -> tuple[int, bytes]:
        document = json.loads(body)
        first, *_, last = document["signatures"]
        first["dleq"], last["dleq"] = last["dleq"], first["dleq"]
        return status, json.dumps(document).encode()

    def drop_proofs(status: int, body: bytes) -> tuple[int, bytes]:
        document = json.loads(body)
        for entry in document["signatures"]:
            del entry["dleq"]
        return status, json.dumps(document).encode()

    async def check(liar: LyingMint, b: Bank) -> None:
        lock = provider_only(b)
        for at, alteration in enumerate((swap_proofs, drop_proofs)):
            liar.alter("/v1/swap", alteration)
            await refuse(b.customer.lock(f"a{at}", AMOUNT_MSAT, lock), "INTERNAL")
            liar.alter("/v1/swap", None)
            token = await b.customer.lock(f"a{at}", AMOUNT_MSAT, lock)  # honest again
            await b.provider.check(token, AMOUNT_MSAT, lock)

    lie(mint, tmp_path, check)


def test_a_mint_without_locks_is_refused(mint: Mint, tmp_path: Path) -> None:
    """It would take the locked secrets for plain ones: whoever reads the token spends it."""

    def without(*numbers: str) -> Callable[[int, bytes], tuple[int, bytes]]:
        def alteration(status: int, body: bytes) -> tuple[int, bytes]:
            document = json.loads(body)
            for number in numbers:
                del document["nuts"][number]
            return status, json.dumps(document).encode()

        return alteration

    async def check(liar: LyingMint, b: Bank) -> None:
        lock = provider_only(b)
        token = await b.customer.lock("a", AMOUNT_MSAT, lock)
        hashed = replace(lock, payment_hash="11" * 32)
        for number, wanted in (
            ("11", lock),
            ("14", hashed),
            ("7", lock),
            ("9", lock),
            ("12", lock),
        ):
            liar.alter("/v1/info", without(number))
            fresh = open_wallet(liar.url, tmp_path, f"fresh {number}")
            for call in (
                fresh.lock("a", AMOUNT_MSAT, wanted),
                fresh.check(token, AMOUNT_MSAT, wanted),
            ):
                assert number in str(await refuse(call, "NOT_IMPLEMENTED"))
            await fresh.close()

    lie(mint, tmp_path, check)


def test_keys_that_are_not_the_ids_are_refused(mint: Mint, tmp_path: Path) -> None:
    def change_key(status: int, body: bytes) -> tuple[int, bytes]:
        document = json.loads(body)
        keys = document["keysets"][0]["keys"]
        keys["1"], keys["2"] = keys["2"], keys["1"]
        return status, json.dumps(document).encode()

    async def check(liar: LyingMint, b: Bank) -> None:
        token = await b.customer.lock("a", AMOUNT_MSAT, provider_only(b))
        for path, alteration in (
            ("/v1/keys/", change_key),
            ("/v1/keysets", lambda status, body: (status, body.replace(b":100", b":7"))),
            ("/v1/info", lambda status, _: (status, b"[]")),
            ("/v1/info", lambda status, _: (status, b"{" * 5_000)),
            ("/v1/info", lambda status, _: (status, b" " * 2_000_000 + b"{}")),
            ("/v1/info", lambda _, body: (500, body)),
            ("/v1/info", lambda _, body: (302, body)),
            ("/v1/info", lambda _, body: (404, b"<html>")),
        ):
            liar.alter(path, alteration)
            fresh = open_wallet(liar.url, tmp_path, f"fresh {next(_serial)}")
            with pytest.raises(WalletError) as caught:
                await fresh.redeem("r", token)
            assert caught.value.code == "INTERNAL" and caught.value.is_retriable
            await fresh.close()
            liar.alter(path, None)

    lie(mint, tmp_path, check)


def test_a_preimage_that_is_not_the_hashs_is_not_told(mint: Mint, tmp_path: Path) -> None:
    async def check(liar: LyingMint, b: Bank) -> None:
        preimage = "ab" * 32
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        token = await b.customer.lock("a", AMOUNT_MSAT, provider_only(b, LONG_S, payment_hash))
        await b.provider.redeem("r", token, preimage=preimage)
        swap = (preimage.encode(), b"cd" * 32)
        liar.alter("/v1/checkstate", lambda status, body: (status, body.replace(*swap)))
        state = await b.customer.get_state(token)
        assert (state.state, state.preimage) == ("spent", None)

    lie(mint, tmp_path, check)


# -- tokens that peers make up --


def test_forged_tokens_are_refused_though_the_mint_never_saw_them(
    mint: Mint, tmp_path: Path
) -> None:
    async def inside() -> None:
        async with open_bank(mint.url, tmp_path) as b:
            lock = provider_only(b)
            token = await b.customer.lock("a", AMOUNT_MSAT, lock)
            parsed = decode_token(token)
            first, *rest = parsed.proofs
            dear = max(parsed.proofs, key=lambda it: it.amount)
            made_up = first.secret.replace('"nonce":"', '"nonce":"0')
            for proofs in (
                [replace(first, dleq=None), *rest],
                [replace(first, secret=made_up), *rest],  # "unspent": nobody ever saw it
                [replace(first, signature=rest[0].signature), *rest],
                [replace(first, amount=2 * dear.amount), *rest],  # a small one as a large one
                [first, *rest, replace(first, amount=dear.amount)],
                [replace(it, secret="plain" + it.secret) for it in parsed.proofs],
            ):
                forged = encode_token(replace(parsed, proofs=tuple(proofs)))
                await refuse(b.provider.check(forged, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
            for field in ({"mint": "http://127.0.0.1:1"}, {"unit": "usd"}):
                forged = encode_token(replace(parsed, **field))
                await refuse(b.provider.check(forged, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
                await refuse(b.provider.redeem("r", forged), "LOCK_DIFFERS")
            fewer = encode_token(replace(parsed, proofs=tuple(rest)))
            await refuse(b.provider.check(fewer, AMOUNT_MSAT, lock), "AMOUNT_DIFFERS")
            plain = await b.customer.send("plain", AMOUNT_MSAT)
            await refuse(b.provider.check(plain, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
            assert await b.provider.redeem("plain", plain) == AMOUNT_MSAT
            await b.provider.check(token, AMOUNT_MSAT, lock)

    asyncio.run(inside())


def test_a_wallets_file_is_its_owners(mint: Mint, tmp_path: Path) -> None:
    async def inside() -> None:
        wallet = open_wallet(mint.url, tmp_path, "one")
        await wallet.close()
        assert (tmp_path / "one").stat().st_mode & 0o077 == 0
        with pytest.raises(WalletError):
            CashuWallet(mint.url, derive_key(b"another", "ecash"), tmp_path / "one")
        with pytest.raises(InputError):
            CashuWallet("ftp://mint", derive_key(b"another", "ecash"), tmp_path / "two")

    asyncio.run(inside())


# -- nutshell's own wallet --


def test_nutshell_redeems_our_token_and_we_redeem_theirs(mint: Mint, tmp_path: Path) -> None:
    async def inside() -> None:
        async with open_bank(mint.url, tmp_path) as b:
            shown = mint.run_wallet("alice", "locks")
            [key] = [word[5:] for word in shown.split() if word.startswith("P2PK:")]
            lock = EcashLock((key,), 1, int(time.time()) + LONG_S, b.customer.pubkey)
            token = await b.customer.lock("a", AMOUNT_MSAT, lock)
            mint.run_wallet("alice", "receive", token)
            assert f"{AMOUNT_MSAT // 1000} sat" in mint.run_wallet("alice", "balance")
            assert (await b.customer.get_state(token)).state == "spent"
            plain = await b.customer.send("plain", AMOUNT_MSAT)
            mint.run_wallet("alice", "receive", plain)

            sent = mint.run_wallet("alice", "send", "64", "--dleq", "--include-fees",
                                   "--lock", f"P2PK:{b.provider.pubkey}", "--timelock", "600",
                                   "--refund", key)  # fmt: skip
            [theirs] = [word for word in sent.split() if word.startswith("cashu")]
            found = decode_secret(decode_token(theirs).proofs[0].secret)
            assert found is not None and found.refund == key
            await b.provider.check(theirs, 63_000, found)
            await refuse(b.thief.redeem("r", theirs), "UNAUTHORIZED")
            assert await b.provider.redeem("locked", theirs) >= 63_000
            sent = mint.run_wallet("alice", "send", "32", "--legacy")
            [theirs] = [word for word in sent.split() if word.startswith("cashuA")]
            assert await b.provider.redeem("legacy", theirs) >= 30_000

    asyncio.run(inside())
