"""nostr-sdk itself: the only module that imports it, pinned to one version.

Every minor release so far renamed or dropped what the one before had, so another version is refused
with the fix. What leaves this module are our own types and plain ones. Used for what it does best:
the relay within the process (`LocalRelay`) and NIP-77's reconciliation; `docs/adr/0041` says why
members' connections are not its own.

`speed_up` replaces the two functions of its Python part that copy buffers byte by byte. They are
private: where they do not look as expected nothing is touched and all works as before, slower.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.metadata
import importlib.util
import inspect
import threading
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from types import ModuleType
from typing import Any, Final, TypeVar

from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import RelayError

_T = TypeVar("_T")

VERSION: Final = "0.45.1"
INSTALL: Final = "install it with: pip install 'kumiai[market]'"
NEGENTROPY_WAIT_S: Final = 3.0  # for a relay's first word on whether it has NIP-77
RECONCILE_S: Final = 120.0  # for all of it: a relay may fall silent in the middle


def require_nostr_sdk() -> ModuleType:
    """Return nostr_sdk, sped up; InputError with the fix where it is missing or another version."""
    if importlib.util.find_spec("nostr_sdk") is None:
        raise InputError("nostr-sdk", "not installed", INSTALL)
    found = importlib.metadata.version("nostr-sdk")
    if found != VERSION:
        raise InputError("nostr-sdk", found, f"version {VERSION} is needed; {INSTALL}")
    try:
        import nostr_sdk
        from nostr_sdk import nostr_sdk as binding
    except (ImportError, OSError) as error:  # OSError: its shared library does not load here
        raise InputError("nostr-sdk", str(error), f"it does not load; {INSTALL}") from error
    speed_up(binding)
    module: ModuleType = nostr_sdk
    return module


def speed_up(binding: ModuleType) -> bool:
    """Copy buffers at once instead of byte by byte; tell whether that is so afterwards."""
    builder = getattr(binding, "_UniffiRustBufferBuilder", None)
    stream = getattr(binding, "_UniffiRustBufferStream", None)
    for owner, name, arguments in ((builder, "write", ["self", "value"]), (stream, "read", _READ)):
        method = getattr(owner, name, None)
        if method is None or list(inspect.signature(method).parameters) != arguments:
            return False
    if builder is None or stream is None or not hasattr(builder, "_reserve"):
        return False
    builder.write = _write_at_once
    stream.read = _read_at_once
    return True


async def start_relay(
    *,
    host: str,
    port: int,
    folder: str | None,
    events_per_minute: int,
    subscriptions_max: int,
    connections_max: int,
    page_events_max: int,
    is_auth_required: bool,
) -> tuple[object, str]:
    """Start nostr-sdk's relay; return it (it lives as long as that object) and its URL.

    Raises RelayError if it cannot: port in use, folder not writable.
    """
    sdk = require_nostr_sdk()

    async def build() -> tuple[object, str]:
        if folder is not None:
            store = await sdk.NostrLmdb.open(folder)
            relay = builder.database(store).build()
        else:
            relay = builder.build()
        await relay.run()
        return relay, str(await relay.url())

    limit = sdk.RateLimit(max_reqs=subscriptions_max, notes_per_minute=events_per_minute)
    builder = sdk.LocalRelayBuilder().addr(host).rate_limit(limit).max_connections(connections_max)
    builder = builder.default_filter_limit(page_events_max).max_filter_limit(page_events_max)
    if port:
        builder = builder.port(port)
    if is_auth_required:
        mode = sdk.LocalRelayBuilderNip42(mode=sdk.LocalRelayBuilderNip42Mode.BOTH)
        builder = builder.nip42(mode)
    try:
        return await _run(sdk, build())
    except sdk.NostrSdkError as error:
        where = f"{host}:{port}" + (f", folder {folder}" if folder else "")
        raise RelayError(f"no relay could be started at {where}: {error}") from error


def stop_relay(relay: object) -> None:
    """Stop what `start_relay` returned."""
    shutdown = getattr(relay, "shutdown")  # noqa: B009 - the type is the library's
    shutdown()


async def find_missing_ids(
    url: str,
    wanted_json: str,
    known: Mapping[str, int],
    secret: bytes | None = None,
    timeout_s: float = 10.0,
) -> list[str]:
    """Ask a relay by NIP-77 which events of a filter it has and `known` (id -> created_at) has not.

    Over a connection of its own. Raises RelayError where the relay has no NIP-77 or is out of time
    (timeout_s: to connect). Ids are only claims: fetch and check the events.
    """
    sdk = require_nostr_sdk()
    work = _reconcile(sdk, url, wanted_json, known, secret, timeout_s)
    try:
        async with asyncio.timeout(RECONCILE_S):
            return await _run(sdk, work)
    except TimeoutError as error:
        raise RelayError(f"{url}: no end of the reconciliation", is_retriable=True) from error
    except sdk.NostrSdkError as error:
        raise RelayError(f"{url}: no reconciliation: {error}", is_retriable=True) from error


async def _reconcile(
    sdk: ModuleType,
    url: str,
    wanted_json: str,
    known: Mapping[str, int],
    secret: bytes | None,
    timeout_s: float,
) -> list[str]:
    builder = sdk.ClientBuilder()
    if secret is not None:
        keys = sdk.Keys(sdk.SecretKey.from_bytes(secret))
        builder = builder.authenticator(sdk.SignerAuthenticator(keys))
    client = builder.build()
    try:
        address = sdk.RelayUrl.parse(url)
        await client.add_relay(address)
        relay = await client.relay(address)
        await relay.try_connect(timeout=timedelta(seconds=timeout_s))
        wait = timedelta(seconds=min(NEGENTROPY_WAIT_S, timeout_s))
        options = sdk.SyncOptions().initial_timeout(wait).dry_run()
        items = [_make_item(sdk, event_id, at) for event_id, at in known.items()]
        wanted = sdk.Filter.from_json(wanted_json)
        if secret is not None:  # `sync` does not authenticate itself, a request does
            await relay.fetch_events(sdk.Filter().limit(1), timeout=wait)
        summary = await relay.sync(wanted, items=items, opts=options)
        return [event_id.to_hex() for event_id in summary.remote]
    finally:
        await client.shutdown()


async def _run(sdk: ModuleType, work: Coroutine[Any, Any, _T]) -> _T:
    """Run nostr-sdk's coroutines on a loop of their own, in a thread of their own.

    The binding calls Python back (a relay's store in a folder, an authenticator) on one loop for
    the whole process: one that is never closed, and that nothing else keeps busy.
    """
    with _LOOP_LOCK:
        if not _LOOPS:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="nostr-sdk", daemon=True).start()
            sdk.uniffi_set_event_loop(loop)
            _LOOPS.append(loop)
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, _LOOPS[0]))


def _make_item(sdk: ModuleType, event_id: str, created_at: int) -> Any:
    moment = sdk.Timestamp.from_secs(created_at)
    return sdk.NegentropyItem(id=sdk.EventId.parse(event_id), timestamp=moment)


def _write_at_once(self: Any, value: bytes) -> None:
    size = len(value)
    with self._reserve(size):
        if size:
            start = ctypes.cast(self.rbuf.data, ctypes.c_void_p).value or 0
            ctypes.memmove(start + self.rbuf.len, bytes(value), size)


def _read_at_once(self: Any, size: int) -> bytes:
    if self.offset + size > self.len:
        raise RuntimeError("read past end of rust buffer")
    start = ctypes.cast(self.data, ctypes.c_void_p).value or 0
    data = ctypes.string_at(start + self.offset, size)
    self.offset += size
    return data


_READ = ["self", "size"]
_LOOPS: list[asyncio.AbstractEventLoop] = []
_LOOP_LOCK = threading.Lock()
