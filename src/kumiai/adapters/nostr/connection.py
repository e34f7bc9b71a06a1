"""One WebSocket to one relay: opened with caps, counted, read frame by frame.

`websockets` sets TCP_NODELAY, answers pings, and stops reading from the socket while its short
queue is full, so a flood stays in the relay's own buffers. No compression: a small frame can then
never become a large one here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidURI, WebSocketException

from kumiai.adapters.nostr.frames import FRAME_BYTES_MAX
from kumiai.nodes.market.errors import RelayError

FRAMES_QUEUED_MAX: Final = 64
PING_INTERVAL_S: Final = 20.0
CLOSE_TIMEOUT_S: Final = 0.5


class _Connect(connect):
    """Follows no redirection: a relay could send us to addresses inside our own network."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@dataclass(eq=False, slots=True)
class Connection:
    """An open socket and what was counted on it. `ended`: subscriptions whose EOSE came here.

    challenge_count: how often the relay asked who we are.
    """

    socket: ClientConnection
    sent_count: int = 0
    bad_count: int = 0
    challenge_count: int = 0
    is_authenticated: bool = False
    auth_id: str = ""
    ended: set[str] = field(default_factory=set)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""

    async def send(self, text: str) -> bool:
        """Send one message; False if the connection is over. Waits while the relay reads slowly."""
        self.sent_count += 1
        try:
            await self.socket.send(text)
        except WebSocketException:
            return False
        return True

    async def read(self, on_frame: Callable[[Connection, str | bytes], None]) -> None:
        """Hand on every frame until the connection is over; never raises for what the peer does."""
        try:
            while not self.reason:  # what came before a cut is not read any more
                on_frame(self, await self.socket.recv())
        except WebSocketException as error:
            self.reason = self.reason or str(error)
        finally:
            self.is_over.set()

    def cut(self, reason: str) -> None:
        """End it at once, without a farewell."""
        self.reason = reason
        self.socket.transport.abort()

    async def close(self) -> None:
        """End it in order; returns soon whatever the relay does."""
        await self.socket.close()


async def open_connection(url: str, timeout_s: float) -> Connection:
    """Connect; raises RelayError (retriable) whatever the reason."""
    try:
        socket = await _Connect(
            url,
            compression=None,
            max_size=FRAME_BYTES_MAX,
            max_queue=FRAMES_QUEUED_MAX,
            open_timeout=timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_INTERVAL_S,
            user_agent_header=None,
            proxy=None,
        )
    except (InvalidURI, ValueError) as error:  # ValueError: a host that is no name
        raise RelayError(f"{url}: {error}") from error
    except (OSError, TimeoutError, WebSocketException) as error:
        reason = str(error) or type(error).__name__
        raise RelayError(f"{url}: {reason}", is_retriable=True) from error
    return Connection(socket)
