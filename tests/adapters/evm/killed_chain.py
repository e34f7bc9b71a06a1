"""A process that sends transactions to its own chain and says each hash that was acknowledged.

It is killed by its pid in the middle; the test then opens the file and looks for each of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from eth_account import Account
from tests.adapters.evm.anvil import KEYS
from tests.adapters.evm.embedded import make_genesis
from tests.adapters.evm.probe import deploy_data, encode_call, sign

from kumiai.adapters.evm.chain import queries
from kumiai.adapters.evm.chain.chain import open_chain
from kumiai.adapters.evm.chain.rendering import to_checksum

ROOT = Path(__file__).resolve().parents[3]
TO = to_checksum(b"\xa1" * 20)


def run_and_kill(path: Path, seconds: float, *, is_pooled: bool) -> list[str]:
    """Start it, wait until its first acknowledgement, kill it `seconds` later.

    Returns the hashes that it had acknowledged (it writes them to a pipe after the answer came).
    """
    words = [
        sys.executable,
        "-m",
        "tests.adapters.evm.killed_chain",
        str(path),
        str(int(is_pooled)),
    ]
    found_by = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=found_by)
    assert process.stdout is not None
    said = [process.stdout.readline().strip()]
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    said += [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    timer.cancel()
    return [line for line in said if len(line) == 66]


def check_after_kill(path: Path, acknowledged: list[str]) -> None:
    """Each acknowledged transaction is in one block, or waits; as many nonces as transactions.

    That the blocks do what they say is `replay_file`'s to find out.
    """
    chain = open_chain(path)
    try:
        for name in acknowledged:
            wanted = bytes.fromhex(name[2:])
            row = queries.find_transaction(chain.store, wanted)
            waits = chain.pool.find(wanted) is not None
            assert (row is not None) != waits, f"{name}: in a block {row}, waits {waits}"
        for key in KEYS:
            sender = bytes.fromhex(Account.from_key(key).address[2:])
            mined = chain.store.reader.execute(
                "select count(*) from transactions where sender = ?", (sender,)
            ).fetchone()[0]
            view = chain.engine.view(chain.store.nodes, chain.head.state_root)
            assert view.get_account(sender).nonce == mined
    finally:
        chain.close()


def main(path: Path, is_pooled: bool) -> None:
    """Send for ever: four senders, one by one or in batches, every tenth with a gap before it."""
    chain = open_chain(path, make_genesis())
    senders = {key: bytes.fromhex(Account.from_key(key).address[2:]) for key in KEYS}

    def say(answers: list[bytes | Exception]) -> None:
        for answer in answers:
            if isinstance(answer, bytes):
                sys.stdout.write(f"0x{answer.hex()}\n")
        sys.stdout.flush()

    def make(key: str, ahead: int, value: int) -> bytes:
        nonce = chain.count_nonce(senders[key]) + ahead
        data = encode_call("keep", nonce, value, b"") if value % 3 else "0x"
        if value == 1:
            raw = sign(key, nonce, data=deploy_data(), gas=3_000_000)
        else:
            raw = sign(key, nonce, to=TO, data=data, value=1, gas=200_000)
        return bytes.fromhex(raw[2:])

    count = 0
    while True:
        raws = []
        for key in KEYS:
            for ahead in range(10 if is_pooled else 1):
                count += 1
                gap = 2 if count % 10 == 0 and not is_pooled else 0
                raws.append(make(key, ahead + gap, count))
        if is_pooled:
            say(chain.submit_many(raws))
        else:
            for raw in raws:
                say(chain.submit_many([raw]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "1")
