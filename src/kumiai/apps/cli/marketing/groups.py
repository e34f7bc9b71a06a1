"""The commands and their options. The work is done elsewhere; heavy imports wait until then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kumiai.apps.cli.marketing.extra import need_extra
from kumiai.apps.cli.marketing.options import (
    BlobsOption,
    ContractsOption,
    DirArgument,
    DisputesOption,
    EcashOption,
    FolderOption,
    HostOption,
    JsonOption,
    PointsArgument,
    PortOption,
    RelayOption,
    SecretOption,
    SentenceArgument,
    WaitOption,
    WalletOption,
)
from kumiai.apps.cli.options import LangOption, QuietOption, show_examples

market = typer.Typer(
    help="Buy training: post a job, take offers, train in rounds, pay what was accepted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=show_examples(
        "kumiai market new my-job",
        "kumiai market post my-job/job.toml --wallet embedded:bank.sqlite#me",
        "kumiai market status jobs/my-job",
    ),
)
provider = typer.Typer(
    help="Sell training with your own machine and a wallet you own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=show_examples(
        "kumiai provider start --price 20 --wallet embedded:bank.sqlite#provider",
        "kumiai provider status providers/me",
    ),
)


@market.command(
    epilog=show_examples("kumiai market new my-job", "kumiai market post my-job/job.toml")
)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the folder to make.")],
) -> None:
    """Make a folder with a job file that you can edit and post."""
    from kumiai.apps.cli import scaffold

    typer.echo(scaffold.explain_job(scaffold.create(name, Path.cwd(), scaffold.JOB_FILES)))


@market.command(
    epilog=show_examples(
        "kumiai market post job.toml --wallet embedded:bank.sqlite#me",
        "kumiai market post job.toml --relay wss://relay.example --blobs https://blobs.example "
        "--wallet nwc:wallet.txt --no-watch",
    )
)
def post(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="The job file, job.toml.")],
    folder: FolderOption = None,
    relay: RelayOption = None,
    blobs: BlobsOption = None,
    wallet: WalletOption = "",
    secret_file: SecretOption = None,
    ecash: EcashOption = "",
    watch_it: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Stay until the job is done.")
    ] = True,
    lang: LangOption = None,
    quiet: QuietOption = False,
) -> None:
    """Prepare a job's data, post it, and stay until it is done. Ctrl-C leaves it as it is."""
    need_extra()
    from kumiai.apps.cli.marketing import buying

    places = buying.make_places(relay, blobs, wallet, secret_file, ecash)
    buying.post(job, folder, places, watch_it, lang, quiet)


@market.command(
    epilog=show_examples(
        "kumiai market watch jobs/my-job",
        "kumiai market watch jobs/my-job --relay wss://another-relay.example",
    )
)
def watch(
    folder: DirArgument,
    relay: RelayOption = None,
    blobs: BlobsOption = None,
    lang: LangOption = None,
    quiet: QuietOption = False,
) -> None:
    """Go on with a job and show it until it is done; other relays or blob servers may be named."""
    need_extra()
    from kumiai.apps.cli.marketing import buying

    buying.watch(folder, buying.make_places(relay, blobs, "", None, ""), lang, quiet)


@market.command(epilog=show_examples("kumiai market status jobs/my-job --json"))
def status(folder: DirArgument, json: JsonOption = False, lang: LangOption = None) -> None:
    """Show where a job is, who did what, and what it cost."""
    need_extra()
    from kumiai.apps.cli.marketing import buying

    buying.status(folder, json, lang)


@market.command(
    epilog=show_examples(
        "kumiai market report jobs/my-job", "kumiai market report jobs/my-job --out page.html"
    )
)
def report(
    folder: DirArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Default: report.html in DIR.")
    ] = None,
    lang: LangOption = None,
) -> None:
    """Write a job's page again: what it cost, what came of it, who did it."""
    from kumiai.apps.cli.marketing import buying

    buying.report(folder, out, lang)


@market.command(epilog=show_examples("kumiai market offers jobs/my-job"))
def offers(folder: DirArgument, json: JsonOption = False, lang: LangOption = None) -> None:
    """List the offers that came, best first."""
    need_extra()
    from kumiai.apps.cli.marketing import buying

    buying.offers(folder, json, lang)


@market.command(epilog=show_examples("kumiai market accept jobs/my-job 3f2a 90bc"))
def accept(
    folder: DirArgument,
    providers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY]...",
            help="Providers' keys or their first digits, as `offers` shows them, best first; "
            "none: the best.",
        ),
    ] = None,
) -> None:
    """Take offers by hand, where the job says automatic = false."""
    need_extra()
    from kumiai.apps.cli.marketing import buying

    buying.accept(folder, providers or [])


@market.command(epilog=show_examples("kumiai market cancel jobs/my-job"))
def cancel(folder: DirArgument) -> None:
    """Stop a job: what was delivered is judged and paid, nothing more is asked for."""
    need_extra()
    from kumiai.apps.cli.marketing import buying

    buying.cancel(folder)


@market.command(epilog=show_examples("kumiai market rate jobs/my-job 3f2a 95 'fast and honest'"))
def rate(
    folder: DirArgument,
    provider_key: Annotated[
        str, typer.Argument(metavar="KEY", help="Whose work it was: the key or its first digits.")
    ],
    points: PointsArgument,
    sentence: SentenceArgument = "",
) -> None:
    """Say publicly how a provider's work was."""
    need_extra()
    from kumiai.apps.cli.marketing import buying

    buying.rate(folder, provider_key, points, sentence)


@market.command(
    epilog=show_examples(
        "kumiai market judge task.toml --relay wss://relay.example --blobs https://blobs.example",
        "kumiai market judge --folder judges/me",
    )
)
def judge(
    task: Annotated[
        Path | None,
        typer.Argument(metavar="[TASK]", help="The job's task, with a data.source of your own."),
    ] = None,
    folder: FolderOption = None,
    relay: RelayOption = None,
    blobs: BlobsOption = None,
    ecash: EcashOption = "",
    lang: LangOption = None,
    quiet: QuietOption = False,
) -> None:
    """Judge for committees and juries that name you, on samples of your own. Ctrl-C ends it."""
    need_extra()
    from kumiai.apps.cli.marketing import judging
    from kumiai.apps.cli.marketing.buying import make_places

    judging.run(task, folder, make_places(relay, blobs, "", None, ecash), lang, quiet)


@market.command(epilog=show_examples("kumiai market providers --relay wss://relay.example"))
def providers(relay: RelayOption = None, json: JsonOption = False, lang: LangOption = None) -> None:
    """List who offers training, and who was heard of in the last minutes."""
    need_extra()
    from kumiai.apps.cli.marketing import looking

    looking.list_providers(relay or [], json, lang)


@provider.command(
    "start",
    epilog=show_examples(
        "kumiai provider start --price 20 --wallet embedded:bank.sqlite#provider",
        "kumiai provider start --price 20 --hardware 'one H200' --wallet nwc:wallet.txt "
        "--relay wss://relay.example --blobs https://blobs.example",
        "kumiai provider start --folder providers/me",
    ),
)
def provider_start(
    price: Annotated[
        int | None, typer.Option("--price", metavar="SAT", help="For one accepted round, in sat.")
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option("--hardware", metavar="TEXT", help="What you train on (default: looked at)."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What others read.")
    ] = None,
    folder: FolderOption = None,
    relay: RelayOption = None,
    blobs: BlobsOption = None,
    wallet: WalletOption = "",
    secret_file: SecretOption = None,
    ecash: EcashOption = "",
    payment: Annotated[
        str | None,
        typer.Option(
            "--payment",
            metavar="NAMES",
            help="Ways of payment, best first (default hold,fair,invoice: what the wallet can do).",
        ),
    ] = None,
    train_s: Annotated[
        int | None,
        typer.Option(
            "--train-s", metavar="SECONDS", min=1, help="How long a round takes here (default 60)."
        ),
    ] = None,
    recipes: Annotated[
        str | None,
        typer.Option("--recipes", metavar="NAMES", help="Train these only (default: all)."),
    ] = None,
    allow_code: Annotated[
        list[str] | None,
        typer.Option("--allow-code", metavar="SHA256", help="Foreign code that may run here."),
    ] = None,
    contracts: ContractsOption = None,
    disputes: DisputesOption = None,
    wait_hours: WaitOption = None,
    lang: LangOption = None,
    quiet: QuietOption = False,
) -> None:
    """Announce this machine, bid for jobs, train, be paid. Ctrl-C leaves it as it is.

    What is said about price, machine and wallet is kept in the folder; later starts need --folder
    alone, and may name other relays and blob servers.
    """
    need_extra()
    from kumiai.apps.cli.marketing import selling
    from kumiai.apps.cli.marketing.buying import make_places

    said = selling.Said(
        price=price,
        hardware=hardware,
        name=name,
        payment=payment,
        train_s=train_s,
        recipes=recipes,
        allow_code=allow_code or None,
        contracts=contracts,
        disputes=disputes,
        wait_hours=wait_hours,
    )
    places = make_places(relay, blobs, wallet, secret_file, ecash)
    selling.start(folder, said, places, lang, quiet)


@provider.command("status", epilog=show_examples("kumiai provider status providers/me"))
def provider_status(folder: DirArgument, json: JsonOption = False, lang: LangOption = None) -> None:
    """Show contracts, every round's work, why it earned what it earned."""
    need_extra()
    from kumiai.apps.cli.marketing import selling

    selling.status(folder, json, lang)


@provider.command("leave", epilog=show_examples("kumiai provider leave providers/me"))
def provider_leave(folder: DirArgument) -> None:
    """Take no more work; what was agreed on is finished."""
    need_extra()
    from kumiai.apps.cli.marketing import selling

    selling.leave(folder)


@provider.command("dispute", epilog=show_examples("kumiai provider dispute providers/me 7c1e"))
def provider_dispute(
    folder: DirArgument,
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="As status names it.")],
) -> None:
    """Ask the job's jury about a rejected round."""
    need_extra()
    from kumiai.apps.cli.marketing import selling

    selling.dispute(folder, request)


@provider.command("rate", epilog=show_examples("kumiai provider rate providers/me 5be1 90"))
def provider_rate(
    folder: DirArgument,
    contract: Annotated[str, typer.Argument(metavar="CONTRACT", help="As status names it.")],
    points: PointsArgument,
    sentence: SentenceArgument = "",
) -> None:
    """Say publicly how a customer was."""
    need_extra()
    from kumiai.apps.cli.marketing import selling

    selling.rate(folder, contract, points, sentence)


def relay(
    host: HostOption = "127.0.0.1",
    port: PortOption = 7447,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Keep events there; default: in memory."),
    ] = None,
) -> None:
    """Run a relay: a place where jobs, offers and results pass. Ctrl-C ends it."""
    need_extra()
    from kumiai.apps.cli.marketing import serving

    serving.serve_relay(host, port, folder)


def blobs(
    host: HostOption = "127.0.0.1",
    port: PortOption = 24242,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Keep blobs there.")
    ] = Path("blobs"),
    public_url: Annotated[
        str, typer.Option("--public-url", metavar="URL", help="How others reach it.")
    ] = "",
) -> None:
    """Run a blob server (Blossom): data and models by their sha256. Ctrl-C ends it."""
    need_extra()
    from kumiai.apps.cli.marketing import serving

    serving.serve_blobs(host, port, folder, public_url)


def add_market_groups(app: typer.Typer) -> None:
    """Put them into the command line."""
    app.add_typer(market, name="market")
    app.add_typer(provider, name="provider")
    app.command("relay", epilog=show_examples("kumiai relay --folder relay"))(relay)
    app.command("blobs", epilog=show_examples("kumiai blobs --folder blobs"))(blobs)
