"""`kumiai chain create`: from a task's file and options to the terms that the contract keeps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from kumiai.adapters.evm.accounts import parse_address
from kumiai.apps.chain import actions
from kumiai.apps.chain.actions import Action
from kumiai.apps.chain.place import ZERO_ADDRESS, Session
from kumiai.apps.chain.reading import read_duration, read_share
from kumiai.apps.chain.taskfile import ChainTerms, make_terms, read_task_file
from kumiai.apps.cli.chaining.door import COIN_NAME, TEST_NAME, Door
from kumiai.apps.cli.running import parse_overrides
from kumiai.base.errors import InputError
from kumiai.settlement.certificates import compute_task_key
from kumiai.tasks.document import compute_task_id


def create(
    door: Door,
    file: Path,
    overrides: Sequence[str],
    token: str,
    ends_in: str,
    grace: str,
    activation_delay: str | None,
    cool_down: str,
    sigma: tuple[str, str, str],
    delegation_slash: str,
    slash_to_task: bool,
    guardians: Sequence[str],
    guardians_required: int | None,
    admission: str | None,
) -> None:
    """Create the task; print its id on the chain."""
    task = read_task_file(file, parse_overrides(list(overrides)))
    delay = activation_delay
    chain_terms = ChainTerms(
        token="",
        admission=ZERO_ADDRESS if admission is None else parse_address("--admission", admission),
        ends_in=read_duration("--ends-in", ends_in),
        grace=read_duration("--grace", grace),
        activation_delay=None if delay is None else read_duration("--activation-delay", delay),
        cool_down=read_duration("--cool-down", cool_down),
        sigma_min=read_share("--sigma-min", sigma[0]),
        sigma_max=read_share("--sigma-max", sigma[1]),
        sigma_freeze=read_duration("--sigma-freeze", sigma[2]),
        delegation_slash=read_share("--delegation-slash", delegation_slash),
        slash_to_task=slash_to_task,
        guardians=[parse_address("--guardian", each) for each in guardians],
        guardians_required=guardians_required,
    )
    make_terms(task, chain_terms, 0)  # what is wrong is said before a node is asked
    who = door.get_address()
    key = compute_task_key(who, bytes.fromhex(compute_task_id(task)))

    async def build(session: Session) -> list[Action]:
        chosen = chain_terms.with_token(_read_token(session, token))
        header = await session.node.get_header("latest")
        now = max(int(time.time()), 0 if header is None else header.timestamp)
        return await actions.create(session, make_terms(task, chosen, now), who)

    if door.carry_out(build, task="0x" + key.hex()):
        door.say("chain.created", "bold", task="0x" + key.hex())


def _read_token(session: Session, text: str) -> str:
    if text == COIN_NAME:
        return ZERO_ADDRESS
    if text == TEST_NAME:
        return session.get_contract("token")
    try:
        return parse_address("--token", text)
    except InputError as error:
        raise InputError("--token", text, f"{error.fix}; or write `coin` or `test`") from None
