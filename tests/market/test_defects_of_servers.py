"""Two of the twelve defects of FEDSTR's reference code: pickle, and paths of the file server."""

from __future__ import annotations

import ast
import asyncio
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kumiai

HASH = "ab" * 32
SOURCES = Path(kumiai.__file__).parent


def test_defect_8_no_pickle_is_ever_loaded() -> None:
    """ "torch.load without weights_only on main = pickle RCE from an untrusted model (docker branch
    fixed it) -> use safetensors"."""
    rooms = ["market", "nodes/market", "apps/market", "adapters/compute/market", "adapters/blobs"]
    rooms += ["adapters/nostr", "adapters/payments"]
    for path in [path for room in rooms for path in (SOURCES / room).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                bad = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
                assert not names & bad, path
            if isinstance(node, ast.Attribute) and node.attr == "load":
                assert getattr(node.value, "id", "") != "torch", path


class Bomb:
    """What a pickle could do to who loads it."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_defect_8_a_pickle_for_an_update_is_malformed_and_does_not_go_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from tests.adapters.market_work.market_jobs import get_world

    from kumiai.base.errors import InputError

    world = get_world()
    monkeypatch.chdir(tmp_path)
    bomb = world.blobs.put(pickle.dumps(Bomb()))
    good = world.train(0)
    lines, _ = world.judge(("ada", good.update, 0), ("eve", bomb, 1))
    assert (lines["eve"].fault, lines["ada"].fault) == ("malformed", "")
    for name in ("model", "shard", "task"):
        with pytest.raises(InputError):
            world.train(shard=0) if name == "" else world.provider.train(
                replace(world.order(), **{name: bomb})
            )
    assert not list(tmp_path.iterdir())


def test_defect_9_no_path_leads_out_of_the_file_server(tmp_path: Path) -> None:
    """ "file_server.py joins unsanitised path (write/read traversal), no auth locally"."""
    pytest.importorskip("aiohttp", reason="pip install 'kumiai[market]'")
    import aiohttp

    from kumiai.adapters.blobs.limits import BlobLimits
    from kumiai.adapters.blobs.server import BlobServer
    from kumiai.adapters.blobs.store import BlobStore

    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")

    async def attack() -> None:
        server = await BlobServer.start(BlobStore(tmp_path / "store", BlobLimits()))
        host, port = server.url[7:].split(":")
        try:
            for method in ("GET", "PUT", "DELETE"):
                for path in ("/../secret", "/..%2fsecret", f"/{HASH}/../../secret", "//secret"):
                    reader, writer = await asyncio.open_connection(host, int(port))
                    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
                    writer.write(f"{head}Connection: close\r\n\r\nevil".encode())
                    reply = await reader.read()
                    assert b" 20" not in reply[:13], (method, path)
                    assert b"secret" not in reply.partition(b"\r\n\r\n")[2]
                    writer.close()
            async with aiohttp.ClientSession() as session:
                upload = session.put(server.url + "/upload", data=b"anything")
                async with upload as answer:
                    assert answer.status == 401  # not without a signature, also locally
        finally:
            await server.stop()

    asyncio.run(attack())
    assert secret.read_bytes() == b"secret"
