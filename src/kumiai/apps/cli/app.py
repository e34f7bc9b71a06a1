"""The commands and their options. The work is done elsewhere; heavy imports wait until then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kumiai.apps.cli.entry import EXIT_CODES
from kumiai.apps.cli.groups import add_groups
from kumiai.apps.cli.options import (
    AloneOption,
    LangOption,
    OrderProcessesOption,
    OutOption,
    QuietOption,
    ResumeOption,
    RpcOption,
    SettlementOption,
    show_examples,
)

DEMO_SEED = 7


_EXIT_TEXT = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES) + "."

app = typer.Typer(
    name="kumiai",
    help="Train one AI model together: every contribution proven, scored and paid.",
    epilog=show_examples(
        "kumiai demo",
        "kumiai new my-task && kumiai run my-task/task.toml",
        "kumiai --install-completion",
    )
    + f"\n\n{_EXIT_TEXT}",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    epilog=show_examples(
        "kumiai demo",
        "kumiai demo --scenario copier --seed 3 --out runs/copier",
        "kumiai demo --scenario fast --lang ja",
        "kumiai demo --scenario fast --order-processes",
        "kumiai demo --scenario market",
        "kumiai demo --settlement evm",
        "kumiai demo --settlement evm --rpc http://127.0.0.1:8545",
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
    order_processes: OrderProcessesOption = False,
    settlement: SettlementOption = "",
    rpc: RpcOption = None,
    lang: LangOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show the whole of it on real data, in about a minute: train, score, pay, report."""
    from kumiai.apps.cli import running

    ways = running.Ways(alone, order_processes, settlement, rpc)
    running.demo(scenario, seed, out, resume, lang, quiet, ways)


@app.command(
    epilog=show_examples("kumiai new my-task", "cd my-task && kumiai run task.toml"),
)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the folder to make.")],
) -> None:
    """Make a folder with a task, a small model and a data set that you can edit and run."""
    from kumiai.apps.cli import scaffold

    typer.echo(scaffold.explain(scaffold.create(name, Path.cwd())))


@app.command(
    epilog=show_examples(
        "kumiai run task.toml",
        "kumiai run task.toml --set training.rounds=3 --set training.learning_rate=0.1",
        "kumiai run task.toml --out runs/first --resume",
        "kumiai run task.toml --set validation.ordering=committee --order-processes",
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
    order_processes: OrderProcessesOption = False,
    rpc: RpcOption = None,
    lang: LangOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run your own task: your model, your data, as many members as you ask for."""
    from kumiai.apps.cli import running

    ways = running.Ways(alone, order_processes, rpc=rpc)
    running.run(task, overrides or [], out, resume, lang, quiet, ways)


@app.command(
    epilog=show_examples(
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
    rpc: Annotated[
        str | None,
        typer.Option("--rpc", metavar="URL", help="A node of the chain that the run settled on."),
    ] = None,
    lang: LangOption = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", metavar="", help="Print nothing; the exit code says it."),
    ] = False,
) -> None:
    """Recompute a run, or one receipt, from its files alone: offline, trusting nobody."""
    from kumiai.apps.cli import verifying

    verifying.verify(path, scores, lang, quiet, rpc)


@app.command(
    epilog=show_examples(
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
    epilog=show_examples(
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


@app.command(epilog=show_examples("kumiai scenarios", "kumiai demo --scenario poisoner"))
def scenarios(lang: LangOption = None) -> None:
    """List the ready-made runs: attacks, faults, and what is expected to happen."""
    from kumiai.apps.cli import running

    running.list_scenarios(lang)


@app.command(
    epilog=show_examples(
        "kumiai doctor --determinism",
        "kumiai doctor --determinism --save this-machine.json",
        "kumiai doctor --determinism --compare other-machine.json",
    )
)
def doctor(
    determinism: Annotated[
        bool,
        typer.Option(
            "--determinism",
            metavar="",
            help="The machine's class and its calibration digest (all there is to examine so far).",
        ),
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write them to a new file.")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="FILE", help="Is that file's machine of one class?"),
    ] = None,
    lang: LangOption = None,
) -> None:
    """Examine this machine: does it give the same bits as another for the same work?"""
    from kumiai.apps.cli import doctoring

    doctoring.doctor(save, compare, lang)  # the only examination, named or not


@app.command(
    epilog=show_examples(
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


add_groups(app)
