"""Where a run is put together: the only place that joins rooms, adapters and the file system.

`run_demo` and `run_task` are what the command line and notebooks call. Both build the members, the
world and the compute port, let the driver run, and leave a sealed run directory behind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kumiai.adapters.compute.audited import AuditedCompute
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.native.kernels import load_kernels
from kumiai.adapters.compute.scoring import Holdout
from kumiai.adapters.cores import count_cores
from kumiai.adapters.language.lora import LORA, bind_base
from kumiai.adapters.sim.adversaries import AdversarialCompute
from kumiai.adapters.sim.fakers import FAKERS
from kumiai.adapters.sim.world import NetworkModel
from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.adapters.store.ledger import SqliteLedger
from kumiai.adapters.store.log import SqliteLog
from kumiai.adapters.store.order_file import OrderFile
from kumiai.adapters.store.vault import SqliteVault
from kumiai.apps import outcome
from kumiai.apps.finished import Finished
from kumiai.apps.plan import make_plan
from kumiai.apps.population import Casting, Person, Population, cast_roles, gather
from kumiai.apps.rundir import RunDir
from kumiai.apps.scenarios import SCENARIOS, has_shard
from kumiai.apps.settlements import (
    check_node,
    finish_settling,
    open_settling,
    settle_by,
    show_settled,
)
from kumiai.apps.telemetry import Telemetry
from kumiai.apps.view import ProgressEvent, RunView
from kumiai.apps.workload import Workload, find_cache_dir, load_workload
from kumiai.apps.worlds import (
    REAL_TIME_HINT,
    check_processes,
    list_real_time_warnings,
    make_world,
    suit_processes,
)
from kumiai.base.errors import InputError, RunFailedError
from kumiai.learning.privacy.stream import derive_stream_key
from kumiai.nodes.driver import Driver
from kumiai.nodes.ports import ComputePort, LedgerPort, LogPort, VaultPort, WorldPort
from kumiai.nodes.role import Role
from kumiai.rounds.control import ENDED
from kumiai.rounds.state import RunPhase
from kumiai.settlement.certificates import ChainPlace
from kumiai.tasks.audit import is_audited
from kumiai.tasks.document import TaskDocument, parse_task
from kumiai.tasks.rules import list_warnings

if TYPE_CHECKING:
    from kumiai.apps.settling import ChainRun, SettledRun

Progress = Callable[[ProgressEvent], None]

TASK_FILE_BYTES_MAX = 1_000_000


def run_demo(
    scenario: str,
    seed: int,
    out: Path,
    progress: Progress,
    *,
    resume: bool = False,
    is_compared: bool = False,
    order_processes: bool = False,
    settlement: str = "",
    rpc: str | None = None,
) -> RunView:
    """Run one entry of the menu; InputError for an unknown name.

    order_processes: see `run_local`; the entry's validators order, whatever its task says of it.
    """
    if scenario not in SCENARIOS:
        raise InputError("scenario", scenario, f"choose one of {', '.join(SCENARIOS)}")
    chosen = SCENARIOS[scenario]
    casting = Casting(chosen.name, chosen.people, chosen.victims, chosen.network)
    task = chosen.make_task(seed)
    if order_processes:
        task = suit_processes(task)
    if settlement:
        task = settle_by(task, settlement)
    return run_local(
        task,
        casting,
        out,
        progress,
        resume=resume,
        base_dir=Path.cwd(),
        is_compared=is_compared,
        order_processes=order_processes,
        rpc=rpc,
    )


def run_task(
    task_path: Path,
    overrides: Mapping[str, str],
    out: Path,
    resume: bool,
    progress: Progress,
    is_compared: bool = False,
    order_processes: bool = False,
    rpc: str | None = None,
) -> RunView:
    """Run the user's own task with as many local members as it asks for.

    What it allows but is weak is told first (`list_warnings`).
    """
    task = read_task(task_path, overrides)
    real_time = list_real_time_warnings(task) if order_processes else []
    for warning in [*list_warnings(task), *real_time]:
        Telemetry(task.training.rounds, progress).note(warning)
    return run_local(
        task,
        cast_locally(task),
        out,
        progress,
        resume=resume,
        base_dir=task_path.parent.resolve(),
        is_compared=is_compared,
        order_processes=order_processes,
        rpc=rpc,
    )


def read_task(task_path: Path, overrides: Mapping[str, str] | None = None) -> TaskDocument:
    """Read and check a task file; InputError when it cannot be read or does not hold."""
    try:
        if task_path.stat().st_size > TASK_FILE_BYTES_MAX:
            raise InputError("task file", str(task_path), "it is bigger than a task can be")
        text = task_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fix = f"cannot be read ({error}); give the path of a task.toml"
        raise InputError("task file", str(task_path), fix) from error
    task = parse_task(text, overrides or {})
    return bind_model(task, task_path.parent.resolve())


def bind_model(task: TaskDocument, base_dir: Path) -> TaskDocument:
    """Write into the task which base its adapters are for, where its author left that out.

    So the task's hash binds the base, and every member checks its own copy against it.
    """
    if task.model.recipe != LORA:
        return task
    model = task.model.model_copy(update={"options": bind_base(task.model.options, base_dir)})
    return task.model_copy(update={"model": model})


def cast_locally(task: TaskDocument) -> Casting:
    """The members of a plain local run: honest ones, as many as the task names, and its probes."""
    width = len(str(max(task.data.trainers, task.validation.validators)))
    stake = max(1_000, task.rewards.trainer_stake_min)
    judge = max(1_000, task.rewards.validator_stake_min)
    people = [
        Person(f"trainer-{i + 1:0{width}d}", "trainer", stake=stake)
        for i in range(task.data.trainers)
    ]
    people += [
        Person(f"probe-{i + 1}", "canary", "canary", stake=stake)
        for i in range(task.validation.canaries)
    ]
    people += [
        Person(f"validator-{i + 1}", "validator", stake=judge)
        for i in range(task.validation.validators)
    ]
    return Casting("", tuple(people), {}, NetworkModel())


def run_local(
    task: TaskDocument,
    casting: Casting,
    out: Path,
    progress: Progress,
    *,
    resume: bool,
    base_dir: Path,
    is_compared: bool = False,
    order_processes: bool = False,
    rpc: str | None = None,
) -> RunView:
    """Run `task` with these members in this process; leave a sealed run directory; return its view.

    is_compared: see `apps/alone`. order_processes: the validators that order are processes, in real
    time. RunFailedError when it does not end in FINISHED (sealed too).
    """
    torch.set_num_threads(1)  # members stand for machines of their own; see docs/adr/0008
    run_dir = RunDir(out)
    if order_processes:
        check_processes(task, casting, resume)
    check_node(task, rpc)
    population = gather(task, casting.people)
    workload = load_workload(task, base_dir)
    plan = make_plan(task, casting, population, workload, base_dir)
    run_dir.open(plan | {"order_processes": True} if order_processes else plan, resume)
    codec_states = DirectoryBlobs(run_dir.codec_states)
    telemetry = Telemetry(task.training.rounds, progress, workload.token_bytes_ppm)
    blobs = DirectoryBlobs(run_dir.blobs)
    blobs.remove_partial()
    log, ledger = SqliteLog(run_dir.log), SqliteLedger(run_dir.ledger)
    vault, order = SqliteVault(run_dir.vault), OrderFile(run_dir.order)
    secrets = take_secrets(task, population, run_dir)
    journals = run_dir.validators if order_processes else None
    settling: ChainRun | SettledRun | None = None
    try:
        compute = make_compute(
            task, casting, population, workload, blobs, codec_states, secrets, telemetry.note
        )
        settling = open_settling(task, population, run_dir, ledger, rpc, telemetry)
        place = settling.place if settling else None
        roles = make_roles(task, population, workload, blobs, secrets, place)
        books: LedgerPort = settling.ledger if settling else ledger
        with closing(make_world(task, casting, population, order.append, journals)) as world:
            driver = make_driver(population, roles, world, compute, (log, books, vault), telemetry)
            final = driver.run()
        if final.phase in ENDED:  # else it may be taken up again
            finish_settling(settling, final)
            run_dir.forget_secrets()
        moved = tuple(applied.command for applied in ledger.history())
        finished = Finished(
            run_dir, task, casting, population, workload, driver, telemetry, blobs, moved
        )
        view = show_settled(outcome.write_results(finished, is_compared), settling, final)
    finally:
        workload.close()
        for store in (*([settling] if settling else []), log, ledger, vault, order):
            store.close()
    outcome.write_telemetry(run_dir, telemetry)
    outcome.seal_and_report(run_dir, population, driver.run_state, view)
    telemetry.finish(final)
    if final.phase is not RunPhase.FINISHED:
        hint = REAL_TIME_HINT if order_processes else ""
        raise RunFailedError(f"the run is {final.phase}: {final.reason}{hint}")
    return view


def make_driver(
    population: Population,
    roles: Mapping[str, Role],
    world: WorldPort,
    compute: ComputePort,
    stores: tuple[LogPort, LedgerPort, VaultPort],
    telemetry: Telemetry,
) -> Driver:
    """The loop of a local run: every member's role in one process."""
    log, ledger, vault = stores
    return Driver(
        roles=roles,
        trainers=frozenset(p.name for p in population.named("trainer", "canary")),
        setup_roles=("escrow", "customer"),
        orderer=population.orderer,
        world=world,
        compute=compute,
        log=log,
        ledger=ledger,
        vault=vault,
        observer=telemetry,
    )


def make_roles(
    task: TaskDocument,
    population: Population,
    workload: Workload,
    blobs: DirectoryBlobs,
    secrets: Mapping[str, bytes],
    place: ChainPlace | None = None,
) -> dict[str, Role]:
    """Store what the customer publishes, and give everybody its role."""
    shards = assign_shards(task, population, workload, blobs)
    holdouts = workload.publish_holdouts(blobs)
    return cast_roles(task, population, holdouts, secrets, shards, place)


def make_compute(
    task: TaskDocument,
    casting: Casting,
    population: Population,
    workload: Workload,
    blobs: DirectoryBlobs,
    codec_states: DirectoryBlobs | None = None,
    secrets: Mapping[str, bytes] | None = None,
    note: Callable[[str], None] | None = None,
) -> AdversarialCompute:
    """The engine over everybody's data, and the lies of those who lie.

    secrets: with privacy, each trainer's own, see `take_secrets`.
    """
    owners = [p for p in population.named("trainer") if has_shard(p)]
    judges = population.named("validator")
    poisoners = {population.pubkey(p.name) for p in owners if p.behaviour == "poisoner"}
    names = {population.pubkey(person.name): person.name for person in population.people}

    def tell(member: str, sentence: str) -> None:
        if note is not None:
            note(f"{names.get(member, member)}: {sentence}")

    make_honest: Callable[..., EngineCompute] = EngineCompute
    if is_audited(task):
        fakers = {
            population.pubkey(p.name): FAKERS[p.behaviour] for p in owners if p.behaviour in FAKERS
        }
        make_honest = partial(AuditedCompute, tracers=fakers)
    honest = make_honest(
        task=task,
        recipe=workload.recipe,
        engine=workload.engine,
        blobs=blobs,
        shards={
            population.pubkey(person.name): shard
            for person, shard in zip(owners, workload.data.shards, strict=True)
        },
        holdouts={
            population.pubkey(person.name): Holdout(*parts)
            for person, parts in zip(judges, workload.data.validation, strict=True)
        },
        label_maps={
            key: shift_labels(workload.class_count, task.seed) for key in sorted(poisoners)
        },
        codec_states=codec_states,
        kernels=load_kernels(find_cache_dir() / "native", count_cores()),
        member_trainer=workload.member_trainer,
        tell=tell,
        noise_secrets=secrets,
    )
    return AdversarialCompute(
        inner=honest,
        blobs=blobs,
        size=workload.engine.layout.size,
        behaviours={population.pubkey(p.name): p.behaviour for p in population.people},
        victims={
            population.pubkey(copier): population.pubkey(victim)
            for copier, victim in casting.victims.items()
        },
        friends=frozenset(
            population.pubkey(p.name)
            for p in population.people
            if p.behaviour == "free-rider" or p.behaviour in FAKERS
        ),
        codec=honest.codec,
        claim_epsilon=honest.claim_epsilon,
        find_outside=honest.find_outside,
    )


def assign_shards(
    task: TaskDocument, population: Population, workload: Workload, blobs: DirectoryBlobs
) -> dict[str, str]:
    """Store what each trainer of an audited run is assigned; return the blobs by key.

    Who has no data of its own in a scenario is assigned somebody's: it will not train on it.
    """
    if not is_audited(task):
        return {}
    names = workload.publish_shards(blobs)
    trainers = population.named("trainer")
    owners = [person for person in trainers if has_shard(person)]
    owned = {p.name: name for p, name in zip(owners, names, strict=True)}
    return {population.pubkey(p.name): owned.get(p.name, names[0]) for p in trainers}


def take_secrets(task: TaskDocument, population: Population, run_dir: RunDir) -> dict[str, bytes]:
    """Return each trainer's own 32 bytes, from the run's secret; none without privacy.

    Not from the members' keys: those of a local run derive from the task, which everybody can read.
    """
    if task.privacy.mode == "none":
        return {}
    noise_key = run_dir.take_noise_key()
    return {
        population.pubkey(person.name): derive_stream_key(noise_key, person.name)
        for person in population.named("trainer", "canary")
    }


def shift_labels(class_count: int, seed: int) -> list[int]:
    """A permutation that leaves no class where it was: what a poisoner teaches."""
    shift = random.Random(f"{seed}/poison").randrange(1, max(2, class_count))
    return [(label + shift) % class_count for label in range(class_count)]
