"""The commands of `kumiai wallet` for a member's ecash: fill it, pay out of it, tokens as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kumiai.apps.cli.marketing.extra import need_extra
from kumiai.apps.cli.options import LangOption, show_examples
from kumiai.apps.cli.wallet.group import JsonOption, wallet

FolderOption = Annotated[
    Path,
    typer.Option("--folder", metavar="DIR", help="Of the job or provider whose ecash it is."),
]
AmountArgument = Annotated[str, typer.Argument(metavar="AMOUNT", help="500sat or 250msat")]


@wallet.command(
    epilog=show_examples(
        "kumiai wallet invoice 1_000sat --folder jobs/my-job",
        "kumiai wallet invoice 1_000sat --folder jobs/my-job --no-wait --json",
    )
)
def invoice(
    amount: AmountArgument,
    folder: FolderOption,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Stay until the invoice is paid.")
    ] = True,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Fill a member's ecash: shows an invoice of the mint, and fetches the ecash when it is paid.

    Ctrl-C, or a crash, loses nothing: the next command for this ecash fetches what was paid.
    """
    need_extra()
    from kumiai.apps.cli.wallet import purse

    purse.fill(purse.Settings(folder, as_json, lang), amount, wait)


@wallet.command(
    epilog=show_examples(
        "kumiai wallet pay lnbc10u1... --folder providers/me",
        "kumiai wallet pay lnbc10u1... --folder providers/me --fee-sat 20",
    )
)
def pay(
    bolt11: Annotated[str, typer.Argument(metavar="INVOICE", help="A Lightning invoice: lnbc...")],
    folder: FolderOption,
    fee_sat: Annotated[
        int | None,
        typer.Option(
            "--fee-sat",
            metavar="SAT",
            min=0,
            max=1_000_000,
            help="The most that it may cost beside (default: 1 % of it, at least 2 sat, for the "
            "route, and 2 sat for the mint).",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Pay a Lightning invoice with a member's ecash: what it earned leaves it so.

    Said again for the same invoice it tells what became of it; nothing is paid twice.
    """
    need_extra()
    from kumiai.apps.cli.wallet import purse

    purse.pay(purse.Settings(folder, as_json, lang), bolt11, fee_sat)


@wallet.command(epilog=show_examples("kumiai wallet send 100sat --folder providers/me"))
def send(
    amount: AmountArgument,
    folder: FolderOption,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Take ecash out as a token, a text: money for whoever reads it first."""
    need_extra()
    from kumiai.apps.cli.wallet import purse

    purse.send(purse.Settings(folder, as_json, lang), amount)


@wallet.command(
    epilog=show_examples(
        "kumiai wallet receive cashuB... --folder jobs/my-job",
        "kumiai wallet receive - --folder jobs/my-job < token.txt",
    )
)
def receive(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="A token of the same mint; -: standard input.")
    ],
    folder: FolderOption,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Put a token into a member's ecash. Other programs can see what is written in a command."""
    need_extra()
    from kumiai.apps.cli.wallet import purse

    purse.receive(purse.Settings(folder, as_json, lang), token)


@wallet.command(epilog=show_examples("kumiai wallet pending --folder jobs/my-job"))
def pending(folder: FolderOption, as_json: JsonOption = False, lang: LangOption = None) -> None:
    """Show what is open: unpaid invoices, payments under way, tokens that nobody has taken."""
    need_extra()
    from kumiai.apps.cli.wallet import purse

    purse.show_pending(purse.Settings(folder, as_json, lang))
