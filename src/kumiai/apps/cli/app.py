"""The commands and their options. The work is done elsewhere; heavy imports wait until then."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kumiai.apps.cli.entry import EXIT_CODES

DEMO_SEED = 7


class Lang(StrEnum):
    """The languages of the terminal and the report."""

    en = "en"
    ja = "ja"


def _examples(*lines: str) -> str:
    return "\n\n".join(["[bold]Examples[/bold]", *(f"[cyan]$ {line}[/cyan]" for line in lines)])


_EXIT_TEXT = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES) + "."

app = typer.Typer(
    name="kumiai",
    help="Train one AI model together: every contribution proven, scored and paid.",
    epilog=_examples(
        "kumiai demo",
        "kumiai new my-task && kumiai run my-task/task.toml",
        "kumiai --install-completion",
    )
    + f"\n\n{_EXIT_TEXT}",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

LangOption = Annotated[
    Lang | None, typer.Option("--lang", help="Language of the output (default: the system's).")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of the run (default: a new one in runs/)."),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Print nothing but the run's folder.")
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", metavar="", help="Continue a run that was interrupted, from its log."),
]
AloneOption = Annotated[
    bool,
    typer.Option(
        "--alone",
        metavar="",
        help="After the end each member trains alone and compares; "
        "takes about as long again as the training.",
    ),
]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from kumiai import __version__

        typer.echo(f"kumiai {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Train one AI model together: every contribution proven, scored and paid."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    epilog=_examples(
        "kumiai demo",
        "kumiai demo --scenario copier --seed 3 --out runs/copier",
        "kumiai demo --scenario fast --lang ja",
    )
)
def demo(
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", metavar="NAME", help="What happens: see `kumiai scenarios`."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Another number, another run.")
    ] = DEMO_SEED,
    out: OutOption = None,
    resume: ResumeOption = False,
    alone: AloneOption = False,
    lang: LangOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show the whole of it on real data, in about a minute: train, score, pay, report."""
    from kumiai.apps.cli import running

    running.demo(scenario, seed, out, resume, lang, quiet, alone)


@app.command(
    epilog=_examples("kumiai new my-task", "cd my-task && kumiai run task.toml"),
)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the folder to make.")],
) -> None:
    """Make a folder with a task, a small model and a data set that you can edit and run."""
    from kumiai.apps.cli import scaffold

    typer.echo(scaffold.explain(scaffold.create(name, Path.cwd())))


@app.command(
    epilog=_examples(
        "kumiai run task.toml",
        "kumiai run task.toml --set training.rounds=3 --set training.learning_rate=0.1",
        "kumiai run task.toml --out runs/first --resume",
    )
)
def run(
    task: Annotated[Path, typer.Argument(metavar="TASK.TOML", help="The task to run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the task."),
    ] = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    alone: AloneOption = False,
    lang: LangOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run your own task: your model, your data, as many members as you ask for."""
    from kumiai.apps.cli import running

    running.run(task, overrides or [], out, resume, lang, quiet, alone)


@app.command(
    epilog=_examples(
        "kumiai verify runs/cooperative-7",
        "kumiai verify runs/cooperative-7 --scores all",
        "kumiai verify runs/cooperative-7/receipts/r00001-0123456789abcdef.json",
    )
)
def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A run's folder or one receipt.")],
    scores: Annotated[
        str,
        typer.Option(
            metavar="auto|all|N",
            help="Rounds whose scores are recomputed: all, N drawn at random, "
            "or as many as a large run's size allows.",
        ),
    ] = "auto",
    lang: LangOption = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", metavar="", help="Print nothing; the exit code says it."),
    ] = False,
) -> None:
    """Recompute a run, or one receipt, from its files alone: offline, trusting nobody."""
    from kumiai.apps.cli import verifying

    verifying.verify(path, scores, lang, quiet)


@app.command(
    epilog=_examples(
        "kumiai inspect runs/cooperative-7",
        "kumiai inspect runs/cooperative-7 --member Aoba",
        "kumiai inspect runs/cooperative-7 --round 3",
    )
)
def inspect(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run's folder.")],
    member: Annotated[
        str | None,
        typer.Option("--member", metavar="NAME", help="One member (name or key): every amount."),
    ] = None,
    round_: Annotated[
        int | None, typer.Option("--round", min=1, help="One round: who counted, who did not.")
    ] = None,
    lang: LangOption = None,
) -> None:
    """Show who did what, and how every amount came about."""
    from kumiai.apps.cli import inspection

    inspection.inspect(run_dir, member, round_, lang)


@app.command(
    epilog=_examples(
        "kumiai export runs/cooperative-7 --member Aoba",
        "kumiai export runs/cooperative-7 --width 50% --out my-model",
        "kumiai export runs/cooperative-7 --full --onnx",
    )
)
def export(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A finished run's folder.")],
    member: Annotated[
        str | None,
        typer.Option("--member", metavar="NAME", help="The model that this member earned."),
    ] = None,
    width: Annotated[
        str | None,
        typer.Option("--width", metavar="W", help="One of the task's widths: 0.5 or 50%."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", metavar="", help="All of the model (the default).")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="A new folder (default: one in exports/)."),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", metavar="", help="Also as model.onnx (needs kumiai\\[onnx])."),
    ] = False,
    lang: LangOption = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Print nothing but the new folder.")
    ] = False,
) -> None:
    """Take a model out: plain files with a model card, loadable without Kumiai."""
    from kumiai.apps.cli import exporting

    exporting.export(run_dir, member, width, full, out, onnx, lang, quiet)


@app.command(epilog=_examples("kumiai scenarios", "kumiai demo --scenario poisoner"))
def scenarios(lang: LangOption = None) -> None:
    """List the ready-made runs: attacks, faults, and what is expected to happen."""
    from kumiai.apps.cli import running

    running.list_scenarios(lang)


@app.command(
    epilog=_examples(
        "kumiai simulate",
        "kumiai simulate --agents 500 --rounds 40 --seeds 4",
        "kumiai simulate --set audit=0.2 --set slash_ppm=300000 --out my-economy",
    ),
)
def simulate(
    agents: Annotated[
        int, typer.Option("--agents", metavar="N", help="People, in tasks of 100 unless set.")
    ] = 2_000,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", help="Rounds, in tasks of 20 unless set.")
    ] = 200,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", help="Repetitions with other luck.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The first of them.")] = 1,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Change a rule or an assumption (see the page)."
        ),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep/--no-sweep", help="Also vary every number, and seek remedies.")
    ] = True,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where page, table and figures are saved.")
    ] = Path("simulation"),
    lang: LangOption = None,
) -> None:
    """Does honesty pay? Thousands of people play the reward rules, some of them against you."""
    from kumiai.apps.cli import simulating

    simulating.simulate(agents, rounds, seeds, seed, overrides or [], out, lang, is_swept=sweep)


flower = typer.Typer(
    help="Run Flower apps on this engine, unmodified.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(flower, name="flower")


@flower.command(
    "run",
    epilog=_examples(
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
app.add_typer(bench)


@bench.command(
    "aequa",
    epilog=_examples(
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
