"""A member's running node: other terminals' commands reach it, its relays are looked after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from kumiai.adapters.nostr.health import LinkState
from kumiai.adapters.nostr.relays import Relays
from kumiai.apps.market.assembly import Member
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.saying import take_commands

LOOK_S = 0.5  # between two looks for commands of other terminals
SENT_S = 10.0  # for the last events to reach a relay
OnRelay = Callable[[str, str], None]


async def run_until(
    member: Member,
    folder: MarketFolder,
    holds: Callable[[Any], bool],
    commands: Sequence[type],
    on_relay: OnRelay | None = None,
) -> Any:
    """Pass other terminals' commands on until the state is as wanted, or the node fails.

    on_relay: told a relay's URL and what is wrong with it, and "" once it answers again. What was
    said last is given a moment to reach a relay; the next run sends what did not.
    """
    await take_waiting(member, folder, commands)  # what was said while no node ran
    asking = asyncio.create_task(_pass_on(member, folder, commands))
    watching = asyncio.create_task(
        watch_relays(member.relays, on_relay or (lambda url, fault: None))
    )
    waiting = asyncio.create_task(member.node.wait_until(holds))
    try:
        done, _ = await asyncio.wait(
            [asking, watching, waiting, member.task], return_when=asyncio.FIRST_COMPLETED
        )
        if waiting in done:
            await member.node.wait_sent(SENT_S)
            return waiting.result()
        for task in done:
            task.result()
        raise asyncio.CancelledError
    finally:
        asking.cancel()
        watching.cancel()
        waiting.cancel()


async def take_waiting(member: Member, folder: MarketFolder, commands: Sequence[type]) -> None:
    """Hand over what was left in the folder; a command is deleted once it is in the journal."""
    for path, command in take_commands(folder.commands_path, commands):
        await member.node.say(command)
        path.unlink(missing_ok=True)


async def _pass_on(member: Member, folder: MarketFolder, commands: Sequence[type]) -> None:
    while True:
        await take_waiting(member, folder, commands)
        await asyncio.sleep(LOOK_S)


async def watch_relays(relays: Relays, on_relay: OnRelay) -> None:
    """Tell `on_relay` of each relay that is gone, and "" once it answers again, until cancelled."""
    down: set[str] = set()
    own = set(relays.urls)
    while True:
        for health in relays.get_status():
            if health.url not in own:  # where a stranger wants answers is not our trouble
                continue
            if health.state is LinkState.WAITING and health.url not in down:
                down.add(health.url)
                on_relay(health.url, health.last_error or "no connection")
            elif health.state is LinkState.CONNECTED and health.url in down:
                down.discard(health.url)
                on_relay(health.url, "")
        await asyncio.sleep(LOOK_S)
