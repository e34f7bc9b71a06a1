"""The options that every `kumiai chain` command shares, written down once.

`connected` puts them into a command's signature and hands the command a `Door` made of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from kumiai.apps.cli.options import Lang

PLACE, SENDING = "Where", "Sending"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user said about place, key and sending."""

    rpc: str | None = None
    chain_file: Path | None = None
    chain_id: int | None = None
    arena: str | None = None
    deployment: Path | None = None
    keystore: Path | None = None
    password_file: Path | None = None
    dry_run: bool = False
    yes: bool = False
    confirmations: int = 1
    fee_cap: str = "200gwei"
    as_json: bool = False
    lang: Lang | None = None


def _option(*names: str, metavar: str, panel: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, rich_help_panel=panel, help=text, **more)


_PLACE: dict[str, Any] = {
    "rpc": Annotated[
        str | None,
        _option("--rpc", metavar="URL", panel=PLACE, text="The node (default: KUMIAI_RPC)."),
    ],
    "chain_file": Annotated[
        Path | None,
        _option(
            "--chain-file", metavar="FILE", panel=PLACE,
            text="Without a node: the embedded chain's file, opened here.",
        ),
    ],
    "chain_id": Annotated[
        int | None,
        _option(
            "--chain-id", metavar="ID", panel=PLACE, min=1,
            text="The chain it must be; on another one nothing is signed.",
        ),
    ],
    "arena": Annotated[
        str | None,
        _option("--arena", metavar="ADDRESS", panel=PLACE, text="The contract."),
    ],
    "deployment": Annotated[
        Path | None,
        _option(
            "--deployment", metavar="FILE", panel=PLACE,
            text="Where `deploy` wrote the addresses (default: deployment.json, if it is there).",
        ),
    ],
    "as_json": Annotated[
        bool, _option("--json", metavar="", panel=PLACE, text="Print one JSON document.")
    ],
    "lang": Annotated[Lang | None, typer.Option("--lang", help="Language of the output.")],
}  # fmt: skip
_SENDING: dict[str, Any] = {
    "keystore": Annotated[
        Path | None,
        _option(
            "--keystore", metavar="FILE", panel=SENDING,
            text="The encrypted key that signs (default: KUMIAI_KEYSTORE).",
        ),
    ],
    "password_file": Annotated[
        Path | None,
        _option(
            "--password-file", metavar="FILE", panel=SENDING,
            text="Its password is the first line (default: KUMIAI_PASSWORD, else you are asked).",
        ),
    ],
    "dry_run": Annotated[
        bool,
        _option(
            "--dry-run", metavar="", panel=SENDING,
            text="Show gas and cost, or why it would be refused; send nothing.",
        ),
    ],
    "yes": Annotated[
        bool, _option("--yes", "-y", metavar="", panel=SENDING, text="Send without asking.")
    ],
    "confirmations": Annotated[
        int,
        _option(
            "--confirmations", metavar="N", panel=SENDING, min=1, max=10_000,
            text="Wait until the transaction's block and N - 1 more stand.",
        ),
    ],
    "fee_cap": Annotated[
        str,
        _option(
            "--fee-cap", metavar="AMOUNT", panel=SENDING,
            text="The most that is ever offered for a unit of gas.",
        ),
    ],
}  # fmt: skip
_DEFAULTS = {field.name: field.default for field in fields(Settings)}


def connected(*, sends: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options (`sends`: those of sending too) and a Door in their place.

    The command's first parameter is the door; what follows are its own arguments.
    """
    shared = {**_PLACE, **(_SENDING if sends else {})}

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        # the door's class is behind heavy imports: its name stands for anything here
        own = inspect.signature(function, locals={"Door": object}, eval_str=True)
        extra = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[name], annotation=kind
            )
            for name, kind in shared.items()
        ]

        def command(**given: Any) -> None:
            from kumiai.apps.cli.chaining.door import make_door

            settings = Settings(**{name: given.pop(name) for name in shared})
            function(make_door(settings), **given)

        mine = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.parameters.values()][1:]
        command.__signature__ = own.replace(parameters=[*mine, *extra])  # type: ignore[attr-defined]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return wrap


TaskArgument = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="The task's id on the chain, or its TOML file (with --owner)."
    ),
]
AmountArgument = Annotated[
    str,
    typer.Argument(metavar="AMOUNT", help="In the smallest unit: 5000, 5_000; coin: 0.5ether."),
]
OwnerOption = Annotated[
    str | None,
    typer.Option(
        "--owner", metavar="ADDRESS", help="Who created TASK, where it is a file (default: you)."
    ),
]
