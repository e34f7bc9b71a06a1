"""`kumiai chain pause, resume, stop` for guardians, and `kumiai chain dispute ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kumiai.apps.cli.chaining.group import chain
from kumiai.apps.cli.chaining.options import OwnerOption, TaskArgument, connected
from kumiai.apps.cli.options import show_examples

if TYPE_CHECKING:
    from kumiai.apps.cli.chaining.door import Door

OptionalTask = Annotated[
    str | None,
    typer.Argument(metavar="[TASK]", help="The task's id; not needed with --sign or --send."),
]
ReasonOption = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="Why; it stands on the chain for ever."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="ORDER.JSON", help="Where the order waits for other guardians."),
]
SignOption = Annotated[
    Path | None,
    typer.Option("--sign", metavar="ORDER.JSON", help="Add your signature to this order."),
]
SendOption = Annotated[
    Path | None,
    typer.Option(
        "--send", metavar="ORDER.JSON", help="Deliver it; anyone may, once enough signed."
    ),
]


@chain.command(
    epilog=show_examples(
        "kumiai chain pause 0x1234... --for 2h --reason 'a wrong root' --keystore guardian.json",
        "kumiai chain pause --sign order.json --keystore guardian2.json",
        "kumiai chain pause --send order.json --keystore anyone.json",
    )
)
@connected(sends=True)
def pause(
    door: Door,
    task: OptionalTask = None,
    time: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long, at most 30d.")
    ] = "1d",
    reason: ReasonOption = None,
    out: OutOption = None,
    sign: SignOption = None,
    send: SendOption = None,
) -> None:
    """Guardians: nothing is settled or paid for a while."""
    from kumiai.apps.cli.chaining import ordering

    ordering.order(door, "pause", task, time, reason, out, sign, send)


@chain.command(
    epilog=show_examples(
        "kumiai chain resume 0x1234... --reason 'checked' --keystore guardian.json"
    )
)
@connected(sends=True)
def resume(
    door: Door,
    task: OptionalTask = None,
    reason: ReasonOption = None,
    out: OutOption = None,
    sign: SignOption = None,
    send: SendOption = None,
) -> None:
    """Guardians: end a pause before its time."""
    from kumiai.apps.cli.chaining import ordering

    ordering.order(door, "resume", task, "0", reason, out, sign, send)


@chain.command(
    epilog=show_examples(
        "kumiai chain stop 0x1234... --reason 'data withdrawn' --keystore guardian.json"
    )
)
@connected(sends=True)
def stop(
    door: Door,
    task: OptionalTask = None,
    reason: ReasonOption = None,
    out: OutOption = None,
    sign: SignOption = None,
    send: SendOption = None,
) -> None:
    """Guardians: no further round; the committee may still settle the end."""
    from kumiai.apps.cli.chaining import ordering

    ordering.order(door, "stop", task, "0", reason, out, sign, send)


dispute = typer.Typer(
    name="dispute", help="Accuse a trainer's trace, answer, see who is next.", no_args_is_help=True
)
chain.add_typer(dispute)
DisputeArgument = Annotated[str, typer.Argument(metavar="DISPUTE", help="Its id, 64 hex digits.")]


@dispute.command(
    "open",
    epilog=show_examples("kumiai chain dispute open 0x1234... accusation.json --keystore me.json"),
)
@connected(sends=True)
def dispute_open(
    door: Door,
    task: TaskArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="submission, place, claimed, committee, as docs/chain.md says."
        ),
    ],
    owner: OwnerOption = None,
) -> None:
    """Post the bond and accuse a trainer's trace of a round that pays nobody yet."""
    from kumiai.apps.cli.chaining import disputing

    disputing.begin(door, task, owner, file)


@dispute.command(
    "answer",
    epilog=show_examples("kumiai chain dispute answer 0x9abc... answer.json --keystore me.json"),
)
@connected(sends=True)
def dispute_answer(
    door: Door,
    dispute_id: DisputeArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="descend, refine or judge, with its arguments.")
    ],
) -> None:
    """Make the next move: nodes, a finer trace, or the jury's word."""
    from kumiai.apps.cli.chaining import disputing

    disputing.answer(door, dispute_id, file)


@dispute.command(
    "expire", epilog=show_examples("kumiai chain dispute expire 0x9abc... --keystore me.json")
)
@connected(sends=True)
def dispute_expire(door: Door, dispute_id: DisputeArgument) -> None:
    """After the deadline: who was silent has lost."""
    from kumiai.apps.cli.chaining import disputing

    disputing.expire(door, dispute_id)


@dispute.command(
    "withdraw", epilog=show_examples("kumiai chain dispute withdraw coin --keystore me.json")
)
@connected(sends=True)
def dispute_withdraw(
    door: Door,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="An address, `test` or `coin`.")],
    account: Annotated[
        str | None, typer.Option("--account", metavar="ADDRESS", help="Whose (default: yours).")
    ] = None,
) -> None:
    """Take back bonds of disputes that you won."""
    from kumiai.apps.cli.chaining import disputing

    disputing.withdraw(door, token, account)


@dispute.command("status", epilog=show_examples("kumiai chain dispute status 0x9abc..."))
@connected(sends=False)
def dispute_status(door: Door, dispute_id: DisputeArgument) -> None:
    """Show where a dispute stands, whose turn it is, and until when."""
    from kumiai.apps.cli.chaining import disputing

    disputing.show(door, dispute_id)
