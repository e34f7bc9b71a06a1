"""A member's ecash at a Cashu mint as its owner uses it: `PursePort`, beside `EcashPort`.

Filled and emptied over Lightning by the mint (`funding`, `melting`). An invoice is paid once for
ever: what is kept of a payment has the invoice's hash as its key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from kumiai.adapters.payments import bolt11 as invoices
from kumiai.adapters.payments.cashu.history import make_movement
from kumiai.adapters.payments.cashu.melting import Melting
from kumiai.adapters.payments.cashu.store import Operation
from kumiai.adapters.payments.cashu.wallet import CashuWallet
from kumiai.adapters.payments.checks import check_unexpired
from kumiai.base.keys import SigningKey
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.purse import MoveKind, Movement, TakenUp

FAULTS_MAX = 3  # of one look at what is open


class CashuPurse(CashuWallet):
    """`PursePort` at the mint `url`; `path` is the wallet's file, as for `CashuWallet`."""

    def __init__(
        self,
        url: str,
        key: SigningKey,
        path: Path,
        *,
        unit: str = "sat",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(url, key, path, unit=unit, clock=clock)
        money = (unit, self._unit_msat)
        self._melting = Melting(self._api, self._store, self._swaps, money, self._sending, clock)

    async def fill(self, key: str, amount_msat: int) -> Movement:
        """Ask for an invoice, and tell what is known of it; see `PursePort`."""
        await self.request_funds(key, amount_msat)
        return self._find_movement(key)

    async def claim(self, key: str) -> Movement:
        """Fetch the ecash of a paid invoice, and tell what is known of it; see `PursePort`."""
        await self.claim_funds(key)
        return self._find_movement(key)

    async def pay(self, bolt11: str, fee_msat_max: int) -> Movement:
        """Let the mint pay an invoice; see `PursePort`."""
        invoice = invoices.decode(bolt11)
        key = f"pay/{invoice.payment_hash}"
        if self._store.get(key) is None:
            check_unexpired(invoice, self._clock())
        async with self._hold(key):
            await self._melting.pay(key, invoice, fee_msat_max // self._unit_msat)
        return self._find_movement(key)

    async def list_movements(self) -> list[Movement]:
        """Everything that moved or was meant to; see `PursePort`."""
        now_s = self._clock()
        return [make_movement(*it, self._unit_msat, now_s) for it in self._store.list_all()]

    async def take_up(self) -> TakenUp:
        """Learn what became of what a crash cut off; see `PursePort`."""
        ended: list[Movement] = []
        faults: list[WalletError] = []
        for operation in self._store.list_open():
            try:
                async with self._hold(operation.key):
                    has_ended = await self._take_up(operation)
            except WalletError as error:
                faults.append(error)
                if len(faults) == FAULTS_MAX:  # the mint is away: the rest would wait for it too
                    break
                continue
            if has_ended:
                known = {it.key: it for it in await self.list_movements()}
                ended += [it for key, it in known.items() if key.endswith(operation.key)][-1:]
        return TakenUp(tuple(ended), faults[-1] if faults else None)

    async def _take_up(self, operation: Operation) -> bool:
        """Tell whether it has ended now."""
        if operation.kind == "mint":
            return await self._funding.take_up(operation)
        facts = self._store.get_facts(operation.key)
        if operation.kind == "melt":
            return await self._melting.take_up(operation, invoices.decode(facts.bolt11))
        movement = make_movement(operation, facts, self._unit_msat, self._clock())
        if movement.kind is MoveKind.SENT:
            await self._swaps.retry(operation)
            return True
        return await self._swaps.find_end(operation)  # whoever asked for it asks again

    def _find_movement(self, key: str) -> Movement:
        operation = self._store.get(key)
        assert operation is not None
        facts = self._store.get_facts(key)
        return make_movement(operation, facts, self._unit_msat, self._clock())
