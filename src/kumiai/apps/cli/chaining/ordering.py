"""The work behind `pause`, `resume` and `stop`: write, sign, deliver."""

from __future__ import annotations

from pathlib import Path

from kumiai.apps.chain.actions import name_task
from kumiai.apps.chain.orders import (
    Order,
    begin_order,
    check_order,
    describe,
    load_order,
    make_delivery,
    save_order,
    sign_order,
)
from kumiai.apps.chain.place import Session
from kumiai.apps.chain.reading import read_duration
from kumiai.apps.cli.chaining.door import Door
from kumiai.base.errors import InputError


def order(
    door: Door,
    action: str,
    task: str | None,
    time: str,
    reason: str | None,
    out: Path | None,
    sign: Path | None,
    send: Path | None,
) -> None:
    """One of three: a new order, one more signature, or the delivery."""
    if sum(given is not None for given in (task, sign, send)) != 1:
        fix = "name a task for a new order, or --sign FILE, or --send FILE: one of them"
        raise InputError("TASK", task, fix)
    if task is not None:
        _begin(door, action, task, time, reason, out)
        return
    path = sign or send
    assert path is not None
    found = load_order(path)
    if found.action != action:
        fix = f"the file orders `{found.action}`: use `kumiai chain {found.action}`"
        raise InputError(str(path), found.action, fix)
    if sign is not None:
        _sign(door, path, found)
    else:
        door.carry_out(lambda session: make_delivery(session, found))


def _begin(
    door: Door, action: str, task: str, time: str, reason: str | None, out: Path | None
) -> None:
    name, seconds = name_task(task, None), read_duration("--for", time)
    if reason is None:
        raise InputError("--reason", None, "say why: it stands on the chain for ever")
    if out is not None and out.exists():
        raise InputError("--out", str(out), "the file is there already: choose another name")
    guardian = door.get_address()

    async def begin(session: Session) -> Order:
        made = await begin_order(session, name, action, seconds, reason)
        if guardian not in made.guardians:
            fix = f"only the task's guardians sign: {', '.join(made.guardians)}"
            raise InputError("--keystore", guardian, fix)
        return made

    made = door.run(begin)
    if made.required > 1 and out is None:
        fix = f"{made.required} guardians must sign: name a file that goes round, --out order.json"
        raise InputError("--out", None, fix)
    _show(door, made)
    if door.settings.dry_run and made.required > 1:
        door.say("chain.dry", "yellow")
        return
    signed = sign_order(made, door.load_account())
    if out is not None:
        save_order(out, signed)
        _tell_next(door, out, signed)
        return
    door.carry_out(lambda session: make_delivery(session, signed))


def _sign(door: Door, path: Path, found: Order) -> None:
    door.run(lambda session: check_order(session, found))
    _show(door, found)
    if door.settings.dry_run:
        door.say("chain.dry", "yellow")
        return
    door.ask_consent("chain.consent_sign")
    signed = sign_order(found, door.load_account())
    save_order(path, signed)
    _tell_next(door, path, signed)


def _show(door: Door, it: Order) -> None:
    door.say(f"chain.do.order_{it.action}", "bold", **describe(it))
    door.say("chain.order_signed", "dim", **describe(it))


def _tell_next(door: Door, path: Path, it: Order) -> None:
    key = "chain.order_ready" if it.is_signed_enough else "chain.order_waits"
    door.say(key, "green", path=str(path), action=it.action, n=it.required - len(it.signatures))
    door.print_json({"order": str(path), "signed": len(it.signatures), "required": it.required})
