"""nostr-relay 1.14 (PyPI, another author's, SQLite) as a process of its own.

`make services` installs it into .venv-services/nostr-relay.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.ports import reserve_port

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / ".venv-services" / "nostr-relay" / "bin" / "nostr-relay"
REASON = "nostr-relay is not installed: make services"
START_SECONDS_MAX = 300.0
LOOK_S = 0.1

CONFIG = """
DEBUG: false
relay_name: the second relay
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{folder}/nostr.sqlite3
  num_concurrent_reqs: 10
  num_concurrent_adds: 2
  validators:
    - nostr_relay.validators.is_not_too_large
    - nostr_relay.validators.is_signed
verification:
  nip05_verification: disabled
gunicorn:
  bind: 127.0.0.1:{port}
  workers: 1
  loglevel: error
authentication:
  enabled: {is_auth}
  relay_urls:
    - ws://127.0.0.1:{port}
  actions:
    save: a
    query: a
message_timeout: 1800
subscription_limit: 64
max_limit: 6000
"""


@asynccontextmanager
async def run_second_relay(folder: Path, port: int = 0) -> AsyncIterator[str]:
    """Start it and give its URL; ended by its process group at the end."""
    port = port or reserve_port()
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(folder=folder, port=port, is_auth="false"))
    log = (folder / "log.txt").open("wb")
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "-c", config, "serve", cwd=folder, stdout=log, stderr=log, start_new_session=True
    )
    try:
        give_up = time.monotonic() + START_SECONDS_MAX
        while not await _is_answering(port):
            if process.returncode is not None or time.monotonic() > give_up:
                raise RuntimeError(f"it did not start: {(folder / 'log.txt').read_text()[-2000:]}")
            await asyncio.sleep(LOOK_S)
        yield f"ws://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        log.close()


async def _is_answering(port: int) -> bool:
    """Tell whether it answers. Its port takes connections before anybody is there to answer."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.")
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()


if __name__ == "__main__":  # serve until killed: python -m tests...second_relay FOLDER PORT

    async def main() -> None:
        async with run_second_relay(Path(sys.argv[1]), int(sys.argv[2])) as url:
            print(url, flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())
