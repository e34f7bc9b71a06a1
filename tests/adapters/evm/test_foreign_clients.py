"""A stake made with ethers and a claim made with cast are taken, on both kinds of chain."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import CONTRACTS, KEYS, find_tool, run_anvil
from tests.adapters.evm.embedded import run_embedded

from kumiai.adapters.evm.accounts import Account, compact_signature
from kumiai.adapters.evm.bindings.iarena import calls as arena
from kumiai.adapters.evm.bindings.iarena.structs import Certificate, Quorum
from kumiai.adapters.evm.fees import FeePolicy
from kumiai.adapters.evm.keystore import save_keystore
from kumiai.adapters.evm.node import Node
from kumiai.adapters.evm.transport import HttpTransport
from kumiai.apps.chain.actions import Action
from kumiai.apps.chain.place import Place, open_session
from kumiai.apps.chain.sending import send_all
from kumiai.apps.cli import main
from kumiai.settlement.certificates import (
    ZERO_WORD,
    ChainCertificate,
    ChainPlace,
    compute_certificate_digest,
    compute_task_key,
    hash_slashes,
)
from kumiai.settlement.payroll import compute_pay_proofs, compute_pay_root
from kumiai.tasks.document import compute_task_id, parse_task

TASK = 'name = "foreign"\n[settlement]\nkind = "evm"\nchallenge_window_ms = 0\n'
PASSWORD = "eight or more"
ACCOUNTS = [Account(bytes.fromhex(key[2:])) for key in KEYS]


def run(*words: str, key: int) -> None:
    assert main(["chain", *words, "--keystore", f"key{key}.json", "--yes", "--json"]) == 0


async def settle(place: Place, task: bytes, owed: dict[str, int], path: Path) -> None:
    """Certify round 1 by the committee of one: the third account."""
    async with open_session(place) as session:
        pure = ChainCertificate(
            task=task, round=1, attempt=1, is_final=False, body=b"\x01" * 32,
            submissions=b"\x02" * 32, payments=compute_pay_root(task, owed),
            paid=sum(owed.values()), locked=0, slashes=hash_slashes([]), next_committee=ZERO_WORD,
        )  # fmt: skip
        digest = compute_certificate_digest(pure, ChainPlace(session.chain_id, session.arena))
        names = ("task", "round", "attempt", "is_final", "body", "submissions", "payments",
                 "paid", "locked", "slashes", "next_committee")  # fmt: skip
        certificate = Certificate(*(getattr(pure, name) for name in names))
        signature = compact_signature(ACCOUNTS[2].sign_digest(digest))
        quorum = Quorum((ACCOUNTS[2].address,), 1, signature)
        action = Action("settle", session.arena, arena.settle(certificate, [], quorum).data)
        await send_all(session, ACCOUNTS[2], path, [action], FeePolicy(), 1, lambda error: None)


@pytest.mark.parametrize("kind", ["embedded", "anvil"])
def test_ethers_stakes_and_cast_claims(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = find_tool("cast")
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUMIAI_PASSWORD", PASSWORD)
    for index, account in enumerate(ACCOUNTS):
        save_keystore(Path(f"key{index}.json"), account, PASSWORD, work_factor=1 << 10)
    Path("task.toml").write_text(TASK)
    document = compute_task_id(parse_task(TASK))
    with run_anvil() if kind == "anvil" else run_embedded() as node:
        monkeypatch.setenv("KUMIAI_RPC", node.url)
        run("deploy", "--test-token", key=0)
        for index in range(3):
            run("mint", "1_000_000", key=index)
        words = ("--token", "test", "--activation-delay", "0")
        run("create", "task.toml", *words, key=0)
        run("fund", "task.toml", "10_000", key=0)
        run("stake", "task.toml", "validator", "500", "--owner", ACCOUNTS[0].address, key=2)
        made = json.loads(Path("deployment.json").read_text())
        task = compute_task_key(ACCOUNTS[0].address, bytes.fromhex(document))
        script = CONTRACTS / "test" / "clients" / "stake.mjs"
        arguments = [node.url, KEYS[1], made["arena"], made["token"], "0x" + task.hex(), "1", "300",
                     "0x" + document]  # fmt: skip
        staked = subprocess.run(["node", str(script), *arguments], capture_output=True, text=True,
                                check=False)  # fmt: skip
        assert staked.returncode == 0, staked.stderr
        assert json.loads(staked.stdout)["status"] == 1
        run("start", "task.toml", key=0)

        owed = {account.address: 1_000 + n for n, account in enumerate(ACCOUNTS[1:])}
        place = Place(rpc=node.url, deployment=Path("deployment.json"))
        asyncio.run(settle(place, task, owed, tmp_path / "settle.outbox"))
        trainer = ACCOUNTS[1].address
        proof = compute_pay_proofs(task, owed)[trainer]
        path = "[" + ",".join("0x" + each.hex() for each in proof.path) + "]"
        call = "claim(bytes32,uint32,address,uint128,bytes32[])"
        words_of_cast = [
            *(str(cast), "send", "--rpc-url", node.url, "--private-key", KEYS[3], "--json"),
            *(made["arena"], call, "0x" + task.hex(), "1", trainer, "1000", path),
        ]
        claimed = subprocess.run(words_of_cast, capture_output=True, text=True, check=False)
        assert claimed.returncode == 0, claimed.stderr
        assert int(json.loads(claimed.stdout)["status"], 16) == 1

        async def look() -> tuple[int, int]:
            async with HttpTransport(node.url) as transport:
                asked = Node(transport, 31337)
                member = await asked.call(made["arena"], arena.get_member(task, trainer))
                return member.stake, await asked.call(
                    made["arena"], arena.get_claimed(task, trainer)
                )

        assert asyncio.run(look()) == (300, 1_000)
        again = subprocess.run(words_of_cast, capture_output=True, text=True, check=False)
        assert again.returncode != 0  # a claim pays once
