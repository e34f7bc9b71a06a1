"""A shelf in a bucket: S3 or anything else that obstore opens.

Bytes reach the bucket only after they were checked on this machine's disk, so nothing unchecked is
ever stored there and nothing has to be deleted again; the price is the room for uploads under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kumiai.adapters.blobs.shelves import check_name
from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError, StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

PART_BYTES: Final = 8 << 20  # of a multipart upload; S3 allows 10,000 parts
PARTS_AT_ONCE: Final = 3  # each is in memory while it travels
RETRIES_MAX: Final = 3
RETRY_WITHIN: Final = timedelta(seconds=30)
READ_BYTES: Final = 4 << 20  # of one ranged request


def open_bucket(
    url: str,
    *,
    endpoint: str = "",
    region: str = "us-east-1",
    access_key: str = "",
    secret_key: str = "",
    prefix: str = "",
) -> BucketShelf:
    """Open `s3://bucket`; endpoint: another server than Amazon's, http for one on this machine.

    Without keys the usual variables and files of the S3 tools count.
    """
    from obstore.store import S3Store

    if not url.startswith("s3://") or "/" in url[5:].rstrip("/"):
        raise InputError("bucket", url, "write s3://NAME")
    options: S3Config = {
        "bucket": url[5:].rstrip("/"),
        "region": region,
        "disable_bulk_delete": True,  # not every server knows it, and we delete one at a time
    }
    if endpoint:
        options["endpoint"] = endpoint
        options["virtual_hosted_style_request"] = False
    if access_key:
        options["access_key_id"] = access_key
        options["secret_access_key"] = secret_key
    retry: RetryConfig = {"max_retries": RETRIES_MAX, "retry_timeout": RETRY_WITHIN}
    client: ClientConfig = {"allow_http": endpoint.startswith("http://")}
    with _faults(url):
        return BucketShelf(
            S3Store(config=options, client_options=client, retry_config=retry), prefix
        )


class BucketShelf:
    """`ShelfPort` over an object store. Objects are called `<prefix><sha256>`."""

    def __init__(self, store: ObjectStore, prefix: str = "") -> None:
        self._store = store
        self._prefix = prefix

    async def put(self, sha256: str, path: Path) -> None:
        """As the port says: the object appears when all its parts have arrived."""
        import obstore

        with _faults(sha256):
            await obstore.put_async(
                self._store,
                self._key_of(sha256),
                path,
                use_multipart=path.stat().st_size > PART_BYTES,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        path.unlink(missing_ok=True)

    async def get_size(self, sha256: str) -> int | None:
        """As the port says."""
        import obstore

        with _faults(sha256):
            try:
                head = await obstore.head_async(self._store, self._key_of(sha256))
            except FileNotFoundError:
                return None
            return int(head["size"])

    async def read(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """As the port says, one ranged request ahead of the caller."""
        job = self._ask(sha256, start, end)
        try:
            while start < end:
                with _faults(sha256):
                    block = await asyncio.shield(job)
                if not block:
                    raise StoreError(f"blob {sha256}: the bucket's copy ends at byte {start}")
                start += len(block)
                job = self._ask(sha256, start, end)
                yield block
        finally:
            await asyncio.wait([job])
            job.exception()

    async def remove(self, sha256: str) -> None:
        """As the port says."""
        import obstore

        with _faults(sha256):
            try:
                await obstore.delete_async(self._store, self._key_of(sha256))
            except FileNotFoundError:
                return

    async def list_names(self) -> AsyncIterator[str]:
        """As the port says."""
        import obstore

        with _faults("the bucket"):
            async for page in obstore.list(self._store, prefix=self._prefix or None):
                for item in page:
                    name = str(item["path"]).removeprefix(self._prefix)
                    if is_hash(name):
                        yield name

    async def close(self) -> None:
        """The store closes its connections by itself."""

    def _key_of(self, sha256: str) -> str:
        return self._prefix + check_name(sha256)

    def _ask(self, sha256: str, start: int, end: int) -> asyncio.Task[bytes]:
        return asyncio.create_task(self._fetch(sha256, start, min(end, start + READ_BYTES)))

    async def _fetch(self, sha256: str, start: int, end: int) -> bytes:
        import obstore

        if start >= end:
            return b""
        data = await obstore.get_range_async(
            self._store, self._key_of(sha256), start=start, end=end
        )
        return bytes(data)


@contextmanager
def _faults(what: str) -> Iterator[None]:
    """Turn what obstore raises, errors of its own and OSError, into StoreError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{what}: the bucket has no such blob") from error
    except (BaseError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StoreError(f"{what}: the bucket failed: {first:.200}", is_retriable=True) from error
