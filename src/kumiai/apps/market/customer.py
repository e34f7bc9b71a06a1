"""A customer's job from the file to the model: make its folder, run its node, keep the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.apps.market.assembly import Services, assemble
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import JobFile, parse_job, read_job_file
from kumiai.apps.market.places import Places, complete_places, need_wallet, read_spendable
from kumiai.apps.market.planning import MSAT, compute_round_msat, make_plan
from kumiai.apps.market.purses import open_purses
from kumiai.apps.market.running import OnRelay, run_until
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
from kumiai.nodes.market.carry_money import find_limit
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.intents import Action
from kumiai.nodes.market.node import Observer
from kumiai.nodes.market.ports import WalletPort
from kumiai.nodes.market.record import InputCodec, decode_value, encode_value
from kumiai.nodes.market.replay import replay

KIND = "customer"
COMMANDS = (Begin, Accept, Cancel, Rate)
MODEL_FILE = "model.safetensors"


async def check_job(job: JobFile, places: Places, settings: Mapping[str, str]) -> Places:
    """Return the places that the job will use; the wallet must be there and able to pay a round.

    InputError says what is wrong; nothing was made.
    """
    market = job.market
    written = Places(market.relays, market.blobs, market.wallet, "", market.ecash)
    full = complete_places(places, settings, written, job.base_dir)
    need_wallet(full, "who pays")
    least_msat = compute_round_msat(job, has_fees=not full.is_play_money)
    least_sat = -(-least_msat // MSAT)
    if market.budget_sat * MSAT < least_msat:
        fix = (
            f"one round may cost {least_sat} sat with the fees of its payments: raise it,"
            " or lower bid_sat"
        )
        raise InputError("market.budget_sat", market.budget_sat, fix)
    has_msat = await read_spendable(full, settings)
    if has_msat is not None and has_msat < least_msat:
        fix = f"it holds {has_msat // MSAT} sat, and one round may cost {least_sat} sat"
        if full.is_play_money:
            fix += f": `kumiai wallet fund {full.wallet} {market.budget_sat}sat` makes play money"
        raise InputError("--wallet", full.wallet_shown, fix)
    return full


def create_job(job_path: Path, folder: MarketFolder, places: Places) -> CustomerPlan:
    """Read the job, prepare its data, and write down what is decided; nothing is posted yet.

    places: all of them, as `check_job` returns them. InputError for what is wrong with the job; the
    folder is not made before all of that is known.
    """
    from kumiai.adapters.compute.market.customer import MarketCustomer

    job = read_job_file(job_path)
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
            has_fees=not places.is_play_money,
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


def move_job(folder: MarketFolder, given: Places) -> None:
    """From now on the job's node uses these relays and blob servers, where any are named."""
    plan, places, _ = read_plan(folder)
    new = complete_places(given, {}, places)
    if new != places:
        job_text = folder.read_plan(KIND)["job"]
        base_dir = Path(folder.read_plan(KIND)["base_dir"])
        save_job(folder, job_text, base_dir, new, plan)


def read_plan(folder: MarketFolder) -> tuple[CustomerPlan, Places, JobFile]:
    """Return what a customer's folder holds; InputError if it is none."""
    document = folder.read_plan(KIND)
    try:
        # a plan from before fees were reserved goes on as it began: its journal was folded so
        plan = decode_value(CustomerPlan, {"has_fees": False, **document["plan"]})
        places = decode_value(Places, document["places"])
        task, market = parse_job(document["job"])
    except (ValueError, KeyError, TypeError) as error:
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


def read_limit(folder: MarketFolder) -> WalletError | None:
    """Return the limit of the own wallet at which the job's last payment failed, if it did so."""
    if not folder.money_path.is_file():
        return None
    with SqliteIntents(folder.money_path, is_readonly=True) as kept:
        paid = [record for record in kept.list_all() if record.intent.action is Action.PAY]
    if not paid:
        return None
    return find_limit(max(paid, key=lambda record: record.intent.created_at_s))


def is_closed(state: CustomerState) -> bool:
    """Tell whether the job is over and everybody was told so."""
    is_said = not any(key.startswith(("publish/", "refund/")) for key in state.pending)
    return state.phase is Phase.CLOSED and is_said


def is_settled(state: CustomerState) -> bool:
    """Tell whether no money of the job is under way any more; a blob on its way is none."""
    is_still = all(key.startswith("store/") for key in state.pending)
    return is_closed(state) and is_still and not state.reserved_msat


async def run_job(
    folder: MarketFolder,
    observer: Observer,
    settings: Mapping[str, str],
    on_relay: OnRelay | None = None,
) -> CustomerState:
    """Run the job's node until the job is closed; the model lies in the folder then.

    settings: of the environment, for wallets. Cancelling the task stops the node; another call goes
    on where it was. Called again for a closed job, it waits until no money is under way.
    """
    from kumiai.adapters.compute.market.customer import MarketCustomer

    plan, places, job = read_plan(folder)
    was_closed = read_state(folder)[1].phase is Phase.CLOSED
    async with AsyncExitStack() as opened:
        wallet, ecash = await opened.enter_async_context(open_purses(places, folder, settings))
        blobs = LocalBlobs(folder.blobs_path)
        work = opened.enter_context(closing(MarketCustomer(job.task, job.base_dir, blobs)))
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
            is_over = is_settled if was_closed else is_closed
            state: CustomerState = await run_until(member, folder, is_over, COMMANDS, on_relay)
        write_result(folder, state, work)
        return state


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
