"""Follow the order at one validator after another: batches in their places, each proven.

No validator is believed: a batch needs a quorum's signatures and its place, else the next one is
asked from the same place on. So is it where the link breaks or nothing comes for a while: who is
followed may be behind, stopped or cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.service import FOLLOW
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, Schnorr
from kumiai.consensus.pbft.proofs import is_decided

SILENCE_SECONDS = 3.0  # without a batch: the next validator
PAUSE_SECONDS = 0.1  # before the next one is asked


class Follower:
    """Brings decided batches, each once and in order; `run` until cancelled."""

    def __init__(
        self,
        committee: Committee,
        addresses: Sequence[Address],
        on_decided: Callable[[m.Decided], None],
    ) -> None:
        self._committee, self._addresses, self._on_decided = committee, addresses, on_decided
        self._place = 0
        self.validator = 0  # whom it follows now

    async def run(self) -> None:
        """Follow one validator after another."""
        while True:
            try:
                await self._follow(self._addresses[self.validator])
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, ValueError):
                self.validator = (self.validator + 1) % self._committee.size
                await asyncio.sleep(PAUSE_SECONDS)

    async def _follow(self, address: Address) -> None:
        """Take what one validator brings; raises where it stops or brings what is no next batch."""
        async with connect(
            address.make_url(),
            max_size=wire.MESSAGE_BYTES_MAX,
            compression=None,
            open_timeout=SILENCE_SECONDS,
            close_timeout=PAUSE_SECONDS,
        ) as link:
            await link.send(FOLLOW + str(self._place + 1).encode())
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    data = await link.recv()
                decided = wire.decode(data.encode() if isinstance(data, str) else data)
                self._check(decided)
                self._place += 1
                self._on_decided(decided)

    def _check(self, decided: m.Message) -> None:
        """Raise ValueError unless this is the next batch and a quorum decided it."""
        if not isinstance(decided, m.Decided) or decided.proof.sequence != self._place + 1:
            raise ValueError("it is not the next batch")
        if decided.batch.digest != decided.proof.digest:
            raise ValueError("the batch is not the one that was decided")
        if not is_decided(self._committee, Schnorr(), decided.proof):
            raise ValueError("no quorum decided the batch")
