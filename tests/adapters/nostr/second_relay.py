"""nostr-relay 1.14 (PyPI, another author's, SQLite) as a process of its own.

`make services` installs it into .venv-services/nostr-relay.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / ".venv-services" / "nostr-relay" / "bin" / "nostr-relay"
REASON = "nostr-relay is not installed: make services"

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


def find_port() -> int:
    """A free port below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as it:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                it.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@asynccontextmanager
async def run_second_relay(folder: Path, port: int = 0) -> AsyncIterator[str]:
    """Start it and give its URL; ended by its process group at the end."""
    port = port or find_port()
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(folder=folder, port=port, is_auth="false"))
    log = (folder / "log.txt").open("wb")
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "-c", config, "serve", cwd=folder, stdout=log, stderr=log, start_new_session=True
    )
    try:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
                if process.returncode is not None:
                    break
            else:
                writer.close()
                break
        if process.returncode is not None:
            raise RuntimeError(f"it did not start: {(folder / 'log.txt').read_text()[-2000:]}")
        yield f"ws://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        log.close()


if __name__ == "__main__":  # serve until killed: python second_relay.py FOLDER PORT

    async def main() -> None:
        async with run_second_relay(Path(sys.argv[1]), int(sys.argv[2])) as url:
            print(url, flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())
