"""The relay within the process, and nostr-sdk behind its one door."""

# ruff: noqa: E402 - skipped where nostr-sdk is missing, before what needs it is imported
from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import subprocess
import sys
from types import ModuleType

import pytest

nostr_sdk = pytest.importorskip(
    "nostr_sdk", reason="nostr-sdk is not installed: pip install 'kumiai[market]'"
)

from tests.adapters.nostr.trade import (
    CUSTOMER,
    JOB,
    PATIENCE_S,
    QUICK,
    ids,
    make_event,
    make_events,
    members,
    publish_all,
    read,
    stand,
)
from tests.services.ports import reserve_port

from kumiai.adapters.nostr import embedded, library
from kumiai.adapters.nostr.nodelay import set_nodelay
from kumiai.adapters.nostr.relays import Relays
from kumiai.base.errors import InputError
from kumiai.market.nips import nip01
from kumiai.market.nips.nip01 import Filter
from kumiai.nodes.market.errors import RelayError

JOBS = Filter(kinds=(JOB,))


def test_7000_over_one_connection_lose_none() -> None:
    """LocalRelay ends a connection after 6,000 messages of the client."""

    async def play() -> None:
        stream = [make_event(f"{at}", at=1_700_000_000 + at) for at in range(7_000)]
        async with await embedded.start() as relay, members(relay.url) as (customer, provider):
            subscription = await stand(provider, JOBS)
            published = await publish_all(customer, stream)
            assert all(it.accepted == (relay.url,) for it in published)
            assert ids(await read(subscription, len(stream))) == ids(stream)
            health = customer.get_status()[0]
            assert (health.rotations, health.failures) == (1, 0)
            assert ids(await provider.fetch([JOBS])) == ids(stream)

    asyncio.run(play())


def test_7000_survive_the_relays_own_end_of_the_connection() -> None:
    """The same without changing over in time: what was unanswered is sent again."""

    async def play() -> None:
        link = type(QUICK.link)(pause_first_s=0.02, messages_per_connection=10**9)
        policy = type(QUICK)(link=link)
        stream = [make_event(f"{at}", at=1_700_000_000 + at) for at in range(7_000)]
        async with (
            await embedded.start() as relay,
            members(relay.url, policy=policy, count=1) as (customer,),
        ):
            assert len(await publish_all(customer, stream)) == 7_000
            assert customer.get_status()[0].failures >= 1
            assert ids(await customer.fetch([JOBS])) == ids(stream)

    asyncio.run(play())


def test_members_only(monkeypatch) -> None:
    monkeypatch.setattr(library, "NEGENTROPY_WAIT_S", 60.0)

    async def play() -> None:
        async with await embedded.start(is_auth_required=True) as relay:
            async with members(relay.url) as (customer, provider):
                subscription = provider.subscribe([JOBS])
                event = make_event("hello")
                assert (await customer.publish(event)).accepted == (relay.url,)
                assert await read(subscription, 1) == [event]
                assert await provider.fetch([JOBS]) == [event]
                assert await customer.republish([event]) == 0
                document = '{"kinds":[5900]}'
                missing = await library.find_missing_ids(relay.url, document, {}, CUSTOMER.secret)
                assert missing == [event.id]
            nameless = Relays([relay.url], None, QUICK)
            with pytest.raises(RelayError, match="auth-required"):
                await nameless.publish(make_event("other"))
            with pytest.raises(RelayError, match="auth-required"):
                await nameless.fetch([JOBS], timeout_s=PATIENCE_S)
            await nameless.close()

    asyncio.run(play())


def test_reconciliation_names_exactly_what_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(library, "NEGENTROPY_WAIT_S", 60.0)

    async def play() -> None:
        async with await embedded.start() as relay, members(relay.url, count=1) as (customer,):
            stored = make_events(300)
            await publish_all(customer, stored)
            known = {it.id: it.created_at for it in stored[::3]}
            missing = await library.find_missing_ids(relay.url, '{"kinds":[5900]}', known)
            assert set(missing) == ids(stored) - set(known)
        with pytest.raises(RelayError):
            await library.find_missing_ids(relay.url, "{}", {}, timeout_s=1.0)

    asyncio.run(play())


def test_addresses() -> None:
    async def play() -> None:
        port = reserve_port()
        async with await embedded.start(port=port) as relay:
            assert relay.url == f"ws://127.0.0.1:{port}"
            with pytest.raises(RelayError, match="in use"):
                await embedded.start(port=port)
        for host, bad_port in (("nowhere", 0), ("", 0), ("127.0.0.1", -1), ("127.0.0.1", 70_000)):
            with pytest.raises(InputError):
                await embedded.start(host, bad_port)
        async with await embedded.start(port=port):  # free again as soon as it was stopped
            pass

    asyncio.run(play())


def test_a_folder_that_cannot_be_one(tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RelayError):
        asyncio.run(embedded.start(folder=tmp_path / "file"))


def test_serve_runs_until_cancelled() -> None:
    async def play() -> None:
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(embedded.serve(on_start=started.set_result))
        url = await started
        async with members(url, count=1) as (customer,):
            await customer.publish(make_event("hello"))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        with pytest.raises(RelayError):
            async with members(url, count=1) as (customer,):
                await customer.fetch([JOBS], timeout_s=0.2)

    asyncio.run(play())


def test_no_delay_is_set_where_it_was_asked_for_only() -> None:
    with socket.socket() as ours, socket.socket() as other:
        for it in (ours, other):
            it.bind(("127.0.0.1", 0))
            it.listen()
        assert set_nodelay(ours.getsockname()[1])
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(ours.getsockname()):
            accepted, _ = ours.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        free = reserve_port()
        assert not set_nodelay(free)
        ours.fileno()  # still open: only copies were closed
        other.getsockname()


def test_locks_on_files_outlive_the_search_for_a_socket(tmp_path) -> None:
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with (tmp_path / "locked").open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        set_nodelay(reserve_port())
        other = [sys.executable, "-c", code, str(tmp_path / "locked")]
        assert b"BlockingIOError" in subprocess.run(other, capture_output=True, check=False).stderr


def test_sped_up_or_not_the_results_are_the_same() -> None:
    event = nip01.encode_event(make_event("grüße \U0001f642 " + "x" * 20_000)).decode()
    code = (
        "import sys, nostr_sdk\n"
        "from nostr_sdk import nostr_sdk as binding\n"
        "text = sys.stdin.buffer.read().decode()\n"
        "plain = nostr_sdk.Event.from_json(text).as_json()\n"
        "from kumiai.adapters.nostr.library import speed_up\n"
        "before = binding._UniffiRustBufferBuilder.write\n"
        "assert speed_up(binding) and binding._UniffiRustBufferBuilder.write is not before\n"
        "assert nostr_sdk.Event.from_json(text).as_json() == plain\n"
        "assert nostr_sdk.Event.from_json('{\"id\":1}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=event.encode(), capture_output=True, check=False
    )
    assert b"NostrSdkError" in done.stderr, done.stderr  # the last line; errors pass through too


def test_another_shape_is_left_alone() -> None:
    strange = ModuleType("strange")
    assert not library.speed_up(strange)

    class Builder:
        def write(self, value, flags): ...
        def _reserve(self, size): ...

    class Stream:
        def read(self, size): ...

    strange._UniffiRustBufferBuilder, strange._UniffiRustBufferStream = Builder, Stream
    before = Builder.write
    assert not library.speed_up(strange)
    assert Builder.write is before


def test_another_version_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(library, "VERSION", "0.44.0")
    with pytest.raises(InputError, match=r"version 0\.44\.0 is needed"):
        library.require_nostr_sdk()
