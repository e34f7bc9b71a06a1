"""A judge's life: a member of committees and juries, with a hold-out of its own.

Its task file is the job's, but for `data.source`, which names the judge's own samples: none of them
may have been given to a provider. All of them are the hold-out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.apps.market.assembly import Services, assemble
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import Places, complete_places
from kumiai.apps.market.purses import make_ecash_key, open_ecash
from kumiai.apps.market.running import OnRelay, run_until
from kumiai.apps.wiring import read_task
from kumiai.base.errors import InputError
from kumiai.market.judge import JudgePolicy, JudgeState, Judging, Sit
from kumiai.nodes.market.node import Observer
from kumiai.nodes.market.record import InputCodec, decode_value, encode_value
from kumiai.nodes.market.replay import replay

KIND = "judge"
COMMANDS = (Sit,)


def create_judge(
    task_path: Path, folder: MarketFolder, places: Places, settings: Mapping[str, str]
) -> JudgePolicy:
    """Make a judge's folder; InputError for a task file that cannot be read."""
    read_task(task_path)
    places = complete_places(places, settings)
    folder.create()
    policy = JudgePolicy(folder.read_key().pubkey, folder.read_secret())
    folder.write_plan(
        KIND,
        {
            "task": str(task_path.resolve()),
            "places": encode_value(places),
            "policy": encode_value(policy),
        },
    )
    return policy


def read_policy(folder: MarketFolder) -> tuple[JudgePolicy, Places, Path]:
    """Return what a judge's folder holds; InputError if it is none."""
    document = folder.read_plan(KIND)
    try:
        policy = decode_value(JudgePolicy, document["policy"])
        return policy, decode_value(Places, document["places"]), Path(document["task"])
    except (ValueError, KeyError) as error:
        raise InputError("DIR", str(folder.plan_path), f"cannot be read: {error}") from error


def get_arbiter_key(folder: MarketFolder) -> str:
    """Return the compressed ecash key that a job names as its arbiter."""
    from coincurve import PublicKey

    return PublicKey.from_secret(make_ecash_key(folder).secret).format().hex()


def read_state(folder: MarketFolder) -> tuple[JudgePolicy, JudgeState]:
    """Fold the journal of a judge, also while its node runs elsewhere."""
    policy, _, _ = read_policy(folder)
    if not folder.journal_path.is_file():
        return policy, JudgeState()
    journal = SqliteMarketJournal(folder.journal_path, KIND, is_readonly=True)
    try:
        return policy, replay(Judging(policy), InputCodec(*COMMANDS), journal.read())
    finally:
        journal.close()


async def run_judge(
    folder: MarketFolder, observer: Observer, on_relay: OnRelay | None = None
) -> None:
    """Run the judge's node until the task is cancelled."""
    from kumiai.adapters.compute.market.customer import MarketJudge
    from kumiai.adapters.compute.market.opened import assemble as open_task
    from kumiai.adapters.compute.task_work import load_recipe
    from kumiai.adapters.data.sources import load_source
    from kumiai.adapters.payments.nothing import NoWallet

    policy, places, task_path = read_policy(folder)
    task = read_task(task_path)
    base_dir = task_path.parent
    data = load_source(task.data.source, dict(task.data.options), task.seed, base_dir)
    recipe = load_recipe(task, base_dir, data.input_shape, data.class_count)
    job = open_task(task, recipe, data.input_shape, data.class_count)
    holdout = torch.from_numpy(data.features), torch.from_numpy(data.labels)
    work = MarketJudge(job, LocalBlobs(folder.blobs_path), holdout)
    ecash = open_ecash(places.ecash, folder)
    try:
        member = assemble(
            folder,
            Judging(policy),
            COMMANDS,
            Services(places.relays, places.blobs, NoWallet(), ecash),
            name=KIND,
            customer_work=work,
            observer=observer,
        )
        async with member:
            await member.node.say(Sit())
            await run_until(member, folder, lambda state: False, COMMANDS, on_relay)
    finally:
        work.close()
        if ecash is not None:
            await ecash.close()
