"""`kumiai inspect`: the table of everybody, one member's arithmetic, or one round."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.tables import build_headline_text, build_member_table, tell_alone
from kumiai.apps.cli.terminal import VERDICT_STYLES, clean, safe
from kumiai.apps.report.summary import get_unit
from kumiai.apps.report.texts import (
    Language,
    Texts,
    format_amount,
    format_bytes,
    format_epsilon,
    format_nat,
    format_percent,
    format_seconds,
    load_texts,
)
from kumiai.apps.view import RoundView, RunView, load_view

WEIGHT_SHOWN_MAX = 10**9  # the receipt has the exact figures, often of 26 digits


def inspect(run_dir: Path, member: str | None, number: int | None, lang: str | None) -> None:
    """Show a run's folder: everybody, or `member`, or round `number`, or both of these."""
    texts = load_texts(cast(Language, get_language(lang)))
    view = load_view(run_dir)
    console = Console(highlight=False)
    if number is not None:
        from kumiai.apps.inspect import find_round

        console.print(_round_table(find_round(view, number), view, texts))
    if member is not None:
        console.print(_member_tree(view, run_dir, member, texts))
    if member is None and number is None:
        console.print(build_headline_text(view, texts))
        console.print(build_member_table(view, texts, console.width))
        for row in view.rounds:
            console.print(_round_line(row, texts))


def _member_tree(view: RunView, run_dir: Path, name: str, texts: Texts) -> Tree:
    from kumiai.apps.inspect import Line, explain_member

    account = explain_member(view, run_dir, name)
    member = account.member
    title = texts.text(
        "inspect.account",
        name=clean(member.name),
        role=texts.name("role", member.role),
        amount=format_amount(member.reward),
        unit=get_unit(view),
    )
    tree = Tree(Text(title, "bold"))

    def add(line: Line) -> None:
        row = line.receipt
        where = (
            texts.text("inspect.round", round=row.round)
            if row.round
            else texts.text("inspect.final")
        )
        head = Text.assemble((f"{where}  ", "bold"), f"{format_amount(line.money['amount'])}  ")
        if row.verdict != "-":
            style = VERDICT_STYLES.get(row.verdict, "")
            head.append(texts.name("verdict", row.verdict) + "  ", style)
            head.append(
                f"{format_nat(line.value_ppm)} ± {format_nat(line.error_ppm, False)}", "dim"
            )
        branch = tree.add(head)
        branch.add(safe(texts.reason(row.reason, row.reason_code)))
        if line.has_share:
            branch.add(Text(_arithmetic(line, texts), "cyan"))
        if row.epsilon_milli:
            spent = texts.text("inspect.epsilon", epsilon=format_epsilon(row.epsilon_milli))
            branch.add(Text(spent, "dim"))
        if row.staleness:
            branch.add(Text(texts.text("inspect.staleness", n=row.staleness), "dim"))
        if line.money["slashed"]:
            slashed = format_amount(line.money["slashed"])
            branch.add(Text(texts.text("inspect.slashed", amount=slashed), "red"))

    for line in account.lines:
        add(line)
    places = {"sum": format_amount(account.received), "reward": format_amount(member.reward)}
    key, style = (
        ("inspect.sum_wrong", "bold red") if account.difference else ("inspect.sum", "green")
    )
    tree.add(Text(texts.text(key, **places), style))
    if member.alone_accuracy_ppm is not None:
        tree.add(tell_alone(member, view.alone_part, texts))
    return tree


def _arithmetic(line: object, texts: Texts) -> str:
    from kumiai.apps.inspect import Line

    assert isinstance(line, Line)
    money = {name: format_amount(value) for name, value in line.money.items()}
    steps = [
        texts.text(
            "inspect.share",
            pool=money["pool"],
            weight=_weight(line.money["weight"], line.money["weight_total"]),
            gross=money["gross"],
        )
    ]
    if line.money["to_backers"]:
        steps.append(texts.text("inspect.backers", amount=money["to_backers"]))
    if line.money["locked"]:
        steps.append(texts.text("inspect.locked", amount=money["locked"]))
    steps.append(texts.text("inspect.now", amount=money["amount"]))
    return "\n".join(steps)


def _weight(weight: int, total: int) -> str:
    """A fraction that people can read: in figures while they are short, else as a percentage."""
    if total <= WEIGHT_SHOWN_MAX:
        return f"{format_amount(weight)} / {format_amount(total)}"
    return format_percent(1_000_000 * weight // total, 3)


def _round_line(row: RoundView, texts: Texts) -> Text:
    line = texts.text(
        "inspect.round_line",
        round=row.round,
        loss=f"{row.loss_ppm / 1_000_000:.3f}",
        accuracy=format_percent(row.accuracy_ppm),
        n=len(row.included),
        out=len(row.excluded),
        sent=format_bytes(row.bytes),
        seconds=format_seconds(row.seconds),
    )
    return Text(line, "dim")


def _round_table(row: RoundView, view: RunView, texts: Texts) -> Table:
    reasons = dict(row.excluded)
    codes = {
        receipt.member: receipt.reason_code
        for receipt in view.receipts
        if receipt.round == row.round
    }
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        header_style="bold",
        title=_round_line(row, texts),
        title_justify="left",
    )
    table.add_column(texts.text("column.member"))
    table.add_column(texts.text("column.contribution"), justify="right", no_wrap=True)
    table.add_column(texts.text("column.verdict"), no_wrap=True)
    table.add_column(texts.text("column.reason"), ratio=1, overflow="fold")
    names = [*row.included, *reasons]
    for name in sorted(names, key=lambda each: -row.values.get(each, 0)):
        is_in = name in row.included
        mark = Text(
            texts.text("inspect.in" if is_in else "inspect.out"), "green" if is_in else "red"
        )
        if name in row.late:
            mark = Text(texts.name("verdict", "LATE"), "yellow")
        value = format_nat(row.values[name]) if name in row.values else "–"
        table.add_row(
            safe(name), value, mark, safe(texts.reason(reasons.get(name, ""), codes.get(name, "")))
        )
    return table
