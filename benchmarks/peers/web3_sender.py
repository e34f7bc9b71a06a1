"""web3.py sends signed transactions: what benchmarks/chain_client.py is set beside.

    python web3_sender.py URL SECRET COUNT

Runs in an environment that has web3 (8.x) and coincurve. Prints JSON: seconds until all were
accepted by the node, and until the chain's count had them all. Each is a request of its own, 100
under way: web3.py 8 refuses eth_sendRawTransaction in a batch (MethodNotSupported).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from eth_account import Account
from web3 import AsyncHTTPProvider, AsyncWeb3

TARGET = bytes.fromhex("d0" * 20)
UNDER_WAY = 100


async def main(url: str, secret: str, count: int) -> None:
    account = Account.from_key(secret)
    web3 = AsyncWeb3(AsyncHTTPProvider(url))
    first = await web3.eth.get_transaction_count(account.address)
    slots = asyncio.Semaphore(UNDER_WAY)
    started, worked = time.perf_counter(), time.process_time()

    def sign(nonce: int) -> bytes:
        fields = {
            "type": 2, "chainId": 31337, "nonce": nonce, "maxFeePerGas": 10**11, "gas": 21_000,
            "maxPriorityFeePerGas": 10**9, "to": TARGET, "value": 1, "data": b"",
        }  # fmt: skip
        return bytes(account.sign_transaction(fields).raw_transaction)

    async def send(nonce: int) -> None:
        async with slots:
            await web3.eth.send_raw_transaction(sign(nonce))

    await asyncio.gather(*(send(first + n) for n in range(count)))
    accepted = time.perf_counter() - started
    while await web3.eth.get_transaction_count(account.address) < first + count:
        await asyncio.sleep(0.02)
    mined, work = time.perf_counter() - started, time.process_time() - worked
    print(json.dumps({"accepted": accepted, "mined": mined, "work": work}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
