"""`kumiai chain`: the group, the embedded chain's server, keys, contracts, the look at a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kumiai.apps.cli.chaining.options import OwnerOption, TaskArgument, connected
from kumiai.apps.cli.options import LangOption, show_examples

if TYPE_CHECKING:
    from kumiai.apps.cli.chaining.door import Door

PORT = 8_545
CHAIN_FILE = Path("chain.db")

chain = typer.Typer(
    name="chain",
    help="Tasks, stakes, pay and orders on an EVM chain; without a command: serve our own.",
    rich_markup_mode="rich",
    epilog=show_examples(
        "kumiai chain --port 8545",
        "kumiai chain keys new me.json",
        "kumiai chain deploy --rpc http://127.0.0.1:8545 --keystore me.json --test-token",
        "kumiai chain status 0x1234... --watch",
    ),
)
keys = typer.Typer(name="keys", help="Encrypted keys in files.", no_args_is_help=True)
chain.add_typer(keys)

PortOption = Annotated[
    int, typer.Option("--port", metavar="N", min=0, max=65_535, help="0: any free one.")
]
FileOption = Annotated[
    Path, typer.Option("--file", metavar="FILE", help="The chain's file; a new one begins a chain.")
]
IdOption = Annotated[
    int | None, typer.Option("--chain-id", metavar="ID", min=1, help="Of a new chain (31338).")
]
FundOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fund", metavar="ADDRESS=AMOUNT", help="Coin that a new chain begins with, 0x...=5ether."
    ),
]
DevOption = Annotated[
    bool,
    typer.Option(
        "--dev", metavar="", help="Answer also the methods that set the chain's clock forward."
    ),
]


@chain.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    port: PortOption = PORT,
    file: FileOption = CHAIN_FILE,
    chain_id: IdOption = None,
    fund: FundOption = None,
    dev: DevOption = False,
    lang: LangOption = None,
) -> None:
    """Tasks, stakes, pay and orders on an EVM chain; without a command: serve our own."""
    if context.invoked_subcommand is None:
        serve(port, file, chain_id, fund, dev, lang)


@chain.command(
    epilog=show_examples(
        "kumiai chain serve",
        "kumiai chain serve --port 8545 --file chain.db",
        "kumiai chain serve --fund 0x70997970C51812dc3A010C7d01b50e0d17dc79C8=5ether --dev",
    )
)
def serve(
    port: PortOption = PORT,
    file: FileOption = CHAIN_FILE,
    chain_id: IdOption = None,
    fund: FundOption = None,
    dev: DevOption = False,
    lang: LangOption = None,
) -> None:
    """Serve the embedded chain to this machine, until Ctrl-C."""
    from kumiai.apps.cli.chaining import serving

    serving.serve(port, file, chain_id, fund or [], dev, lang)


PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Its password is the first line (default: KUMIAI_PASSWORD, else you are asked).",
    ),
]
KeyArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The encrypted key.")]


@keys.command("new", epilog=show_examples("kumiai chain keys new me.json"))
def keys_new(
    file: KeyArgument, password_file: PasswordOption = None, lang: LangOption = None
) -> None:
    """Make a new key; nobody can restore the file or its password for you."""
    from kumiai.apps.cli.chaining import keyring

    keyring.make(file, password_file, lang)


@keys.command(
    "import",
    epilog=show_examples(
        "kumiai chain keys import me.json",
        "kumiai chain keys import me.json --secret-file secret.txt",
        "kumiai chain keys import dev.json --dev 0",
    ),
)
def keys_import(
    file: KeyArgument,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-file", metavar="FILE", help="64 hex digits (default: you are asked)."
        ),
    ] = None,
    dev: Annotated[
        int | None,
        typer.Option(
            "--dev",
            metavar="N",
            min=0,
            max=3,
            help="A developers' key that everybody knows, funded on test chains; never for money.",
        ),
    ] = None,
    password_file: PasswordOption = None,
    lang: LangOption = None,
) -> None:
    """Encrypt a key that you have into a file."""
    from kumiai.apps.cli.chaining import keyring

    keyring.take(file, secret_file, dev, password_file, lang)


@keys.command(
    "show",
    epilog=show_examples(
        "kumiai chain keys show me.json", "kumiai chain keys show me.json --check"
    ),
)
def keys_show(
    file: KeyArgument,
    check: Annotated[
        bool, typer.Option("--check", metavar="", help="Decrypt it: is the password right?")
    ] = False,
    password_file: PasswordOption = None,
    lang: LangOption = None,
) -> None:
    """Show a key's address, never its secret."""
    from kumiai.apps.cli.chaining import keyring

    keyring.show(file, check, password_file, lang)


@chain.command(
    epilog=show_examples(
        "kumiai chain deploy --rpc http://127.0.0.1:8545 --keystore me.json --test-token",
        "kumiai chain deploy --guardian 0x... --guardian 0x... --delay 7d --dry-run",
    )
)
@connected(sends=True)
def deploy(
    door: Door,
    test_token: Annotated[
        bool, typer.Option("--test-token", metavar="", help="Also play money that anyone may make.")
    ] = False,
    guardian: Annotated[
        list[str] | None,
        typer.Option(
            "--guardian",
            metavar="ADDRESS",
            help="May propose changes of the parameters for new tasks (default: you alone).",
        ),
    ] = None,
    delay: Annotated[
        str,
        typer.Option("--delay", metavar="TIME", help="How long such a change waits, at least 1h."),
    ] = "2d",
) -> None:
    """Make the contracts: timelock, arena, disputes, lens; write where they are."""
    from kumiai.apps.cli.chaining import contracts

    contracts.deploy(door, test_token, guardian or [], delay)


@chain.command(
    epilog=show_examples(
        "kumiai chain status 0x1234...", "kumiai chain status task.toml --owner 0x... --watch"
    )
)
@connected(sends=False)
def status(
    door: Door,
    task: TaskArgument,
    owner: OwnerOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", metavar="", help="Look again every few seconds.")
    ] = False,
) -> None:
    """Show a task: its money, members, rounds, and what holds it up."""
    from kumiai.apps.cli.chaining import looking

    looking.show_status(door, task, owner, watch)
