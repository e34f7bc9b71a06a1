"""`kumiai chain deploy`: make the contracts once, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kumiai.adapters.evm.accounts import encode_checksum, parse_address
from kumiai.apps.chain.actions import Action
from kumiai.apps.chain.deploying import (
    begin_deployment,
    check_resumed,
    finish_deployment,
    list_missing,
)
from kumiai.apps.chain.deployment import (
    DEPLOYMENT_FILE,
    Deployment,
    load_deployment,
    save_deployment,
)
from kumiai.apps.chain.place import Place, Session
from kumiai.apps.chain.reading import read_duration
from kumiai.apps.cli.chaining.door import Door
from kumiai.base.errors import InputError

DELAY_SECONDS_MIN = 3_600
GUARDIANS_MAX = 16


def deploy(door: Door, has_token: bool, guardians: Sequence[str], delay: str) -> None:
    """Make what is missing of a deployment; FILE says what there is."""
    if door.settings.arena is not None:
        fix = "deploy makes an arena: name the file that keeps the addresses, --deployment FILE"
        raise InputError("--arena", door.settings.arena, fix)
    path = door.settings.deployment or Path(DEPLOYMENT_FILE)
    seconds = read_duration("--delay", delay)
    if seconds < DELAY_SECONDS_MIN:
        raise InputError("--delay", delay, "the timelock waits at least 1h")
    who = door.get_address()
    named = tuple(parse_address("--guardian", each) for each in guardians) or (who,)
    if len(set(named)) != len(named) or len(named) > GUARDIANS_MAX:
        raise InputError("--guardian", len(named), f"name each once, at most {GUARDIANS_MAX}")
    found = load_deployment(path) if path.exists() else None
    if found is not None:
        check_resumed(found, who, seconds, named, has_token=has_token)
    done = door.run_at(
        _without_contracts(door.place, found),
        lambda session: _deploy(door, session, path, found, (who, seconds, named, has_token)),
    )
    if done is not None:
        for name, address in done.list_contracts():
            door.say("chain.deployed", name=name, address=encode_checksum(address))
        door.say("chain.deployment", "bold", path=str(path))


def _without_contracts(place: Place, found: Deployment | None) -> Place:
    """The same place, before there are contracts to ask for."""
    expected = place.chain_id if place.chain_id is not None or found is None else found.chain_id
    return Place(place.rpc, place.chain_file, expected, None, None, is_bare=True)


async def _deploy(
    door: Door,
    session: Session,
    path: Path,
    found: Deployment | None,
    asked: tuple[str, int, tuple[str, ...], bool],
) -> Deployment | None:
    who, seconds, named, has_token = asked
    plan = found or await begin_deployment(session, who, seconds, named, has_token=has_token)
    missing = await list_missing(session, plan)
    if not missing and plan.is_complete:
        door.say("chain.deploy_done", "green", path=str(path))
        door.print_json({"dry_run": False, "contracts": dict(plan.list_contracts())})
        return None
    if found is None and not door.settings.dry_run:
        door.before_sending = lambda: save_deployment(path, plan)

    async def build(_: Session) -> list[Action]:
        return missing

    contracts = dict(plan.list_contracts())
    if missing and not await door.carry_out_in(session, build, contracts=contracts):
        return None
    finished = await finish_deployment(session, plan)
    save_deployment(path, finished)
    return finished
