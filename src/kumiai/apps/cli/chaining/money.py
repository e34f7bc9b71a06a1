"""`kumiai chain create, fund, stake, ...`: what people do with a task on the chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kumiai.apps.cli.chaining.group import chain
from kumiai.apps.cli.chaining.options import AmountArgument, OwnerOption, TaskArgument, connected
from kumiai.apps.cli.options import show_examples

if TYPE_CHECKING:
    from kumiai.apps.cli.chaining.door import Door

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="The member's address.")]


def _time(name: str, text: str) -> object:
    return typer.Option(name, metavar="TIME", help=text)


DelegationSlashOption = Annotated[
    str,
    typer.Option(
        "--delegation-slash",
        metavar="SHARE",
        help="Of a node's loss that its delegators share.",
    ),
]
SlashToTaskOption = Annotated[
    bool,
    typer.Option(
        "--slash-to-task", metavar="", help="Slashed stake goes to the escrow, not burnt."
    ),
]
GuardianOption = Annotated[
    list[str] | None,
    typer.Option("--guardian", metavar="ADDRESS", help="May pause and stop the task (up to 16)."),
]
GuardiansRequiredOption = Annotated[
    int | None,
    typer.Option(
        "--guardians-required", metavar="N", help="How many must sign (default: the task's)."
    ),
]
AdmissionOption = Annotated[
    str | None,
    typer.Option(
        "--admission", metavar="ADDRESS", help="Signs who may take part (default: anyone)."
    ),
]


@chain.command(
    epilog=show_examples(
        "kumiai chain create task.toml --token test --keystore me.json",
        "kumiai chain create task.toml --ends-in 14d --guardian 0x... --dry-run",
    )
)
@connected(sends=True)
def create(
    door: Door,
    file: Annotated[Path, typer.Argument(metavar="TASK.TOML", help="The task to create.")],
    token: Annotated[
        str,
        typer.Option(
            "--token",
            metavar="TOKEN",
            help="An ERC-20 address, `test` (the deployment's), or `coin`.",
        ),
    ] = "coin",  # noqa: S107 - the chain's own coin, no password
    ends_in: Annotated[
        str, _time("--ends-in", "Who has not settled by then may be expired.")
    ] = "30d",
    grace: Annotated[
        str, _time("--grace", "Waited after the end before anyone may expire it.")
    ] = "1d",
    activation_delay: Annotated[
        str | None,
        _time("--activation-delay", "From settlement to claims (default: the task's window)."),
    ] = None,
    cool_down: Annotated[
        str, _time("--cool-down", "From the end to the stakes' withdrawal.")
    ] = "1d",
    sigma_min: Annotated[
        str, typer.Option("--sigma-min", metavar="SHARE", help="Least sigma.")
    ] = "0%",
    sigma_max: Annotated[
        str,
        typer.Option(
            "--sigma-max", metavar="SHARE", help="Greatest sigma, and everybody's at first."
        ),
    ] = "100%",
    sigma_freeze: Annotated[
        str, _time("--sigma-freeze", "Before the end sigma stays as it is.")
    ] = "0",
    delegation_slash: DelegationSlashOption = "0%",
    slash_to_task: SlashToTaskOption = False,
    guardian: GuardianOption = None,
    guardians_required: GuardiansRequiredOption = None,
    admission: AdmissionOption = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the task."),
    ] = None,
) -> None:
    """Create a task on the chain from its file; its terms can never be changed."""
    from kumiai.apps.cli.chaining import creating

    creating.create(
        door, file, overrides or [], token, ends_in, grace, activation_delay, cool_down,
        (sigma_min, sigma_max, sigma_freeze), delegation_slash, slash_to_task, guardian or [],
        guardians_required, admission,
    )  # fmt: skip


@chain.command(epilog=show_examples("kumiai chain fund 0x1234... 1_000_000 --keystore me.json"))
@connected(sends=True)
def fund(door: Door, task: TaskArgument, amount: AmountArgument, owner: OwnerOption = None) -> None:
    """Put money into a task's escrow."""
    from kumiai.apps.cli.chaining import work

    work.fund(door, task, owner, amount)


@chain.command(
    epilog=show_examples(
        "kumiai chain stake task.toml trainer 100 --owner 0x... --keystore me.json",
        "kumiai chain stake 0x1234... validator 500 --document task.toml",
    )
)
@connected(sends=True)
def stake(
    door: Door,
    task: TaskArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="trainer or validator.")],
    amount: AmountArgument,
    owner: OwnerOption = None,
    document: Annotated[
        str | None,
        typer.Option(
            "--document", metavar="FILE|HASH", help="What you agree to, where TASK is an id."
        ),
    ] = None,
    admission: Annotated[
        str | None,
        typer.Option("--admission", metavar="HEX", help="The admission's signature, 65 bytes."),
    ] = None,
    admission_deadline: Annotated[
        int | None,
        typer.Option("--admission-deadline", metavar="TIME", help="Its deadline, in Unix seconds."),
    ] = None,
) -> None:
    """Take part in a task, or add to your stake."""
    from kumiai.apps.cli.chaining import work

    work.stake(door, task, owner, role, amount, document, admission, admission_deadline)


@chain.command(epilog=show_examples("kumiai chain unstake 0x1234... --keystore me.json"))
@connected(sends=True)
def unstake(door: Door, task: TaskArgument, owner: OwnerOption = None) -> None:
    """Leave a task before it starts."""
    from kumiai.apps.cli.chaining import work

    work.unstake(door, task, owner)


@chain.command(
    epilog=show_examples(
        "kumiai chain withdraw 0x1234...", "kumiai chain withdraw 0x1234... --member 0x..."
    )
)
@connected(sends=True)
def withdraw(
    door: Door,
    task: TaskArgument,
    owner: OwnerOption = None,
    member: Annotated[
        str | None,
        typer.Option("--member", metavar="ADDRESS", help="Whose stake (default: yours)."),
    ] = None,
) -> None:
    """Pay a member its stake back, after the cool-down; anyone may send this."""
    from kumiai.apps.cli.chaining import work

    work.withdraw(door, task, owner, member)


@chain.command(
    epilog=show_examples("kumiai chain delegate 0x1234... 0x5678... 250 --keystore me.json")
)
@connected(sends=True)
def delegate(
    door: Door,
    task: TaskArgument,
    node: NodeArgument,
    amount: AmountArgument,
    owner: OwnerOption = None,
) -> None:
    """Lend to a member, and share its pay."""
    from kumiai.apps.cli.chaining import work

    work.delegate(door, task, owner, node, amount)


@chain.command(
    epilog=show_examples("kumiai chain undelegate 0x1234... 0x5678... --keystore me.json")
)
@connected(sends=True)
def undelegate(
    door: Door, task: TaskArgument, node: NodeArgument, owner: OwnerOption = None
) -> None:
    """Take back what you lent, after the end."""
    from kumiai.apps.cli.chaining import work

    work.undelegate(door, task, owner, node)


@chain.command(epilog=show_examples("kumiai chain sigma 0x1234... 30% --keystore me.json"))
@connected(sends=True)
def sigma(
    door: Door,
    task: TaskArgument,
    share: Annotated[str, typer.Argument(metavar="SHARE", help="30% or 0.3")],
    owner: OwnerOption = None,
) -> None:
    """Set what you keep of what delegation adds to your pay."""
    from kumiai.apps.cli.chaining import work

    work.sigma(door, task, owner, share)


@chain.command(
    epilog=show_examples(
        "kumiai chain start 0x1234...", "kumiai chain start 0x1234... 0x5678... 0x9abc..."
    )
)
@connected(sends=True)
def start(
    door: Door,
    task: TaskArgument,
    committee: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VALIDATOR]...", help="The committee (default: all that are staked)."
        ),
    ] = None,
    owner: OwnerOption = None,
) -> None:
    """Begin: the owner names the first committee, and nobody leaves any more."""
    from kumiai.apps.cli.chaining import work

    work.start(door, task, owner, committee or [])


@chain.command(epilog=show_examples("kumiai chain cancel 0x1234... --keystore me.json"))
@connected(sends=True)
def cancel(door: Door, task: TaskArgument, owner: OwnerOption = None) -> None:
    """Give up before the start: everything goes back."""
    from kumiai.apps.cli.chaining import work

    work.cancel(door, task, owner)


@chain.command(epilog=show_examples("kumiai chain expire 0x1234... --keystore me.json"))
@connected(sends=True)
def expire(door: Door, task: TaskArgument, owner: OwnerOption = None) -> None:
    """End a task that nobody settled in time; anyone may."""
    from kumiai.apps.cli.chaining import work

    work.expire(door, task, owner)


@chain.command(epilog=show_examples("kumiai chain refund 0x1234... --keystore me.json"))
@connected(sends=True)
def refund(door: Door, task: TaskArgument, owner: OwnerOption = None) -> None:
    """Take back your part of what an ended task did not spend."""
    from kumiai.apps.cli.chaining import work

    work.refund(door, task, owner)


@chain.command(epilog=show_examples("kumiai chain mint 1_000_000 --keystore me.json"))
@connected(sends=True)
def mint(
    door: Door,
    amount: AmountArgument,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="For whom (default: you).")
    ] = None,
) -> None:
    """Make test credit: play money of a deployment with --test-token."""
    from kumiai.apps.cli.chaining import work

    work.mint(door, amount, to)


@chain.command(
    epilog=show_examples(
        "kumiai chain claim --run runs/first --member Aoba --keystore me.json",
        "kumiai chain claim --run runs/first --all --dry-run",
    )
)
@connected(sends=True)
def claim(
    door: Door,
    run: Annotated[Path, typer.Option("--run", metavar="DIR", help="The run's folder.")],
    member: Annotated[
        str | None,
        typer.Option(
            "--member", metavar="NAME", help="Whose pay, name or address (default: yours)."
        ),
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", metavar="", help="Everybody's.")] = False,
    proof_out: Annotated[
        Path | None,
        typer.Option(
            "--proof-out", metavar="FILE", help="Also write what another wallet needs to claim."
        ),
    ] = None,
) -> None:
    """Take what a run has earned: to the members' own addresses, whoever sends it."""
    from kumiai.apps.cli.chaining import claiming

    claiming.claim(door, run, member, is_all, proof_out)
