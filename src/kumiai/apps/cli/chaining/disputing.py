"""The work behind `kumiai chain dispute`."""

from __future__ import annotations

from pathlib import Path

from kumiai.adapters.evm.accounts import encode_checksum, parse_address
from kumiai.adapters.evm.bindings.idisputes.structs import Case, Dispute
from kumiai.apps.chain import disputes
from kumiai.apps.chain.actions import Action, name_task
from kumiai.apps.chain.place import ZERO_ADDRESS, Session
from kumiai.apps.chain.reading import read_hash
from kumiai.apps.chain.refusals import show_time
from kumiai.apps.cli.chaining.door import COIN_NAME, TEST_NAME, Door


def begin(door: Door, task: str, owner: str | None, file: Path) -> None:
    """Accuse; print the dispute's id."""
    name = name_task(task, door.read_owner(owner) if task.endswith(".toml") else None)
    body = disputes.load_move(file)
    sent = door.carry_out(lambda session: disputes.begin(session, name, body))
    opened = disputes.find_opened(sent[-1].receipt) if sent else None
    if opened is not None:
        door.say("chain.dispute_opened", "bold", dispute="0x" + opened.hex())


def answer(door: Door, dispute: str, file: Path) -> None:
    """Make a move."""
    key, body = read_hash("DISPUTE", dispute), disputes.load_move(file)

    async def build(session: Session) -> list[Action]:
        await disputes.read_dispute(session, key)
        return await disputes.answer(session, key, body)

    door.carry_out(build)


def expire(door: Door, dispute: str) -> None:
    """End what ran out of time."""
    key = read_hash("DISPUTE", dispute)

    async def build(session: Session) -> list[Action]:
        await disputes.read_dispute(session, key)
        return await disputes.expire(session, key)

    door.carry_out(build)


def withdraw(door: Door, token: str, account: str | None) -> None:
    """Pay bonds back."""
    who = door.get_address() if account is None else parse_address("--account", account)

    async def build(session: Session) -> list[Action]:
        if token == COIN_NAME:
            return await disputes.withdraw(session, ZERO_ADDRESS, who)
        address = session.get_contract("token") if token == TEST_NAME else None
        return await disputes.withdraw(session, address or parse_address("TOKEN", token), who)

    door.carry_out(build)


def show(door: Door, dispute: str) -> None:
    """Where it stands, line by line."""
    key = read_hash("DISPUTE", dispute)

    async def look(session: Session) -> tuple[Dispute, Case]:
        return await disputes.read_dispute(session, key), await disputes.find_case(session, key)

    it, about = door.run(look)
    level, outcome = disputes.LEVELS[it.level], disputes.OUTCOMES[it.outcome]
    accused = about.submission.account
    door.print_json(
        {
            "dispute": "0x" + key.hex(), "task": "0x" + about.task.hex(), "level": level,
            "round": about.submission.round, "accused": accused, "accuser": about.accuser,
            "bond": about.bond, "deadline": it.deadline, "answered": it.answered,
            "height": it.height, "position": it.position,
            "outcome": outcome if level == "decided" else None,
        }
    )  # fmt: skip
    door.say(
        "chain.dispute.head", "bold", accused=encode_checksum(accused),
        accuser=encode_checksum(about.accuser), round=about.submission.round,
        bond=f"{about.bond:,}",
    )  # fmt: skip
    if level == "decided":
        door.say(f"chain.dispute.outcome.{outcome}", "green")
        return
    door.say(f"chain.dispute.level.{level}", height=it.height, position=it.position)
    turn = {0: "both", 1: "accuser", 2: "accused", 3: "anyone"}[it.answered]
    key_of_turn = "chain.dispute.turn.jury" if level == "jury" else f"chain.dispute.turn.{turn}"
    door.say(key_of_turn, "yellow", until=show_time(it.deadline))
