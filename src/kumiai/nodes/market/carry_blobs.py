"""Blobs: fetch them from servers that nobody trusts, open sealed ones, put ours where others look.

Every name is checked on the way in: by `RemoteBlobPort.download` for what comes from servers, by
`SealPort` for what comes out of a sealed file. Hashing and sealing run in a thread, one at a time.

A blob is sealed under a salt made of its key and its own name, so that a seal that a crash
interrupted gives the same bytes again, and one key never meets two files under one salt.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from kumiai.base.canonical import is_hash
from kumiai.base.errors import KumiaiError
from kumiai.market.effects import Fetch, Fetched, Store, Stored, Unseal, Unsealed
from kumiai.market.kinds import Code
from kumiai.market.terms import BlobRef
from kumiai.nodes.market.carrying import Carriers, Emit, Insisting, fail
from kumiai.nodes.market.errors import BlobError
from kumiai.nodes.market.local import Clock, LocalBlobPort, SealPort
from kumiai.nodes.market.ports import BlobLocation, RemoteBlobPort

T = TypeVar("T")

FETCH_PATIENCE_S: Final = 3_600
_SALT_LABEL = b"kumiai-sealed-salt-1/"


@dataclass(frozen=True, slots=True)
class BlobCarrier:
    """Fetch, Unseal and Store of one member."""

    local: LocalBlobPort
    remote: RemoteBlobPort
    sealing: SealPort
    clock: Clock
    insisting: Insisting
    threads: Executor

    def list_carriers(self) -> Carriers:
        """Return what carries out which effect."""
        return {Fetch: self.fetch, Unseal: self.unseal, Store: self.store}

    async def fetch(self, effect: Fetch, emit: Emit) -> None:
        """Download into our store, unless it is there; never more than was announced."""
        ref = effect.ref
        if not is_hash(ref.sha256):
            emit(fail(effect.key, Code.WRONG_HASH, "its name is no sha256"))
            return
        if ref.size_bytes > effect.size_bytes_max:
            text = f"{ref.size_bytes} bytes announced, {effect.size_bytes_max} allowed"
            emit(fail(effect.key, Code.TOO_BIG, text))
            return
        if not self.local.has(ref.sha256):
            until_s = effect.deadline_s or self.clock() + FETCH_PATIENCE_S
            wanted = BlobLocation(ref.sha256, ref.size_bytes, ref.servers)
            try:
                await self.insisting.call(
                    f"fetching {ref.sha256[:12]}",
                    lambda: self._download(wanted, effect.size_bytes_max),
                    lambda: self.clock() >= until_s,
                )
            except BlobError as error:
                emit(fail(effect.key, error.code, error))
                return
        emit(Fetched(effect.key))

    async def unseal(self, effect: Unseal, emit: Emit) -> None:
        """Open a sealed blob of ours under its key."""
        if not is_hash(effect.seal_key):
            emit(fail(effect.key, Code.WRONG_HASH, "its key is not 64 hex digits"))
            return

        async def attempt() -> Unsealed:
            return await self._in_thread(self._unseal, effect)

        try:
            emit(await self.insisting.call(f"opening {effect.sealed[:12]}", attempt))
        except BlobError as error:
            emit(fail(effect.key, error.code, error))

    async def store(self, effect: Store, emit: Emit) -> None:
        """Seal if a key is given, then upload until a server has it."""

        async def attempt() -> BlobRef:
            sealed = effect.blob
            if effect.seal_key:
                sealed = await self._in_thread(self._seal, effect)
            found = await self.remote.upload(self.local.get_path(sealed), sha256=sealed)
            return BlobRef(found.sha256, found.size_bytes, found.servers)

        try:
            ref = await self.insisting.call(f"storing {effect.blob[:12]}", attempt)
        except KumiaiError as error:
            emit(fail(effect.key, Code.NOT_THERE, error))
            return
        emit(Stored(effect.key, ref))

    async def _download(self, wanted: BlobLocation, size_bytes_max: int) -> None:
        with self.local.reserve() as path:
            await self.remote.download(wanted, path, size_bytes_max)
            await self._in_thread(self.local.adopt, path, wanted.sha256)

    def _unseal(self, effect: Unseal) -> Unsealed:
        source, key = self.local.get_path(effect.sealed), bytes.fromhex(effect.seal_key)
        with self.local.reserve() as path:
            opened = self.sealing.open_file(source, path, key, effect.size_bytes_max)
            self.local.adopt(path, opened.plain_sha256)
        return Unsealed(effect.key, opened.plain_sha256, opened.plain_size_bytes)

    def _seal(self, effect: Store) -> str:
        source, key = self.local.get_path(effect.blob), bytes.fromhex(effect.seal_key)
        salt = hmac.digest(key, _SALT_LABEL + bytes.fromhex(effect.blob), "sha256")
        with self.local.reserve() as path:
            sealed = self.sealing.seal_file(source, path, key, salt)
            self.local.adopt(path, sealed.sealed_sha256)
        return sealed.sealed_sha256

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)
