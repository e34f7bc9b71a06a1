"""A customer's job from the file to the model: make its folder, run its node, keep the result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.adapters.payments.open import open_wallet
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.apps.market.assembly import Member, Services, assemble
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import JobFile, parse_job, read_job_file
from kumiai.apps.market.planning import make_plan
from kumiai.apps.market.purses import open_ecash
from kumiai.apps.market.saying import take_commands
from kumiai.base.errors import InputError
from kumiai.market.customer import (
    Accept,
    Begin,
    Cancel,
    Customer,
    CustomerPlan,
    CustomerState,
    Phase,
    Rate,
)
from kumiai.nodes.market.node import Observer
from kumiai.nodes.market.ports import WalletPort
from kumiai.nodes.market.record import InputCodec, decode_value, encode_value
from kumiai.nodes.market.replay import replay

KIND = "customer"
COMMANDS = (Begin, Accept, Cancel, Rate)
MODEL_FILE = "model.safetensors"
SENDING_S = 20.0  # for relays to take the last events, before the node ends
LOOK_S = 0.5  # between two looks for commands of other terminals


@dataclass(frozen=True, slots=True)
class Places:
    """Where a member meets others, as its owner said."""

    relays: tuple[str, ...]
    blobs: tuple[str, ...]
    wallet: str
    secret_file: str = ""
    ecash: str = ""


def create_job(job_path: Path, folder: MarketFolder, places: Places) -> CustomerPlan:
    """Read the job, prepare its data, and write down what is decided; nothing is posted yet.

    InputError for what is wrong with the job; the folder is not made before all of that is known.
    """
    from kumiai.adapters.compute.market.customer import MarketCustomer

    job = read_job_file(job_path)
    places = _complete(places, job)
    text = job_path.read_text(encoding="utf-8")
    if folder.exists:
        folder.create()  # says that somebody lives there
    blobs = LocalBlobs(folder.blobs_path)
    work = MarketCustomer(job.task, job.base_dir, blobs)
    try:
        folder.create()
        plan = make_plan(
            job,
            work.prepare(),
            blobs,
            folder.read_key().pubkey,
            folder.read_secret(),
            places.relays,
            job.market.arbiter,
        )
    finally:
        work.close()
    save_job(folder, text, job.base_dir, places, plan)
    return plan


def save_job(
    folder: MarketFolder, job_text: str, base_dir: Path, places: Places, plan: CustomerPlan
) -> None:
    """Write down everything that a customer's node needs to go on at any time."""
    folder.write_plan(
        KIND,
        {
            "job": job_text,
            "base_dir": str(base_dir),
            "places": encode_value(places),
            "plan": encode_value(plan),
        },
    )


def _complete(places: Places, job: JobFile) -> Places:
    market = job.market
    full = Places(
        places.relays or market.relays,
        places.blobs or market.blobs,
        places.wallet or market.wallet,
        places.secret_file,
        places.ecash or market.ecash,
    )
    if not full.wallet:
        fix = "say who pays: --wallet embedded:FILE#NAME, or market.wallet in the job"
        raise InputError("--wallet", "", fix)
    return full


def read_plan(folder: MarketFolder) -> tuple[CustomerPlan, Places, JobFile]:
    """Return what a customer's folder holds; InputError if it is none."""
    document = folder.read_plan(KIND)
    try:
        plan = decode_value(CustomerPlan, document["plan"])
        places = decode_value(Places, document["places"])
        task, market = parse_job(document["job"])
    except (ValueError, KeyError) as error:
        raise InputError("DIR", str(folder.plan_path), f"cannot be read: {error}") from error
    return plan, places, JobFile(task, market, Path(document["base_dir"]))


def read_state(folder: MarketFolder) -> tuple[CustomerPlan, CustomerState]:
    """Fold the journal of a job, also while its node runs elsewhere."""
    plan, _, _ = read_plan(folder)
    if not folder.journal_path.is_file():
        return plan, CustomerState()
    journal = SqliteMarketJournal(folder.journal_path, KIND, is_readonly=True)
    try:
        state = replay(Customer(plan), InputCodec(*COMMANDS), journal.read())
    finally:
        journal.close()
    return plan, state


async def run_job(
    folder: MarketFolder, observer: Observer, settings: Mapping[str, str]
) -> CustomerState:
    """Run the job's node until the job is closed; the model lies in the folder then.

    settings: of the environment, for wallets. Cancelling the task stops the node; another call goes
    on where it was.
    """
    from kumiai.adapters.compute.market.customer import MarketCustomer

    plan, places, job = read_plan(folder)
    secret_file = Path(places.secret_file) if places.secret_file else None
    wallet = await open_wallet(places.wallet, settings=settings, secret_file=secret_file)
    ecash = open_ecash(places.ecash, folder)
    work = MarketCustomer(job.task, job.base_dir, LocalBlobs(folder.blobs_path))
    try:
        member = assemble(
            folder,
            Customer(plan),
            COMMANDS,
            Services(places.relays, places.blobs, wallet, ecash),
            name=KIND,
            customer_work=work,
            observer=observer,
        )
        async with member:
            await member.node.say(Begin())
            state = await _until(member, folder, is_over, COMMANDS)
        write_result(folder, state, work)
        return state
    finally:
        work.close()
        await wallet.close()
        if ecash is not None:
            await ecash.close()


def is_over(state: CustomerState) -> bool:
    """Tell whether the job is closed, all of it is said, and no ecash is just coming back.

    Ecash whose locktime is still to come is not waited for: it is asked back by another call.
    """
    under_way = [key for key in state.pending if key.startswith(("publish/", "refund/"))]
    return state.phase is Phase.CLOSED and not under_way


async def _until(
    member: Member, folder: MarketFolder, holds: Callable[[Any], bool], commands: Sequence[type]
) -> Any:
    """Pass other terminals' commands on until the state is as wanted, or the node fails."""
    asking = asyncio.create_task(_pass_on(member, folder, commands))
    waiting = asyncio.create_task(member.node.wait_until(holds))
    try:
        done, _ = await asyncio.wait(
            [asking, waiting, member.task], return_when=asyncio.FIRST_COMPLETED
        )
        if waiting in done:
            await member.node.wait_sent(SENDING_S)
            return waiting.result()
        for task in done:
            task.result()
        raise asyncio.CancelledError
    finally:
        asking.cancel()
        waiting.cancel()


async def _pass_on(member: Member, folder: MarketFolder, commands: Sequence[type]) -> None:
    while True:
        for path, command in take_commands(folder.commands_path, commands):
            await member.node.say(command)
            path.unlink(missing_ok=True)
        await asyncio.sleep(LOOK_S)


run_until = _until


def write_result(folder: MarketFolder, state: CustomerState, work: Any) -> None:
    """Write the customer's model, named tensors in one file, what it is worth, and the page."""
    from kumiai.apps.market.page import write_page

    if state.history:
        _write_model(folder, state, work)
    write_page(folder)


def _write_model(folder: MarketFolder, state: CustomerState, work: Any) -> None:
    from safetensors.torch import save_file

    path = folder.root / MODEL_FILE
    tensors = work.name_tensors(state.model)
    save_file(tensors, path, {"format": "pt", "recipe": work.job.recipe.name})
    loss, accuracy = work.measure(state.model, work.test)
    report = {
        "model": state.model,
        "file": MODEL_FILE,
        "test_loss_ppm": loss,
        "test_accuracy_ppm": accuracy,
        "outcome": state.outcome,
        "spent_msat": state.spent_msat,
    }
    (folder.root / "result.json").write_text(json.dumps(report, indent=1), encoding="utf-8")


async def read_balance(wallet: WalletPort) -> int:
    """What can be spent, in msat."""
    return (await wallet.get_balance()).spendable_msat
