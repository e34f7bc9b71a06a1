"""`kumiai relay` and `kumiai blobs`: run until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import typer

from kumiai.apps.cli.entry import get_language
from kumiai.apps.report.texts import Language, load_texts
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import RelayError

TAKEN = "something listens there already: stop it, or choose another port (0: any free one)"


def serve_relay(host: str, port: int, folder: Path | None) -> None:
    """Run the embedded relay."""
    from kumiai.adapters.nostr import embedded

    texts = load_texts(cast(Language, get_language(None)))
    key = "market.begin.relay" if folder is None else "market.begin.relay_kept"

    def tell(url: str) -> None:
        typer.echo(texts.text(key, url=url, folder=folder))

    try:
        asyncio.run(until_stopped(embedded.serve(host, port, folder, on_start=tell)))
    except RelayError as error:
        if "in use" in str(error):
            raise InputError("--port", port, TAKEN) from error
        raise


async def until_stopped(serving: Coroutine[Any, Any, None]) -> None:
    """Serve until SIGINT or SIGTERM: for a server that is no failure."""
    task = asyncio.ensure_future(serving)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def serve_blobs(host: str, port: int, folder: Path, public_url: str) -> None:
    """Run the blob server."""
    from kumiai.adapters.blobs.server import serve
    from kumiai.adapters.blobs.store import BlobStore

    texts = load_texts(cast(Language, get_language(None)))
    folder.mkdir(parents=True, exist_ok=True)

    def tell(url: str) -> None:
        typer.echo(texts.text("market.begin.blobs", url=public_url or url, folder=folder))

    serve(BlobStore(folder), host, port, public_url=public_url, on_start=tell)
