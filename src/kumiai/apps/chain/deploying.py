"""Making the contracts: five transactions of one account, whose addresses know each other.

The arena is told its arbiter (the disputes contract) and that one the arena before either exists:
both addresses follow from the deployer's nonce. The plan is saved before anything is sent, each
transaction has a key in the outbox, and at the end the contracts are asked whether they fit.
"""

from __future__ import annotations

from dataclasses import replace

from eth_abi.abi import encode

from kumiai.adapters.evm.accounts import encode_checksum
from kumiai.adapters.evm.bindings.arena import calls as owned
from kumiai.adapters.evm.bindings.disputes import calls as disputes
from kumiai.adapters.evm.bindings.iarena import calls as arena
from kumiai.adapters.evm.deployment import load_bytecode
from kumiai.apps.chain.actions import Action
from kumiai.apps.chain.deployment import Deployment, plan_deployment
from kumiai.apps.chain.place import Session
from kumiai.base.errors import InputError, VerificationError

ARTIFACTS = {
    "timelock": "Timelock", "arena": "Arena", "disputes": "Disputes", "lens": "Lens",
    "token": "Credit",
}  # fmt: skip


async def begin_deployment(
    session: Session, deployer: str, delay: int, guardians: tuple[str, ...], *, has_token: bool
) -> Deployment:
    """Return where everything will stand; the deployer must not send anything else meanwhile."""
    nonce = await session.node.get_nonce(deployer, "pending")
    block = await session.node.get_block_number()
    return plan_deployment(
        session.chain_id, deployer, nonce, block, delay, guardians, has_token=has_token
    )


def check_resumed(
    found: Deployment, deployer: str, delay: int, guardians: tuple[str, ...], *, has_token: bool
) -> None:
    """InputError where an interrupted deployment is taken up with other arguments."""
    asked = (deployer, delay, guardians, has_token)
    if (found.deployer, found.delay, found.guardians, bool(found.token)) != asked:
        fix = (
            "it was begun by another account or with other options: take the same, or another FILE"
        )
        raise InputError("--deployment", "(exists)", fix)


async def list_missing(session: Session, deployment: Deployment) -> list[Action]:
    """Return the transactions that make what does not stand yet."""
    missing = []
    for name, address in deployment.list_contracts():
        code = await session.node.transport.request("eth_getCode", (address, "latest"))
        if code in ("0x", "0x0", None):
            places = {"name": ARTIFACTS[name], "address": encode_checksum(address)}
            key = f"deploy/{deployment.nonce}/{name}"
            data = make_creation(name, deployment)
            missing.append(Action("deploy", None, data, places=places, key=key))
    return missing


async def finish_deployment(session: Session, deployment: Deployment) -> Deployment:
    """Ask the contracts whether they know each other; VerificationError where they do not."""
    left = await list_missing(session, deployment)
    if left:
        raise VerificationError(
            f"no contract at {left[0].places['address']}: the deployer's account sent something "
            "else meanwhile; deploy again with another --deployment FILE"
        )
    answers = await session.node.read(
        [
            (deployment.arena, arena.arbiter()),
            (deployment.arena, owned.owner()),
            (deployment.disputes, disputes.arena()),
            (deployment.disputes, disputes.owner()),
        ]
    )
    wanted = [deployment.disputes, deployment.timelock, deployment.arena, deployment.timelock]
    if answers != wanted:
        raise VerificationError(f"the contracts do not fit: {answers} where {wanted} was expected")
    return replace(deployment, is_complete=True)


def make_creation(name: str, deployment: Deployment) -> bytes:
    """Return the data of the transaction that makes one of a deployment's contracts."""
    return load_bytecode(ARTIFACTS[name]) + _encode_arguments(name, deployment)


def _encode_arguments(name: str, it: Deployment) -> bytes:
    if name == "timelock":
        return encode(["uint256", "address[]"], [it.delay, list(it.guardians)])
    if name == "arena":
        return encode(["address", "address"], [it.timelock, it.disputes])
    if name == "disputes":
        return encode(["address", "address"], [it.arena, it.timelock])
    return b""
