"""The final table: member, role, verdict, contribution +- error, stake, reward, model, reason."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.terminal import VERDICT_STYLES, clean, safe
from kumiai.apps.report.summary import build_headline
from kumiai.apps.report.tables import sort_members
from kumiai.apps.report.texts import Texts, format_amount, format_nat, format_percent, format_width
from kumiai.apps.view import ChainView, MemberView, RunView

WIDE_COLUMNS = 120  # below, two lines a member: the second holds role, error and stake
MEMBERS_MAX = 60
STEPS_MAX = 4  # changes of a member's width while training that are shown


def build_member_table(view: RunView, texts: Texts, columns: int) -> RenderableType:
    """The table of a run for a terminal that is `columns` wide."""
    members = sort_members(view.members)
    shown = members[:MEMBERS_MAX]
    table = _wide(shown, texts) if columns >= WIDE_COLUMNS else _narrow(shown, texts)
    parts: list[RenderableType] = [table]
    if len(members) > len(shown):
        more = texts.text("page.more_rows", n=len(members) - len(shown))
        parts.append(Text(more, "dim"))
    parts += [tell_alone(m, view.alone_part, texts) for m in shown if m.is_worse_off]
    if view.chain is not None:
        parts.append(tell_chain(view.chain, texts))
    return table if len(parts) == 1 else Group(*parts)


def tell_alone(member: MemberView, part: str, texts: Texts) -> Text:
    """What a member is told who compared: what it has alone, what it received, on which data."""
    state = "better"
    if member.is_worse_off:
        state = "none" if member.received_accuracy_ppm is None else "worse"
    sentence = texts.text(
        f"alone.{state}",
        name=clean(member.name),
        alone=format_percent(member.alone_accuracy_ppm),
        received=format_percent(member.received_accuracy_ppm),
        part=texts.text(f"alone.part.{part}"),
    )
    return Text(sentence, "yellow" if member.is_worse_off else "green")


def tell_chain(chain: ChainView, texts: Texts) -> Text:
    """What was sent to which chain, what it cost, and whether its balances are the ledger's."""
    line = texts.text(
        "chain.line",
        id=chain.chain_id,
        node=clean(chain.node),
        count=sum(sort.count for sort in chain.sorts),
        gas=format_amount(sum(sort.gas for sort in chain.sorts)),
        share=format_amount(chain.gas_per_share),
    )
    if chain.is_even:
        return Text.assemble((line, ""), " ", (texts.text("chain.even"), "green"))
    return Text.assemble((line, ""), " ", (texts.text("chain.uneven"), "bold red"))


def build_headline_text(view: RunView, texts: Texts) -> Text:
    """The verdict of the run in sentences, as on the first screen of the report."""
    styles = {"good": "", "bad": "bold red", "": "", "unsure": "yellow"}
    parts = [
        (texts.text(sentence.key, **sentence.places), styles[sentence.status])
        for sentence in build_headline(view)
    ]
    joined = Text()
    for index, (sentence, style) in enumerate(parts):
        joined.append(" " if index and texts.language == "en" else "")
        joined.append(sentence, style)
    return joined


def _wide(members: Sequence[MemberView], texts: Texts) -> Table:
    is_compared = any(member.alone_accuracy_ppm is not None for member in members)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(texts.text("column.member"), max_width=24, overflow="fold")
    table.add_column(texts.text("column.role"), no_wrap=True)
    table.add_column(texts.text("column.verdict"), no_wrap=True)
    for key in ("column.contribution", "column.stake", "column.reward", "column.model"):
        table.add_column(texts.text(key), justify="right", no_wrap=True)
    if is_compared:
        table.add_column(texts.text("column.alone"), justify="right", no_wrap=True)
    table.add_column(texts.text("column.reason"), ratio=1, overflow="fold")
    for member in members:
        table.add_row(
            safe(member.name, "bold"),
            texts.name("role", member.role),
            _verdict(member, texts),
            _contribution(member, " "),
            _stake(member),
            _reward(member),
            _model(member),
            *([_alone(member)] if is_compared else []),
            safe(texts.conclude(member)),
        )
    return table


def _alone(member: MemberView) -> Text:
    if member.alone_accuracy_ppm is None:
        return Text("–", "dim")
    both = (member.alone_accuracy_ppm, member.received_accuracy_ppm)
    return Text(" / ".join(map(format_percent, both)), "yellow" if member.is_worse_off else "")


def _narrow(members: Sequence[MemberView], texts: Texts) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(texts.text("column.member"), max_width=18, overflow="fold")
    table.add_column(texts.text("column.verdict"), no_wrap=True)
    table.add_column(texts.text("column.contribution"), justify="right", no_wrap=True)
    reward = f"{texts.text('column.reward')}\n{texts.text('column.stake')}"
    table.add_column(reward, justify="right", no_wrap=True)
    is_compared = any(member.alone_accuracy_ppm is not None for member in members)
    model = texts.text("column.model")
    model += f"\n{texts.text('column.alone')}" if is_compared else ""
    table.add_column(model, justify="right", overflow="fold")
    table.add_column(texts.text("column.reason"), ratio=1, overflow="fold")
    for member in members:
        stake = Text(str(_stake(member)), "dim")
        table.add_row(
            Text.assemble(
                safe(member.name, "bold"), "\n", (texts.name("role", member.role), "dim")
            ),
            _verdict(member, texts),
            _contribution(member, "\n"),
            Text.assemble(_reward(member), "\n", stake),
            Text.assemble(_model(member), "\n", _alone(member)) if is_compared else _model(member),
            safe(texts.conclude(member)),
        )
    return table


def _verdict(member: MemberView, texts: Texts) -> Text:
    return Text(
        texts.name("verdict", member.verdict), style=VERDICT_STYLES.get(member.verdict, "dim")
    )


def _contribution(member: MemberView, gap: str) -> Text:
    if member.role != "trainer":
        return Text("–", style="dim")
    error = f"± {format_nat(member.error_ppm, signed=False)}"
    return Text.assemble(format_nat(member.contribution_ppm), gap, (error, "dim"))


def _stake(member: MemberView) -> str:
    if not member.stake and not member.delegated:
        return "–"
    backed = f"+{format_amount(member.delegated)}" if member.delegated else ""
    return f"{format_amount(member.stake)}{backed}"


def _model(member: MemberView) -> Text:
    """The width of the model received; under it, where they differed, those worked at."""
    received = format_width(member.width_ppm)
    if not member.round_widths_ppm:
        return Text(received)
    steps = [format_width(width).removesuffix("%") for width, _ in groupby(member.round_widths_ppm)]
    shown = ["…", *steps[-STEPS_MAX:]] if len(steps) > STEPS_MAX else steps
    return Text.assemble(received, "\n", ("→".join(shown), "dim"))


def _reward(member: MemberView) -> Text:
    if member.role in ("customer", "canary"):
        return Text("–", style="dim")
    return Text(format_amount(member.reward), style="bold" if member.reward else "red")
