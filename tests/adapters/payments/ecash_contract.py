"""What every ecash must do for escrow: a subclass of `EcashContract` runs it over one kind.

A subclass gives `open_bank`, an async context manager that yields a `Bank`. The members: customer
(pays), provider (is paid), committee (the third key of three) and thief. No test asserts on time;
where a locktime must pass, `wait_until` passes it.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import EcashLock, EcashPort

FUNDED_MSAT = 2_048_000
AMOUNT_MSAT = 300_000
LONG_S = 3_600
SHORT_S = 2


@dataclass
class Bank:
    """Four members at one mint; the customer has FUNDED_MSAT. fee_msat: most that a swap costs."""

    customer: EcashPort
    provider: EcashPort
    committee: EcashPort
    thief: EcashPort
    now: Callable[[], float]
    wait_until: Callable[[int], Awaitable[None]]  # the bank's clock is past this second then
    fee_msat: int = 0


async def refuse(call: Awaitable[object], *codes: str) -> WalletError:
    with pytest.raises(WalletError) as caught:
        await call
    assert not caught.value.is_retriable, caught.value
    if codes:
        assert caught.value.code in codes, caught.value
    return caught.value


def two_of_three(bank: Bank, seconds: int = LONG_S) -> EcashLock:
    signers = (bank.provider.pubkey, bank.customer.pubkey, bank.committee.pubkey)
    return EcashLock(signers, 2, int(bank.now()) + seconds, bank.customer.pubkey)


def provider_only(bank: Bank, seconds: int = LONG_S, payment_hash: str = "") -> EcashLock:
    locktime_s = int(bank.now()) + seconds
    return EcashLock((bank.provider.pubkey,), 1, locktime_s, bank.customer.pubkey, payment_hash)


def make_preimage() -> tuple[str, str]:
    preimage = secrets.token_hex(32)
    return preimage, hashlib.sha256(bytes.fromhex(preimage)).hexdigest()


class EcashContract:
    """Subclass it as Test...; every method is one promise of `EcashPort`."""

    def open_bank(self, folder: Path) -> AbstractAsyncContextManager[Bank]:
        raise NotImplementedError

    def run(self, folder: Path, check: Callable[[Bank], Awaitable[None]]) -> None:
        async def inside() -> None:
            async with self.open_bank(folder) as bank:
                await check(bank)

        asyncio.run(inside())

    # -- locking --

    def test_same_key_locks_once(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            lock = two_of_three(b)
            tokens = await asyncio.gather(
                *(b.customer.lock("a", AMOUNT_MSAT, lock) for _ in range(3))
            )
            assert len(set(tokens)) == 1
            assert await b.customer.lock("a", AMOUNT_MSAT, lock) == tokens[0]
            left = (await b.customer.get_balance()).spendable_msat
            assert 0 <= FUNDED_MSAT - AMOUNT_MSAT - left <= 2 * b.fee_msat
            await refuse(b.customer.lock("a", 2 * AMOUNT_MSAT, lock))
            await refuse(b.customer.lock("a", AMOUNT_MSAT, replace(lock, signatures_required=1)))
            assert (await b.customer.get_balance()).spendable_msat == left

        self.run(tmp_path, check)

    def test_nobody_locks_more_than_it_has(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            call = b.customer.lock("a", 2 * FUNDED_MSAT, two_of_three(b))
            await refuse(call, "INSUFFICIENT_BALANCE")
            balance = await b.customer.get_balance()
            assert (balance.spendable_msat, balance.held_msat) == (FUNDED_MSAT, 0)
            await b.customer.lock("a", AMOUNT_MSAT, two_of_three(b))  # the key is not used up

        self.run(tmp_path, check)

    def test_locks_that_lead_nowhere_are_refused(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            good = two_of_three(b)
            key = good.signers[0]
            twin = ("02" if key[:2] == "03" else "03") + key[2:]
            for bad in (
                replace(good, refund=""),
                replace(good, signers=()),
                replace(good, signers=(key, key)),
                replace(good, signers=(key, twin)),
                replace(good, signers=(key, key[2:])),
                replace(good, signatures_required=0),
                replace(good, signatures_required=4),
                replace(good, locktime_s=0),
                replace(good, payment_hash="00"),
                replace(good, about="00"),
            ):
                with pytest.raises(InputError):
                    await b.customer.lock("a", AMOUNT_MSAT, bad)
            for amount in (0, -1000):
                with pytest.raises(InputError):
                    await b.customer.lock("a", amount, good)

        self.run(tmp_path, check)

    # -- being paid --

    def test_check_takes_the_agreed_lock_only(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            lock = two_of_three(b)
            token = await b.customer.lock("a", AMOUNT_MSAT, lock)
            await b.provider.check(token, AMOUNT_MSAT, lock)
            await b.provider.check(token, AMOUNT_MSAT, replace(lock, signers=lock.signers[::-1]))
            await refuse(b.provider.check(token, AMOUNT_MSAT + 10_000, lock), "AMOUNT_DIFFERS")
            for other in (
                replace(lock, signers=(*lock.signers[:2], b.thief.pubkey)),
                replace(lock, signers=lock.signers[:2]),
                replace(lock, signatures_required=1),
                replace(lock, locktime_s=lock.locktime_s + 1),
                replace(lock, refund=b.thief.pubkey),
                replace(lock, payment_hash="11" * 32),
            ):
                await refuse(b.provider.check(token, AMOUNT_MSAT, other), "LOCK_DIFFERS")
            with pytest.raises(InputError):
                await b.provider.check(token, AMOUNT_MSAT, replace(lock, refund=""))

        self.run(tmp_path, check)

    def test_a_token_pays_for_one_thing_alone(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            lock = replace(two_of_three(b), about="ab" * 32)
            token = await b.customer.lock("a", AMOUNT_MSAT, lock)
            await b.provider.check(token, AMOUNT_MSAT, lock)
            other = replace(lock, about="cd" * 32)
            await refuse(b.provider.check(token, AMOUNT_MSAT, other), "LOCK_DIFFERS")
            await refuse(b.committee.sign(token, other.about), "LOCK_DIFFERS")
            unbound = await b.customer.lock("b", AMOUNT_MSAT, two_of_three(b))
            await refuse(b.provider.check(unbound, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
            await refuse(b.committee.sign(unbound, lock.about), "LOCK_DIFFERS")
            signed = await b.committee.sign(token, lock.about)
            assert await b.provider.redeem("r", token, [signed]) >= AMOUNT_MSAT

        self.run(tmp_path, check)

    def test_check_refuses_what_is_no_token(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            lock = two_of_three(b)
            token = await b.customer.lock("a", AMOUNT_MSAT, lock)
            middle = len(token) // 2
            altered = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
            for text in ("", "cashuB", "cashuA", token[:-9], altered, token + "x", "x" * 100_000):
                await refuse(b.provider.check(text, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
                await refuse(b.provider.redeem("r", text), "LOCK_DIFFERS", "UNAUTHORIZED")
                await refuse(b.provider.sign(text)) if text != altered else None

        self.run(tmp_path, check)

    def test_check_refuses_what_was_spent_or_has_expired(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            lock, brief = provider_only(b), provider_only(b, SHORT_S)
            token = await b.customer.lock("a", AMOUNT_MSAT, lock)
            late = await b.customer.lock("b", AMOUNT_MSAT, brief)
            await b.provider.redeem("r", token)
            await refuse(b.committee.check(token, AMOUNT_MSAT, lock), "SPENT")
            await b.wait_until(brief.locktime_s)
            await refuse(b.provider.check(late, AMOUNT_MSAT, brief), "EXPIRED")

        self.run(tmp_path, check)

    def test_the_signer_is_paid_once(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            token = await b.customer.lock("a", AMOUNT_MSAT, provider_only(b))
            assert (await b.provider.get_state(token)).state == "unspent"
            received = await b.provider.redeem("r", token)
            assert AMOUNT_MSAT <= received <= AMOUNT_MSAT + b.fee_msat
            assert await b.provider.redeem("r", token) == received
            assert (await b.provider.get_balance()).spendable_msat == received
            await refuse(b.provider.redeem("other", token), "SPENT")
            assert (await b.customer.get_state(token)).state == "spent"
            assert (await b.provider.get_balance()).spendable_msat == received
            other = await b.customer.lock("b", AMOUNT_MSAT, provider_only(b))
            await refuse(b.provider.redeem("r", other))  # the key has moved its money already

        self.run(tmp_path, check)

    def test_what_was_received_can_be_locked_again(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            token = await b.customer.lock("a", AMOUNT_MSAT, provider_only(b))
            await b.provider.redeem("r", token)
            lock = EcashLock((b.thief.pubkey,), 1, int(b.now()) + LONG_S, b.provider.pubkey)
            onward = await b.provider.lock("a", AMOUNT_MSAT // 3, lock)
            await b.thief.check(onward, AMOUNT_MSAT // 3, lock)
            assert await b.thief.redeem("r", onward) >= AMOUNT_MSAT // 3

        self.run(tmp_path, check)

    def test_thief_and_early_refund_are_refused(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            token = await b.customer.lock("a", AMOUNT_MSAT, provider_only(b))
            await refuse(b.thief.redeem("r", token), "UNAUTHORIZED")
            await refuse(b.customer.redeem("r", token), "UNAUTHORIZED")
            await refuse(b.thief.sign(token), "LOCK_DIFFERS")
            assert (await b.provider.get_state(token)).state == "unspent"
            await b.provider.redeem("r", token)

        self.run(tmp_path, check)

    # -- two of three --

    def test_one_of_three_does_not_suffice(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            token = await b.customer.lock("a", AMOUNT_MSAT, two_of_three(b))
            for member in (b.provider, b.customer, b.committee, b.thief):
                await refuse(member.redeem("r", token), "UNAUTHORIZED")
            own = await b.provider.sign(token)
            await refuse(b.provider.redeem("r", token, [own]), "UNAUTHORIZED")
            await refuse(b.provider.redeem("r", token, [own, own]), "UNAUTHORIZED")
            await refuse(b.thief.redeem("r", token, [own]), "UNAUTHORIZED")
            forged = tuple("00" * 64 for _ in own)
            await refuse(b.provider.redeem("r", token, [forged]), "UNAUTHORIZED")
            await refuse(b.provider.redeem("r", token, [()]), "UNAUTHORIZED")
            assert (await b.provider.get_state(token)).state == "unspent"

        self.run(tmp_path, check)

    def test_provider_and_committee_are_two(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            token = await b.customer.lock("a", AMOUNT_MSAT, two_of_three(b))
            await refuse(b.provider.redeem("r", token), "UNAUTHORIZED")
            signed = await b.committee.sign(token)  # the same key may try again with more
            assert await b.provider.redeem("r", token, [signed]) >= AMOUNT_MSAT

        self.run(tmp_path, check)

    def test_signatures_for_one_token_open_no_other(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            first = await b.customer.lock("a", AMOUNT_MSAT, two_of_three(b))
            second = await b.customer.lock("b", AMOUNT_MSAT, two_of_three(b))
            signed = await b.committee.sign(first)
            await refuse(b.provider.redeem("r", second, [signed]), "UNAUTHORIZED")

        self.run(tmp_path, check)

    def test_customer_and_committee_take_it_back_early(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            token = await b.customer.lock("a", AMOUNT_MSAT, two_of_three(b))
            before = (await b.customer.get_balance()).spendable_msat
            signed = await b.committee.sign(token)
            received = await b.customer.redeem("back", token, [signed])
            assert (await b.customer.get_balance()).spendable_msat == before + received
            await refuse(b.provider.redeem("r", token, [signed]), "SPENT")

        self.run(tmp_path, check)

    # -- with a preimage --

    def test_preimage_opens_and_the_payer_reads_it(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            preimage, payment_hash = make_preimage()
            lock = provider_only(b, LONG_S, payment_hash)
            token = await b.customer.lock("a", AMOUNT_MSAT, lock)
            await b.provider.check(token, AMOUNT_MSAT, lock)
            await refuse(b.provider.redeem("r", token), "UNAUTHORIZED")
            wrong = make_preimage()[0]
            await refuse(b.provider.redeem("r", token, preimage=wrong), "UNAUTHORIZED")
            await refuse(b.thief.redeem("r", token, preimage=preimage), "UNAUTHORIZED")
            await refuse(b.customer.redeem("r", token, preimage=preimage), "UNAUTHORIZED")
            with pytest.raises(InputError):
                await b.provider.redeem("r", token, preimage="abc")
            assert (await b.customer.get_state(token)).preimage is None
            assert await b.provider.redeem("r", token, preimage=preimage) >= AMOUNT_MSAT
            state = await b.customer.get_state(token)
            assert (state.state, state.preimage) == ("spent", preimage)

        self.run(tmp_path, check)

    def test_preimage_and_two_of_three_together(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            preimage, payment_hash = make_preimage()
            lock = replace(two_of_three(b), payment_hash=payment_hash)
            token = await b.customer.lock("a", AMOUNT_MSAT, lock)
            await b.provider.check(token, AMOUNT_MSAT, lock)
            signed = await b.committee.sign(token)
            await refuse(b.provider.redeem("r", token, [signed]), "UNAUTHORIZED")
            await refuse(b.provider.redeem("r", token, preimage=preimage), "UNAUTHORIZED")
            await b.provider.redeem("r", token, [signed], preimage)
            assert (await b.customer.get_state(token)).preimage == preimage

        self.run(tmp_path, check)

    # -- after the locktime --

    def test_refund_after_the_locktime(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            payment_hash = make_preimage()[1]
            locks = (
                provider_only(b, SHORT_S),
                two_of_three(b, SHORT_S),
                provider_only(b, SHORT_S, payment_hash),
            )
            tokens = [
                await b.customer.lock(f"a{at}", AMOUNT_MSAT, lock) for at, lock in enumerate(locks)
            ]
            await b.wait_until(max(lock.locktime_s for lock in locks))
            for at, token in enumerate(tokens):
                await refuse(b.thief.redeem(f"r{at}", token), "UNAUTHORIZED")
                before = (await b.customer.get_balance()).spendable_msat
                received = await b.customer.redeem(f"back{at}", token)
                assert received >= AMOUNT_MSAT
                assert (await b.customer.get_balance()).spendable_msat == before + received
                assert (await b.customer.get_state(token)).preimage is None

        self.run(tmp_path, check)

    def test_after_the_locktime_it_is_a_race(self, tmp_path: Path) -> None:
        """Both may spend then, one does: who is to be paid must redeem before the locktime."""

        async def check(b: Bank) -> None:
            lock = provider_only(b, SHORT_S)
            tokens = [await b.customer.lock(f"a{at}", AMOUNT_MSAT, lock) for at in range(3)]
            await b.wait_until(lock.locktime_s)
            await b.provider.redeem("late", tokens[0])
            await refuse(b.customer.redeem("back0", tokens[0]), "SPENT")
            await b.customer.redeem("back1", tokens[1])
            await refuse(b.provider.redeem("r1", tokens[1]), "SPENT")
            answers = await asyncio.gather(
                b.provider.redeem("r2", tokens[2]),
                b.customer.redeem("back2", tokens[2]),
                return_exceptions=True,
            )
            assert sum(isinstance(answer, int) for answer in answers) <= 1
            for member, key in ((b.provider, "r2"), (b.customer, "back2")):
                await asyncio.gather(member.redeem(key, tokens[2]), return_exceptions=True)
            total = sum(
                [(await member.get_balance()).spendable_msat for member in (b.provider, b.customer)]
            )
            assert FUNDED_MSAT - 6 * b.fee_msat <= total <= FUNDED_MSAT

        self.run(tmp_path, check)

    # -- many at once, and again --

    def test_many_at_once_add_up(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            lock = provider_only(b)
            tokens = await asyncio.gather(
                *(b.customer.lock(f"a{at}", 10_000 * (at + 1), lock) for at in range(5))
            )
            received = await asyncio.gather(
                *(b.provider.redeem(f"r{at}", token) for at, token in enumerate(tokens))
            )
            assert (await b.provider.get_balance()).spendable_msat == sum(received)
            left = (await b.customer.get_balance()).spendable_msat
            assert 0 <= FUNDED_MSAT - left - sum(received) <= 10 * b.fee_msat

        self.run(tmp_path, check)

    def test_two_redeem_the_same_at_once(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            token = await b.customer.lock("a", AMOUNT_MSAT, provider_only(b))
            calls = (b.provider.redeem(key, token) for key in ("r", "r", "q"))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(answer, int | WalletError) for answer in answers)
            for key in ("r", "q"):
                await asyncio.gather(b.provider.redeem(key, token), return_exceptions=True)
            balance = (await b.provider.get_balance()).spendable_msat
            assert AMOUNT_MSAT <= balance <= AMOUNT_MSAT + b.fee_msat

        self.run(tmp_path, check)
