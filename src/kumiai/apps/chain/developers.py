"""Keys that everybody knows: of the phrase "test test ... test junk", eleven times test.

anvil, hardhat and the embedded chain fund them on chains of their own. On a chain with real money
whatever they hold is taken within seconds.
"""

from __future__ import annotations

DEV_COIN = 10_000  # each, on a new embedded chain
DEV_SECRETS = tuple(
    bytes.fromhex(digits)
    for digits in (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
        "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    )
)
