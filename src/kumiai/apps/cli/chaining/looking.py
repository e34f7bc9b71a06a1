"""`kumiai chain status`: a task on the screen, once or again and again."""

from __future__ import annotations

import time

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kumiai.adapters.evm.accounts import encode_checksum
from kumiai.adapters.evm.errors import RetriableChainError
from kumiai.apps.chain.actions import TaskName, name_task
from kumiai.apps.chain.refusals import ROLES, STATUSES, show_time
from kumiai.apps.chain.state import MONEY, MemberState, RoundLine, TaskState, describe, read_state
from kumiai.apps.cli.chaining.door import Door
from kumiai.apps.cli.terminal import safe
from kumiai.apps.report.texts import Texts
from kumiai.base.errors import InputError

WATCH_SECONDS = 3.0
ROUNDS_SHOWN_MAX = 20
WIDE = 100
STATUS_STYLES = {"open": "cyan", "running": "green", "stopped": "red", "expired": "yellow"}


def show_status(door: Door, task: str, owner: str | None, watch: bool) -> None:
    """Show the task; with `watch` until Ctrl-C."""
    if watch and door.settings.as_json:
        raise InputError("--watch", "--json", "a document is printed once: leave one of them out")
    name = name_task(task, door.read_owner(owner) if task.endswith(".toml") else None)
    state = door.run(lambda session: read_state(session, name))
    door.print_json(describe(state))
    if not watch or not door.console.is_terminal:
        door.console.print(render(state, door.texts, door.console.width))
        return
    _watch(door, name, state)


def _watch(door: Door, name: TaskName, state: TaskState) -> None:
    from rich.live import Live

    with Live(
        render(state, door.texts, door.console.width), console=door.console, screen=True
    ) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            try:
                state = door.run(lambda session: read_state(session, name))
            except RetriableChainError as error:
                live.update(Group(render(state, door.texts, door.console.width),
                                  Text(str(error), "red")))  # fmt: skip
                continue
            live.update(render(state, door.texts, door.console.width))


def render(state: TaskState, texts: Texts, width: int) -> RenderableType:
    """The whole task for a terminal of this width."""
    parts: list[RenderableType] = [*_head(state, texts), _money(state, texts)]
    parts.append(_members(state, texts, width))
    if state.rounds:
        parts.append(_rounds(state, texts, width))
    return Group(*parts)


def _head(state: TaskState, texts: Texts) -> list[RenderableType]:
    task, terms = state.task, state.terms
    word = STATUSES[task.status]
    title = Text.assemble(
        (f"{texts.text('chain.status.task')} 0x{state.key.hex()}\n", "bold"),
        (texts.name("chain.status_of", word), STATUS_STYLES.get(word, "bold")),
        f"  {texts.text('chain.status.owner')} {encode_checksum(task.owner)}",
    )
    times = texts.text(
        "chain.status.times", block=f"{state.block:,}", now=show_time(state.now),
        ends=show_time(terms.endsAt),
    )  # fmt: skip
    lines: list[RenderableType] = [title, Text(times, "dim")]
    if state.now < task.pausedUntil:
        paused = texts.text("chain.status.paused", until=show_time(task.pausedUntil))
        lines.append(Text(paused, "bold red"))
    if state.blocked_from:
        blocked = texts.text("chain.status.blocked", round=state.blocked_from)
        lines.append(Text(blocked, "bold red"))
    if state.orders:
        last = state.orders[-1]
        lines.append(safe(texts.text("chain.status.order", reason=last.reason), "yellow"))
    return lines


def _money(state: TaskState, texts: Texts) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(texts.text("chain.status.money"))
    table.add_column(state.unit, justify="right")
    for name in MONEY:
        amount = getattr(state.task, name)
        if amount or name in ("escrow", "locked", "unclaimed", "paid"):
            table.add_row(texts.name("chain.money", name), f"{amount:,}")
    return table


def _members(state: TaskState, texts: Texts, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(texts.text("chain.status.member", n=len(state.members)), no_wrap=True)
    for key in ("role", "stake", "delegated", "sigma"):
        table.add_column(
            texts.text(f"chain.status.{key}"), justify="left" if key == "role" else "right"
        )
    table.add_column("")
    for m in state.members:
        full = encode_checksum(m.address)
        table.add_row(
            full if width >= WIDE else f"{full[:8]}…{full[-6:]}",
            texts.name("role", ROLES[m.member.role]),
            f"{m.member.stake:,}",
            f"{m.delegated:,}",
            f"{m.member.sigma / 10_000:g} %",
            _tell_bounds(m, texts),
        )
    return table


def _tell_bounds(m: MemberState, texts: Texts) -> Text:
    if m.member.holds:
        return Text(texts.text("chain.status.held", n=m.member.holds), "red")
    if m.member.exitAt:
        return Text(texts.text("chain.status.left", time=show_time(m.member.exitAt)), "yellow")
    return Text("")


def _rounds(state: TaskState, texts: Texts, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for key in ("round", "paid", "locked", "claims", "block"):
        is_text = key in ("round", "claims")
        table.add_column(
            texts.text(f"chain.status.{key}"), justify="left" if is_text else "right", no_wrap=True
        )
    hidden = len(state.rounds) - ROUNDS_SHOWN_MAX
    if hidden > 0:
        table.add_row("…", "", "", texts.text("chain.status.more", n=hidden), "")
    for line in state.rounds[-ROUNDS_SHOWN_MAX:]:
        last = texts.text("chain.status.final") if line.is_final else str(line.round)
        locked = f"−{line.back:,}" if line.is_final else f"{line.locked:,}"
        table.add_row(last, f"{line.paid:,}", locked, _tell_claims(state, line, texts, width),
                      f"{line.block:,}")  # fmt: skip
    return table


def _tell_claims(state: TaskState, line: RoundLine, texts: Texts, width: int) -> Text:
    if line.is_disabled:
        return Text(texts.text("chain.status.disabled"), "red")
    if state.blocked_from and line.round >= state.blocked_from:
        return Text(texts.text("chain.status.held_up"), "red")
    if line.active_at > state.now:
        when = show_time(line.active_at)
        shown = when if width >= WIDE else when[5:16]
        return Text(texts.text("chain.status.from", time=shown), "yellow")
    return Text(texts.text("chain.status.now"), "green")
