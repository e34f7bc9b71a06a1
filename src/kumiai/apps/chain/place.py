"""Where a command goes: a node or the embedded chain's file, which chain, which contracts.

`open_session` asks the node for its chain id first; whoever named another one is told, and nothing
is signed. The session ends with the `async with`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.evm import shapes
from kumiai.adapters.evm.accounts import parse_address
from kumiai.adapters.evm.advice import ADVICE
from kumiai.adapters.evm.errors import WrongChainIdError
from kumiai.adapters.evm.node import Node
from kumiai.adapters.evm.transport import HttpTransport, Transport
from kumiai.apps.chain.deployment import DEPLOYMENT_FILE, Deployment, load_deployment
from kumiai.apps.chain.refusals import ERRORS
from kumiai.base.errors import InputError

ZERO_ADDRESS = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Place:
    """What the user named. rpc: URL; chain_file: used where no rpc is; None: not named.

    is_bare: before there are contracts; the default deployment's file is not looked for.
    """

    rpc: str | None = None
    chain_file: Path | None = None
    chain_id: int | None = None
    arena: str | None = None
    deployment: Path | None = None
    is_bare: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A node of the right chain, and the contracts that were named."""

    node: Node
    chain_id: int
    deployment: Deployment | None
    arena_named: str | None

    @property
    def arena(self) -> str:
        """The arena's address; InputError where none was named."""
        if self.arena_named is not None:
            return self.arena_named
        if self.deployment is not None and self.deployment.arena:
            return self.deployment.arena
        raise InputError(
            "--arena", None, f"name it, or its {DEPLOYMENT_FILE}: --deployment FILE; "
            "`kumiai chain deploy` makes one"
        )  # fmt: skip

    @property
    def first_block(self) -> int:
        """Before this block no log of the arena can stand."""
        if self.deployment is not None and self.deployment.arena == self.arena:
            return self.deployment.block
        return 0

    def get_contract(self, name: str) -> str:
        """Another contract of the deployment: disputes, lens, token; InputError without one."""
        found = "" if self.deployment is None else getattr(self.deployment, name)
        if not found:
            fix = f"the address of {name} is read from it: name one that has it"
            raise InputError("--deployment", None, fix)
        return str(found)


@asynccontextmanager
async def open_session(place: Place) -> AsyncIterator[Session]:
    """Yield a session with the named node; ChainError or InputError where that cannot be."""
    deployment = _find_deployment(place)
    arena = None if place.arena is None else parse_address("--arena", place.arena)
    expected = place.chain_id
    if deployment is not None:
        if expected is not None and expected != deployment.chain_id:
            fix = f"the deployment is of chain {deployment.chain_id}: name its own chain, or none"
            raise InputError("--chain-id", expected, fix)
        expected = deployment.chain_id
    async with _open_transport(place) as transport:
        given = shapes.read_int(await transport.request("eth_chainId", ()))
        if expected is not None and given != expected:
            raise WrongChainIdError(expected, given)
        node = Node(transport, given, errors=ERRORS, advice=ADVICE)
        session = Session(node, given, deployment, arena)
        if arena is not None or deployment is not None:
            await _check_contract(session)
        yield session


async def _check_contract(session: Session) -> None:
    """Money sent to an address without code is gone: ask once."""
    code = await session.node.transport.request("eth_getCode", (session.arena, "latest"))
    if code in ("0x", "0x0", None):
        fix = f"no contract is at this address of chain {session.chain_id}"
        raise InputError("arena", session.arena, fix)


def _find_deployment(place: Place) -> Deployment | None:
    if place.is_bare:
        return None
    if place.deployment is not None:
        return load_deployment(place.deployment)
    default = Path(DEPLOYMENT_FILE)
    return load_deployment(default) if place.arena is None and default.exists() else None


@asynccontextmanager
async def _open_transport(place: Place) -> AsyncIterator[Transport]:
    if place.rpc:
        if not place.rpc.startswith(("http://", "https://")):
            fix = "a node's URL begins with http:// or https://"
            raise InputError("--rpc", place.rpc.split("/")[0], fix)
        # the tries of the client are for programs that run for days; a person waits seconds
        async with HttpTransport(place.rpc, attempts_max=3) as http:
            yield http
    elif place.chain_file is not None:
        async with _open_file(place.chain_file) as embedded:
            yield embedded
    else:
        fix = "name a node (--rpc URL, or KUMIAI_RPC) or the embedded chain's file (--chain-file)"
        raise InputError("--rpc", None, fix)


@asynccontextmanager
async def _open_file(path: Path) -> AsyncIterator[Transport]:
    from kumiai.adapters.evm.chain.chain import open_chain
    from kumiai.adapters.evm.chain.doors import EmbeddedTransport
    from kumiai.adapters.evm.in_process import InProcessTransport

    if not path.exists():
        fix = "there is no such file: `kumiai chain serve --file FILE` begins a chain"
        raise InputError("--chain-file", str(path), fix)
    chain = open_chain(path)
    transport = InProcessTransport(EmbeddedTransport(chain))
    try:
        yield transport
    finally:
        await transport.close()
        chain.close()
