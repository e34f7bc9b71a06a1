"""`RemoteBlobPort` without a socket: the same stores as a server's, in folders of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from kumiai.adapters.blobs.blocks import hash_file, read_blocks
from kumiai.adapters.blobs.fetching import Fetch, MissingBlobError, Sink, fetch_to
from kumiai.adapters.blobs.limits import RefusedError
from kumiai.adapters.blobs.options import ClientOptions
from kumiai.adapters.blobs.shelves import check_name
from kumiai.adapters.blobs.store import BlobStore
from kumiai.base.errors import StoreError
from kumiai.nodes.market.errors import BlobError
from kumiai.nodes.market.ports import BlobLocation


class LocalBlobServers:
    """One member's view of `stores`, by name; several members share them. Whoever made the stores
    closes them.
    """

    def __init__(self, stores: Mapping[str, BlobStore], pubkey: str) -> None:
        self._stores = stores
        self._pubkey = pubkey

    async def upload(
        self, path: Path, media_type: str = "application/octet-stream", sha256: str = ""
    ) -> BlobLocation:
        """As the port says."""
        try:
            hasher, size_bytes = await asyncio.to_thread(hash_file, path)
        except OSError as error:
            raise BlobError(f"{path}: {error.strerror}") from error
        sha256 = check_name(sha256 or hasher.hexdigest())
        have, faults = [], []
        for name, store in self._stores.items():
            try:
                await self._put(store, path, sha256, size_bytes, media_type)
                have.append(name)
            except (RefusedError, StoreError) as error:
                faults.append(f"{name}: {error}")
        if not have:
            raise BlobError(f"no server took blob {sha256}: {'; '.join(faults)}")
        return BlobLocation(sha256, size_bytes, tuple(have))

    async def download(self, wanted: BlobLocation, path: Path, size_bytes_max: int) -> None:
        """As the port says."""
        check_name(wanted.sha256)
        if wanted.size_bytes > size_bytes_max:
            raise BlobError(
                f"blob {wanted.sha256}: {wanted.size_bytes} bytes, more than the"
                f" {size_bytes_max} allowed"
            )
        partial = path.with_name(f".{path.name}.{wanted.sha256[:16]}.partial")
        options = ClientOptions(attempts=1)
        await fetch_to(Fetch(self, wanted, partial, options, wanted.servers), path)

    async def has(self, wanted: BlobLocation) -> bool:
        """As the port says."""
        for name in wanted.servers:
            entry = self._stores[name].find(wanted.sha256) if name in self._stores else None
            if entry is not None and entry.size_bytes == wanted.size_bytes:
                return True
        return False

    async def delete(self, wanted: BlobLocation) -> None:
        """As the port says."""
        faults = []
        for name in wanted.servers:
            try:
                if name in self._stores:
                    await self._stores[name].remove(self._pubkey, wanted.sha256)
            except RefusedError as error:
                if error.status != 404:
                    faults.append(f"{name}: {error.reason}")
        if faults:
            raise BlobError(f"blob {wanted.sha256} not deleted: {'; '.join(faults)}")

    async def close(self) -> None:
        """Nothing is open: the stores belong to whoever made them."""

    async def pull(
        self, server: str, sha256: str, start: int, end: int, total: int, to: Sink
    ) -> None:
        """As `fetching.RangeSource` says."""
        store = self._stores.get(server)
        entry = store.find(sha256) if store is not None else None
        if store is None or entry is None:
            raise MissingBlobError("has no such blob", is_retriable=True)
        if entry.size_bytes != total:
            raise BlobError(f"has {entry.size_bytes} bytes, {total} expected")
        try:
            async for block in store.read(sha256, start, end):
                await to.write(block)
        except StoreError as error:
            raise BlobError(str(error), is_retriable=error.is_retriable) from error

    async def _put(
        self, store: BlobStore, path: Path, sha256: str, size_bytes: int, media_type: str
    ) -> None:
        store.check_room(self._pubkey, sha256, size_bytes)
        if store.adopt(self._pubkey, sha256, media_type) is not None:
            return
        incoming = await store.begin(self._pubkey, sha256, size_bytes)
        try:
            async for block in read_blocks(path, 0, size_bytes):
                await incoming.write(block)
            await incoming.finish(media_type, (sha256,))
        except (OSError, EOFError) as error:
            raise BlobError(f"{path}: {error}") from error
        finally:
            await incoming.close()
