"""A real mint (nutshell): lies of a mint, tokens that peers make up, its own wallet."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import pytest
from tests.adapters.payments.cashu_bank import SWAP_FEE_MSAT, claim, open_bank, open_wallet
from tests.adapters.payments.ecash_contract import (
    AMOUNT_MSAT,
    FUNDED_MSAT,
    LONG_S,
    Bank,
    provider_only,
    refuse,
)
from tests.services.cashu_mint import Mint, retire_keys, run_mint
from tests.services.lying_mint import LyingMint, lose

from kumiai.adapters.payments.cashu.conditions import decode_secret
from kumiai.adapters.payments.cashu.tokens import Token, decode_token, encode_token
from kumiai.adapters.payments.cashu.wallet import LOCKED_COUNT_MAX, CashuWallet
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


def test_answers_that_are_no_numbers_or_texts_stop_nobody(mint: Mint, tmp_path: Path) -> None:
    def drop_unit(status: int, body: bytes) -> tuple[int, bytes]:
        return status, body.replace(b'"unit"', b'"unity"')

    def change_fee(status: int, body: bytes) -> tuple[int, bytes]:
        return status, body.replace(b'"input_fee_ppk":100', b'"input_fee_ppk":1e400')

    def change_keysets(status: int, body: bytes) -> tuple[int, bytes]:
        return status, body.replace(b'"keysets":[', b'"keysets":[],"_":[')

    def refuse_in_half_characters(*_: object) -> tuple[int, bytes]:
        return 400, b'{"code": 11007, "detail": "\\ud800\\u001b[2J"}'

    async def check(liar: LyingMint, b: Bank) -> None:
        token = await b.customer.lock("a", AMOUNT_MSAT, provider_only(b))
        for path, alteration in (
            ("/v1/keysets", drop_unit),
            ("/v1/keysets", change_fee),
            ("/v1/keys/", change_keysets),
        ):
            liar.alter(path, alteration)
            fresh = open_wallet(liar.url, tmp_path, f"fresh {next(_serial)}")
            with pytest.raises(WalletError) as caught:
                await fresh.redeem("r", token)
            assert caught.value.code == "INTERNAL" and caught.value.is_retriable
            await fresh.close()
            liar.alter(path, None)
        liar.alter("/v1/checkstate", refuse_in_half_characters)
        error = await refuse(b.provider.get_state(token))
        assert "(11007)" in str(error) and str(error).isprintable()

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


def test_ecash_that_was_shown_in_one_token_is_refused_in_another(
    mint: Mint, tmp_path: Path
) -> None:
    """Two jobs of one customer run at once: each must bring money of its own."""

    async def inside() -> None:
        async with open_bank(mint.url, tmp_path) as b:
            lock = provider_only(b)
            tokens = [await b.customer.lock(f"a{at}", AMOUNT_MSAT, lock) for at in range(2)]
            first, second = [decode_token(token) for token in tokens]
            await b.provider.check(tokens[0], AMOUNT_MSAT, lock)
            mixed = (*first.proofs[:1], *second.proofs)
            for proofs in (first.proofs[::-1], mixed):
                other = encode_token(replace(first, proofs=tuple(proofs)))
                await refuse(b.provider.check(other, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
            legacy = write_legacy(first)
            await refuse(b.provider.check(legacy, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
            await b.provider.close()
            again = open_wallet(mint.url, tmp_path, "provider")  # after a crash, too
            await refuse(again.check(legacy, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
            await again.check(tokens[0], AMOUNT_MSAT, lock)
            await again.check(tokens[1], AMOUNT_MSAT, lock)
            assert await again.redeem("r", tokens[0]) >= AMOUNT_MSAT
            await again.close()

    asyncio.run(inside())


def write_legacy(token: Token) -> str:
    """The same proofs as a token of version 3."""
    proofs = [
        proof.to_dict() | {"dleq": asdict(proof.dleq) if proof.dleq else None}
        for proof in token.proofs
    ]
    document = {"token": [{"mint": token.mint, "proofs": proofs}], "unit": token.unit}
    return "cashuA" + base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize("amount_sat", [750, 1_023, 1_909, 1_910])
def test_a_locked_token_has_few_pieces_and_hardly_more_than_the_amount(
    mint: Mint, tmp_path: Path, amount_sat: int
) -> None:
    """It must fit a round request (docs/nip-training.md, section 4)."""

    async def inside() -> None:
        async with open_bank(mint.url, tmp_path) as b:
            signers = (b.provider.pubkey, b.customer.pubkey, b.committee.pubkey)
            lock = EcashLock(signers, 2, int(time.time()) + LONG_S, b.customer.pubkey)
            token = await b.customer.lock("a", amount_sat * 1_000, lock)
            parsed = decode_token(token)
            assert len(parsed.proofs) <= LOCKED_COUNT_MAX and len(token) <= 5_000
            await b.provider.check(token, amount_sat * 1_000, lock)
            assert amount_sat <= parsed.amount <= amount_sat + amount_sat // 63 + 2

    asyncio.run(inside())


def test_money_outlives_the_mints_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was planned with keys that are retired now is planned anew; nothing is lost."""

    async def lose_request(*_: object) -> None:
        raise WalletError("INTERNAL", "no answer", is_retriable=True)

    async def check(liar: LyingMint, b: Bank) -> None:
        assert isinstance(b.customer, CashuWallet)
        lock = provider_only(b)
        token = await b.customer.lock("a", AMOUNT_MSAT, lock)
        await b.provider.check(token, AMOUNT_MSAT, lock)
        await b.customer.request_funds("asked", AMOUNT_MSAT)
        await b.customer.request_funds("planned", AMOUNT_MSAT)
        with monkeypatch.context() as patch:
            patch.setattr(b.customer._api, "mint", lose_request)
            with pytest.raises(WalletError, match="no answer"):
                await claim(b.customer, "planned", AMOUNT_MSAT, "no answer")
        before = await b.customer.get_balance()
        stopped.close()
        retire_keys(folder)
        with run_mint(folder, key_number=1) as second:
            liar.move(second.url)
            for key in ("planned", "asked"):
                await claim(b.customer, key, AMOUNT_MSAT)
                await claim(b.customer, key, AMOUNT_MSAT)
            after = await b.customer.get_balance()
            assert after.spendable_msat - before.spendable_msat == 2 * AMOUNT_MSAT
            assert await b.provider.redeem("r", token) >= AMOUNT_MSAT
            again = await b.customer.lock("b", FUNDED_MSAT, lock)
            await b.provider.check(again, FUNDED_MSAT, lock)

    folder = tmp_path / "mint"
    with ExitStack() as stopped:
        first = stopped.enter_context(run_mint(folder))
        lie(first, tmp_path, check)


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
