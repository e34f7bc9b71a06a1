"""Commands with commands of their own: `kumiai flower`, `bench`, `chain`, `market`, `wallet`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kumiai.apps.cli.chaining import chain
from kumiai.apps.cli.marketing import add_market_groups
from kumiai.apps.cli.options import LangOption, show_examples
from kumiai.apps.cli.wallet import wallet

flower = typer.Typer(
    help="Run Flower apps on this engine, unmodified.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@flower.command(
    "run",
    epilog=show_examples(
        "kumiai flower run .",
        "kumiai flower run examples/10_flower_digits --supernodes 20",
        "kumiai flower run . --run-config 'num-server-rounds=3 learning-rate=0.05'",
    ),
)
def flower_run(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The app's folder.")] = Path(),
    run_config: Annotated[
        list[str] | None,
        typer.Option(
            "--run-config",
            "-c",
            metavar="KEY=VALUE",
            help="Change what the app's config says, or the path of a TOML file that does.",
        ),
    ] = None,
    supernodes: Annotated[
        int | None,
        typer.Option("--supernodes", metavar="N", help="Nodes (default: the app's, or 10)."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Processes that run nodes (default: one a core, up to 16); 1: this one only.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", metavar="", help="Show Flower's own log as well.")
    ] = False,
    lang: LangOption = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Print what the app prints only.")
    ] = False,
) -> None:
    """Run a whole Flower app (ServerApp, strategy, ClientApp) on this machine."""
    from kumiai.apps.cli import flowering

    flowering.run(path, run_config or [], supernodes, workers, verbose, lang, quiet)


bench = typer.Typer(
    name="bench", help="Compare with other methods, on the same data.", no_args_is_help=True
)


@bench.command(
    "aequa",
    epilog=show_examples(
        "kumiai bench aequa --quick",
        "kumiai bench aequa --members 5,10 --splits label,quantity --out my-results",
    ),
)
def bench_aequa(
    data: Annotated[
        str,
        typer.Option(
            "--data", metavar="NAMES", help='Built-in data sets, or "FILE.py:function" (images).'
        ),
    ] = "digits,mnist5k",
    splits: Annotated[
        str, typer.Option("--splits", metavar="NAMES", help="Who holds which samples.")
    ] = "homogeneous,dirichlet,label,quantity",
    members: Annotated[
        str, typer.Option("--members", metavar="NUMBERS", help="How many members.")
    ] = "5,10,50",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Repetitions of every cell.")] = 3,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Rounds of training, for every method.")
    ] = 40,
    quick: Annotated[
        bool,
        typer.Option("--quick", metavar="", help="The first data and number, one seed, 10 rounds."),
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the table and picture are saved.")
    ] = Path("results"),
    lang: LangOption = None,
) -> None:
    """Fair model rewards: Aequa and seven peers on the same splits."""
    from kumiai.apps.cli import bench

    bench.bench_aequa(data, splits, members, seeds, rounds, quick, out, lang)


def add_groups(app: typer.Typer) -> None:
    """Put them into the command line."""
    app.add_typer(flower, name="flower")
    app.add_typer(bench)
    app.add_typer(chain, name="chain")
    add_market_groups(app)
    app.add_typer(wallet, name="wallet")
