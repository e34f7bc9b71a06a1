"""What a command asks of the contracts: each builder returns the transactions, none of them sent.

A builder reads the chain where it must (which token, who is staked) and raises InputError where the
command makes no sense there. Whether the contract agrees, `planning` asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.abi import Call
from kumiai.adapters.evm.accounts import encode_checksum, parse_address
from kumiai.adapters.evm.bindings.credit import calls as credit
from kumiai.adapters.evm.bindings.iarena import calls as arena
from kumiai.adapters.evm.bindings.iarena.structs import Terms
from kumiai.apps.chain.place import ZERO_ADDRESS, Session
from kumiai.apps.chain.reading import read_hash
from kumiai.apps.chain.refusals import ROLES
from kumiai.apps.chain.taskfile import read_task_file
from kumiai.base.errors import InputError
from kumiai.settlement.certificates import compute_task_key
from kumiai.tasks.document import compute_task_id

NO_DEADLINE = 2**40 - 1
STATUS_NONE = 0


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens that the contract takes from the sender, by an approval of exactly as much."""

    token: str
    amount: int


@dataclass(frozen=True, slots=True)
class Action:
    """One transaction. `what`: the sentence `chain.do.WHAT` of the catalogue with `places`.

    key: names it in the outbox, so that it is never sent twice; "": every command sends its own.
    """

    what: str
    to: str | None
    data: bytes
    value: int = 0
    places: Mapping[str, object] = field(default_factory=dict)
    spends: Spending | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task on the chain, and its document's hash where the user showed the document."""

    key: bytes
    document: bytes | None = None

    @property
    def shown(self) -> str:
        return "0x" + self.key.hex()


def name_task(text: str, owner: str | None) -> TaskName:
    """Return the task that `text` names: its id on the chain (64 hex digits), or its file."""
    path = Path(text)
    if path.suffix != ".toml":
        return TaskName(read_hash("TASK", text))
    document = bytes.fromhex(compute_task_id(read_task_file(path)))
    if owner is None:
        fix = "a task's id follows from its file and its owner: name --owner ADDRESS, or the id"
        raise InputError("TASK", text, fix)
    return TaskName(compute_task_key(parse_address("--owner", owner), document), document)


async def get_terms(session: Session, task: TaskName) -> Terms:
    """Return a task's terms; InputError where the arena knows no such task."""
    state, terms = await session.node.read(
        [(session.arena, arena.get_task(task.key)), (session.arena, arena.get_terms(task.key))]
    )
    if state.status == STATUS_NONE:
        fix = f"the arena {session.arena} knows no such task: look at id, owner and --deployment"
        raise InputError("TASK", task.shown, fix)
    assert isinstance(terms, Terms)
    return terms


def _ask(session: Session, what: str, call: Call[Any], **places: object) -> Action:
    return Action(what, session.arena, call.data, places=places)


def _pay(
    session: Session, what: str, token: str, amount: int, call: Call[Any], **places: object
) -> Action:
    """A call that takes `amount` of the task's token or coin from the sender."""
    places = {"amount": f"{amount:,}", **places}
    if token == ZERO_ADDRESS:
        return Action(what, session.arena, call.data, value=amount, places=places)
    spends = Spending(token, amount)
    return Action(what, session.arena, call.data, places=places, spends=spends)


async def create(session: Session, terms: Terms, who: str) -> list[Action]:
    """Create a task with these terms."""
    task = compute_task_key(who, terms.document)
    return [_ask(session, "create", arena.create_task(terms), task="0x" + task.hex())]


async def fund(session: Session, task: TaskName, amount: int) -> list[Action]:
    """Put money into the escrow."""
    token = (await get_terms(session, task)).token
    return [_pay(session, "fund", token, amount, arena.fund(task.key, amount))]


async def stake(
    session: Session,
    task: TaskName,
    role: str,
    amount: int,
    document: str | None,
    admission: tuple[bytes, int] | None,
) -> list[Action]:
    """Take part with a stake, or add to it. `document`: a task file or its hash, read by whom?

    The hash goes with the stake: whoever sends it knows what it agrees to.
    """
    terms = await get_terms(session, task)
    known = task.document if document is None else read_document(document)
    if known is None:
        fix = "show what you agree to: the task's file, or its hash"
        raise InputError("--document", None, fix)
    signature, deadline = admission or (b"", NO_DEADLINE)
    call = arena.stake(task.key, ROLES.index(role), amount, known, deadline, signature)
    return [_pay(session, "stake", terms.token, amount, call, role=role)]


def read_document(text: str) -> bytes:
    """Return a document's hash from its file's path or from 64 hex digits."""
    if Path(text).suffix == ".toml":
        return bytes.fromhex(compute_task_id(read_task_file(Path(text))))
    return read_hash("--document", text)


async def unstake(session: Session, task: TaskName) -> list[Action]:
    """Leave before the start."""
    return [_ask(session, "unstake", arena.unstake(task.key))]


async def withdraw(session: Session, task: TaskName, member: str) -> list[Action]:
    """Pay a member its stake back."""
    call = arena.withdraw_stake(task.key, member)
    return [_ask(session, "withdraw", call, member=encode_checksum(member))]


async def delegate(session: Session, task: TaskName, node: str, amount: int) -> list[Action]:
    """Lend to a node."""
    token = (await get_terms(session, task)).token
    call = arena.delegate(task.key, node, amount)
    return [_pay(session, "delegate", token, amount, call, node=encode_checksum(node))]


async def undelegate(session: Session, task: TaskName, node: str) -> list[Action]:
    """Take back what was lent."""
    call = arena.undelegate(task.key, node)
    return [_ask(session, "undelegate", call, node=encode_checksum(node))]


async def set_sigma(session: Session, task: TaskName, sigma: int) -> list[Action]:
    """Change what the node keeps of what delegation adds."""
    call = arena.set_sigma(task.key, sigma)
    return [_ask(session, "sigma", call, share=f"{sigma / 10_000:g} %")]


async def start(session: Session, task: TaskName, committee: Sequence[str]) -> list[Action]:
    """Begin, with these validators in any order."""
    members = sorted(set(committee))
    return [_ask(session, "start", arena.start(task.key, members), n=len(members))]


async def cancel(session: Session, task: TaskName) -> list[Action]:
    """Give up before the start."""
    return [_ask(session, "cancel", arena.cancel(task.key))]


async def expire(session: Session, task: TaskName) -> list[Action]:
    """End what nobody settled."""
    return [_ask(session, "expire", arena.expire(task.key))]


async def refund(session: Session, task: TaskName) -> list[Action]:
    """Take back one's part of what was not spent."""
    return [_ask(session, "refund", arena.refund(task.key))]


async def mint(session: Session, to: str, amount: int) -> list[Action]:
    """Make test credit for somebody."""
    token = session.get_contract("token")
    places = {"amount": f"{amount:,}", "to": encode_checksum(to)}
    return [Action("mint", token, credit.mint(to, amount).data, places=places)]
