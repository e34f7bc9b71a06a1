"""The commands of `kumiai wallet` and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kumiai.apps.cli.marketing.extra import need_extra
from kumiai.apps.cli.marketing.options import RelayOption
from kumiai.apps.cli.options import LangOption, show_examples
from kumiai.apps.cli.wallet.amounts import AMOUNT_MSAT_MAX, MSAT_OF_SAT

wallet = typer.Typer(
    name="wallet",
    help="Lightning wallets: balance, history, whether every msat is accounted for; and a link to "
    "one, for programs elsewhere.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=show_examples(
        "kumiai wallet balance embedded:bank.sqlite#me",
        "kumiai wallet reconcile --folder providers/me",
    ),
)

WalletArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="WALLET",
        help="embedded:PATH#NAME, lnbits:http://..., nostr+walletconnect://... or nwc:PATH "
        "(default: KUMIAI_WALLET).",
        show_default=False,
    ),
]
SecretOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        help="The wallet's key is the first line (default: the environment, KUMIAI_LNBITS_KEY).",
    ),
]
IntentsOption = Annotated[
    Path | None,
    typer.Option(
        "--intents",
        metavar="FILE",
        help="What the member meant to pay and to ask (default: the folder's).",
    ),
]
MemberOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="DIR", help="Of a job or provider: its wallet and its intents."
    ),
]
ReceiptsOption = Annotated[
    Path | None,
    typer.Option(
        "--receipts",
        metavar="FILE",
        help="One JSON object a line: key, amount_msat, is_incoming, job.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document.")]


@wallet.command(
    epilog=show_examples(
        "kumiai wallet balance embedded:bank.db#me --json",
        "kumiai wallet balance --folder providers/me",
    )
)
def balance(
    name: WalletArgument = None,
    folder: MemberOption = None,
    secret_file: SecretOption = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Show what can be paid out now, and what is locked; of a folder, its ecash too."""
    need_extra()
    from kumiai.apps.cli.wallet import showing

    showing.show_balance(showing.Settings(name, secret_file, as_json, lang, folder))


@wallet.command(
    epilog=show_examples(
        "kumiai wallet history embedded:bank.db#me --days 7",
        "kumiai wallet history --folder providers/me",
    )
)
def history(
    name: WalletArgument = None,
    folder: MemberOption = None,
    days: Annotated[
        int | None,
        typer.Option("--days", metavar="N", min=1, max=36_500, help="Only the last N days."),
    ] = None,
    secret_file: SecretOption = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """List what came and went, oldest first, as the wallet tells it; of a folder, its ecash too."""
    need_extra()
    from kumiai.apps.cli.wallet import showing

    showing.show_history(showing.Settings(name, secret_file, as_json, lang, folder), days)


@wallet.command(
    epilog=show_examples(
        "kumiai wallet reconcile --folder jobs/my-job",
        "kumiai wallet reconcile embedded:bank.db#me --intents intents.db",
    )
)
def reconcile(
    name: WalletArgument = None,
    folder: MemberOption = None,
    intents: IntentsOption = None,
    receipts: ReceiptsOption = None,
    secret_file: SecretOption = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Put intents, the wallet's history and receipts side by side; exit code 3 if they disagree."""
    need_extra()
    from kumiai.apps.cli.wallet import showing

    settings = showing.Settings(name, secret_file, as_json, lang, folder)
    showing.show_books(settings, intents, receipts)


@wallet.command(
    epilog=show_examples("kumiai wallet export --folder jobs/my-job --out accounts.csv")
)
def export(
    name: WalletArgument = None,
    folder: MemberOption = None,
    intents: IntentsOption = None,
    receipts: ReceiptsOption = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the table is saved.")
    ] = Path("accounts.csv"),
    secret_file: SecretOption = None,
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Save the accounts as CSV, safe to open in a spreadsheet."""
    need_extra()
    from kumiai.apps.cli.wallet import showing

    settings = showing.Settings(name, secret_file, as_json, lang, folder)
    showing.save_books(settings, intents, receipts, out)


@wallet.command(epilog=show_examples("kumiai wallet fund embedded:bank.db#me 10_000sat"))
def fund(
    name: Annotated[str, typer.Argument(metavar="WALLET", help="embedded:PATH#NAME")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="500sat or 250msat")],
    as_json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Make play money in an embedded bank; its file is made if it is not there."""
    need_extra()
    from kumiai.apps.cli.wallet import showing

    showing.fund(showing.Settings(name, None, as_json, lang), amount)


@wallet.command(
    epilog=show_examples(
        "kumiai wallet serve embedded:bank.sqlite#me --folder wallets/me --budget-sat 500",
        "kumiai wallet serve lnbits:http://127.0.0.1:5000 --secret-file key.txt "
        "--relay wss://relay.example --folder wallets/shop",
        "kumiai provider start --price 20 --wallet nwc:wallets/shop/link.txt",
    )
)
def serve(
    name: WalletArgument = None,
    relay: RelayOption = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="Keeps the link and what was spent through it (default: wallets/me).",
        ),
    ] = None,
    budget_sat: Annotated[
        int,
        typer.Option(
            "--budget-sat",
            metavar="SAT",
            min=0,
            max=AMOUNT_MSAT_MAX // MSAT_OF_SAT,
            help="May leave the wallet through the link, in all and over restarts, fees included "
            "(default 0: it can be paid, and pays nothing).",
        ),
    ] = 0,
    fee_sat: Annotated[
        int,
        typer.Option(
            "--fee-sat", metavar="SAT", min=0, max=1_000_000, help="Most of one payment's fees."
        ),
    ] = 0,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="NAMES",
            help="Only these of NIP-47, e.g. make_invoice,lookup_invoice,get_balance,get_info.",
        ),
    ] = None,
    secret_file: SecretOption = None,
    lang: LangOption = None,
) -> None:
    """Serve a wallet over a relay to whoever has the link that is printed. Ctrl-C ends it.

    The link (nostr+walletconnect://, NIP-47) is a secret: who has it may do what was allowed here.
    """
    need_extra()
    from kumiai.apps.cli.wallet import serving

    serving.serve(name, relay or (), folder, budget_sat, fee_sat, methods, secret_file, lang)
