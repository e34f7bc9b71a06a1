"""The work behind the short commands on a task: read the arguments, build, send."""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.adapters.evm.accounts import parse_address
from kumiai.apps.chain import actions
from kumiai.apps.chain.actions import Action, TaskName, name_task
from kumiai.apps.chain.place import Session
from kumiai.apps.chain.reading import read_amount, read_share
from kumiai.apps.chain.state import list_validators
from kumiai.apps.cli.chaining.door import Door
from kumiai.base.errors import InputError

SIGNATURE_DIGITS = 130


def _name(door: Door, task: str, owner: str | None) -> TaskName:
    return name_task(task, door.read_owner(owner) if task.endswith(".toml") else None)


def fund(door: Door, task: str, owner: str | None, amount: str) -> None:
    """Fund a task."""
    name, units = _name(door, task, owner), read_amount("AMOUNT", amount)
    door.carry_out(lambda s: actions.fund(s, name, units))


def stake(
    door: Door,
    task: str,
    owner: str | None,
    role: str,
    amount: str,
    document: str | None,
    admission: str | None,
    deadline: int | None,
) -> None:
    """Stake for oneself."""
    if role not in ("trainer", "validator"):
        raise InputError("ROLE", role, "write trainer or validator")
    name, units = _name(door, task, owner), read_amount("AMOUNT", amount)
    letter = _read_admission(admission, deadline)
    door.carry_out(lambda s: actions.stake(s, name, role, units, document, letter))


def _read_admission(text: str | None, deadline: int | None) -> tuple[bytes, int] | None:
    if text is None:
        return None
    digits = text.removeprefix("0x")
    try:
        signature = bytes.fromhex(digits)
    except ValueError:
        signature = b""
    if len(digits) != SIGNATURE_DIGITS or not signature:
        raise InputError("--admission", text, "a signature is 65 bytes: 130 hex digits")
    if deadline is None:
        raise InputError("--admission-deadline", None, "the signature is over it: name the same")
    return signature, deadline


def unstake(door: Door, task: str, owner: str | None) -> None:
    """Leave."""
    name = _name(door, task, owner)
    door.carry_out(lambda s: actions.unstake(s, name))


def withdraw(door: Door, task: str, owner: str | None, member: str | None) -> None:
    """Pay a stake back."""
    name = _name(door, task, owner)
    who = door.get_address() if member is None else parse_address("--member", member)
    door.carry_out(lambda s: actions.withdraw(s, name, who))


def delegate(door: Door, task: str, owner: str | None, node: str, amount: str) -> None:
    """Lend."""
    name, units = _name(door, task, owner), read_amount("AMOUNT", amount)
    who = parse_address("NODE", node)
    door.carry_out(lambda s: actions.delegate(s, name, who, units))


def undelegate(door: Door, task: str, owner: str | None, node: str) -> None:
    """Take a loan back."""
    name, who = _name(door, task, owner), parse_address("NODE", node)
    door.carry_out(lambda s: actions.undelegate(s, name, who))


def sigma(door: Door, task: str, owner: str | None, share: str) -> None:
    """Set sigma."""
    name, ppm = _name(door, task, owner), read_share("SHARE", share)
    door.carry_out(lambda s: actions.set_sigma(s, name, ppm))


def start(door: Door, task: str, owner: str | None, committee: Sequence[str]) -> None:
    """Begin with the named committee, or with all staked validators."""
    name = _name(door, task, owner)
    named = [parse_address("VALIDATOR", each) for each in committee]

    async def build(session: Session) -> list[Action]:
        chosen = named or await list_validators(session, name)
        if not chosen:
            fix = "no validator is staked: a task cannot begin without one"
            raise InputError("VALIDATOR", None, fix)
        return await actions.start(session, name, chosen)

    door.carry_out(build)


def cancel(door: Door, task: str, owner: str | None) -> None:
    """Give up before the start."""
    name = _name(door, task, owner)
    door.carry_out(lambda s: actions.cancel(s, name))


def expire(door: Door, task: str, owner: str | None) -> None:
    """End what nobody settled."""
    name = _name(door, task, owner)
    door.carry_out(lambda s: actions.expire(s, name))


def refund(door: Door, task: str, owner: str | None) -> None:
    """Take back one's part."""
    name = _name(door, task, owner)
    door.carry_out(lambda s: actions.refund(s, name))


def mint(door: Door, amount: str, to: str | None) -> None:
    """Make test credit."""
    units = read_amount("AMOUNT", amount)
    who = door.get_address() if to is None else parse_address("--to", to)
    door.carry_out(lambda s: actions.mint(s, who, units))
