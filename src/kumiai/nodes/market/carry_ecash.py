"""Ecash in escrow: lock, check, sign, redeem at the mint.

Source: docs/nip-training.md, section 6, policy escrow: two of (provider, customer, arbiter) spend a
token; from the locktime on the customer alone may take it back. A mint that does not answer is
asked again for ever; what it refuses for good is `Failed`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kumiai.base.errors import InputError
from kumiai.market.effects import (
    CheckToken,
    Done,
    LockToken,
    Redeemed,
    RedeemToken,
    Result,
    SignToken,
    TokenMade,
    TokenSigned,
)
from kumiai.market.kinds import Code
from kumiai.nodes.market.carry_money import OWN_LIMITS
from kumiai.nodes.market.carrying import Carriers, Emit, Insisting, fail
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import EcashLock, EcashPort

SIGNATURES_REQUIRED = 2


@dataclass(frozen=True, slots=True)
class EcashCarrier:
    """LockToken, CheckToken, SignToken and RedeemToken of one machine.

    name: as in `carry_money`: it tells this machine's keys from others' at the same mint.
    """

    name: str
    ecash: EcashPort
    insisting: Insisting

    def list_carriers(self) -> Carriers:
        """Return what carries out which effect."""
        return {
            LockToken: self.lock,
            CheckToken: self.check,
            SignToken: self.sign,
            RedeemToken: self.redeem,
        }

    async def lock(self, effect: LockToken, emit: Emit) -> None:
        """Make a token for the provider, us and the arbiter, any two; the refund is ours."""
        ours = self.ecash.pubkey
        lock = make_lock(effect.provider, ours, effect.arbiter, effect.locktime_s, effect.about)

        async def attempt() -> Result:
            key = f"{self.name}/{effect.key}"
            token = await self.ecash.lock(key, effect.amount_msat, lock)
            return TokenMade(effect.key, token, ours)

        await self._tell(effect.key, attempt, emit)

    async def check(self, effect: CheckToken, emit: Emit) -> None:
        """As the provider: is it worth that much, and locked so?"""
        lock = make_lock(
            self.ecash.pubkey, effect.customer, effect.arbiter, effect.locktime_s, effect.about
        )

        async def attempt() -> Result:
            await self.ecash.check(effect.token, effect.amount_msat, lock)
            return Done(effect.key)

        await self._tell(effect.key, attempt, emit)

    async def sign(self, effect: SignToken, emit: Emit) -> None:
        """Our signatures, for another who redeems: if it is the work's token and no other's."""

        async def attempt() -> Result:
            return TokenSigned(effect.key, await self.ecash.sign(effect.token, effect.about))

        await self._tell(effect.key, attempt, emit)

    async def redeem(self, effect: RedeemToken, emit: Emit) -> None:
        """Spend with another signer's signatures, one a proof, or alone after the locktime."""
        signatures = [effect.signatures] if effect.signatures else []

        async def attempt() -> Result:
            key = f"{self.name}/{effect.key}"
            received = await self.ecash.redeem(key, effect.token, signatures)
            return Redeemed(effect.key, received)

        await self._tell(effect.key, attempt, emit)

    async def _tell(self, key: str, attempt: Callable[[], Awaitable[Result]], emit: Emit) -> None:
        try:
            emit(await self.insisting.call(f"ecash {key}", attempt))
        except (WalletError, InputError) as error:
            if getattr(error, "code", "") in OWN_LIMITS:
                self.insisting.report(f"ecash {key}", error)
            emit(fail(key, Code.BAD_INVOICE, error))


def make_lock(
    provider: str, customer: str, arbiter: str, locktime_s: int, about: str = ""
) -> EcashLock:
    """Two of three (two of two without an arbiter) until the locktime, then the customer alone."""
    signers = (provider, customer, arbiter) if arbiter else (provider, customer)
    return EcashLock(signers, SIGNATURES_REQUIRED, locktime_s, customer, about=about)
