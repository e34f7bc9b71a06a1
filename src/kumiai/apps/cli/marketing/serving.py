"""`kumiai relay` and `kumiai blobs`: run until Ctrl-C."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer


def serve_relay(host: str, port: int, folder: Path | None) -> None:
    """Run the embedded relay."""
    from kumiai.adapters.nostr import embedded

    place = f"keeps events in {folder}" if folder is not None else "keeps events in memory"

    def tell(url: str) -> None:
        typer.echo(f"relay at {url} ({place}); Ctrl-C ends it")

    asyncio.run(embedded.serve(host, port, folder, on_start=tell))


def serve_blobs(host: str, port: int, folder: Path, public_url: str) -> None:
    """Run the blob server."""
    from kumiai.adapters.blobs.server import serve
    from kumiai.adapters.blobs.store import BlobStore

    folder.mkdir(parents=True, exist_ok=True)

    def tell(url: str) -> None:
        shown = public_url or url
        typer.echo(f"blob server at {shown} (keeps blobs in {folder}); Ctrl-C ends it")

    serve(BlobStore(folder), host, port, public_url=public_url, on_start=tell)
