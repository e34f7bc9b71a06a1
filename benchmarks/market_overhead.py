"""What the market adds to training: the same rounds with and without it, and its traffic.

    python benchmarks/market_overhead.py [--rounds 10] [--seconds 30] [--save FOLDER]

Five providers train `--rounds` rounds, each about `--seconds` long on this machine (calibrated by
the number of local iterations). First without a market: their work is called directly, in five
threads, and judged and combined by the same code. Then as five providers and a customer over two
relays, a blob server, sealed updates, hold invoices and journals on the disk, in one process. Same
models, byte for byte, or it ends with an error. Goals: at most 3 % more time, at most 50 kB of
events for each provider and round.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROVIDERS = 5
JOB = """
name = "overhead"
seed = 5

[model]
recipe = "mlp"

[data]
source = "mnist5k"
partition = "iid"
trainers = {providers}

[training]
rounds = {rounds}
local_iterations = {iterations}
batch_size = 64
learning_rate = 0.02
weighting = "samples"
slim = false

[model_rewards]
policy = "equal"

[market]
bid_sat = 10
budget_sat = 10000
offers_s = 30
offers_enough = {providers}
train_s = 900
reveal_s = 60
judge_s = 120
min_gain_ppm = -1000000000
peer_margin_ppm = 1000000000
"""


def play_directly(job_text: str, folder: Path) -> tuple[float, list[str]]:
    """Return seconds and the models of all rounds, the last one included."""
    task, _ = parse_job(job_text)
    blobs = LocalBlobs(folder / "blobs")
    customer = MarketCustomer(task, folder, blobs)
    prepared = customer.prepare()
    providers = [MarketProvider(blobs) for _ in range(PROVIDERS)]
    for provider in providers:
        provider.open(make_order(prepared, 1, prepared.model, 0, 0))
    model, previous, state, models = prepared.model, None, None, []
    began = time.perf_counter()
    with ThreadPoolExecutor(PROVIDERS) as pool:
        for number in range(1, task.training.rounds + 1):
            orders = [
                make_order(prepared, number, model, shard, find_seed(number, shard))
                for shard in range(PROVIDERS)
            ]
            updates = list(pool.map(lambda p, o: p.train(o), providers, orders))
            names = [f"{shard:064x}" for shard in range(PROVIDERS)]
            candidates = tuple(
                Candidate(name, done.update, shard)
                for shard, (name, done) in enumerate(zip(names, updates, strict=True))
            )
            customer.judge(JudgeOrder(number, model, previous, candidates, "0" * 64))
            counts = prepared.sample_counts
            included = tuple(
                (name, done.update, counts[shard])
                for shard, (name, done) in enumerate(zip(names, updates, strict=True))
            )
            made = customer.combine(
                CombineOrder(number, model, state, previous, included, "0" * 64)
            )
            previous, model, state = model, made.model, made.server_state
            models.append(model)
    seconds = time.perf_counter() - began
    customer.close()
    return seconds, models


def make_order(prepared: Prepared, number: int, model: str, shard: int, seed: int) -> TrainOrder:
    return TrainOrder(
        number,
        prepared.task,
        prepared.code,
        prepared.input_shape,
        prepared.class_count,
        model,
        prepared.shards[shard],
        seed,
    )


def find_seed(number: int, shard: int) -> int:
    return 1_000 * number + shard


def play_on_market(job_text: str, folder: Path) -> tuple[float, object]:
    """Return seconds from the first request to the last model, and the outcome."""
    times: list[float] = []

    def tell(_plan: object, state: object, _keys: object) -> None:
        if state.round and not times and state.phase == "round":
            times.append(time.perf_counter())
        if state.phase in ("paying", "closed") and len(times) == 1:
            times.append(time.perf_counter())

    cast = tuple(demo.Cast(f"p{i}", "honest", 5) for i in range(PROVIDERS))
    script = demo.Script(job_text, cast, funds_msat=20_000_000)
    outcome = asyncio.run(demo.play(folder, script, tell))
    return times[1] - times[0], outcome


def calibrate(seconds: float, folder: Path) -> int:
    """Find how many local iterations make a round about so long."""
    taken = {}
    for name, iterations in (("warm", 20), ("few", 100), ("many", 1_100)):
        text = JOB.format(rounds=1, iterations=iterations, providers=PROVIDERS)
        taken[name], _ = play_directly(text, folder / name)
    each_s = (taken["many"] - taken["few"]) / 1_000
    return max(20, round((seconds - taken["few"]) / each_s + 100))


def main() -> None:
    """Play both, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0)
    add_save_option(parser, "market_overhead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        iterations = calibrate(options.seconds, folder)
        text = JOB.format(rounds=options.rounds, iterations=iterations, providers=PROVIDERS)
        direct_s, models = play_directly(text, folder / "direct")
        (folder / "market").mkdir()
        market_s, outcome = play_on_market(text, folder / "market")
        again_s, again = play_directly(text, folder / "again")
    assert models == again, "the direct runs differ: the comparison means nothing"
    mean_s = (direct_s + again_s) / 2
    per = outcome.event_bytes / (PROVIDERS * options.rounds)
    out = Printout("market_overhead", options.save)
    table = Table(title=f"{options.rounds} rounds, {PROVIDERS} providers, {iterations} iterations")
    for head in ("", "seconds", "of the mean without"):
        table.add_column(head, justify="right")
    table.add_row("without the market, before", f"{direct_s:.1f}", f"{direct_s / mean_s:.3f}")
    table.add_row("over the market", f"{market_s:.1f}", f"{market_s / mean_s:.3f}")
    table.add_row("without the market, after", f"{again_s:.1f}", f"{again_s / mean_s:.3f}")
    out.show(table)
    traffic = Table(title="signed events on each relay")
    for head in ("events", "bytes", "kB a provider and round", "accepted rounds paid"):
        traffic.add_column(head, justify="right")
    paid = sum(member.accepted for member in outcome.state.members.values())
    traffic.add_row(
        str(outcome.event_count), f"{outcome.event_bytes:,}", f"{per / 1000:.1f}", str(paid)
    )
    out.show(traffic)
    out.save()


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    import torch

    torch.set_num_threads(1)
    from rich.table import Table

    from kumiai.adapters.compute.market.customer import MarketCustomer
    from kumiai.adapters.compute.market.provider import MarketProvider
    from kumiai.adapters.store.local_blobs import LocalBlobs
    from kumiai.apps.market import demo
    from kumiai.apps.market.jobfile import parse_job
    from kumiai.nodes.market.work import (
        Candidate,
        CombineOrder,
        JudgeOrder,
        Prepared,
        TrainOrder,
    )
    from saved_tables import Printout, add_save_option

    main()
