"""DiLoCo over a market's providers beside one central run of the same token budget.

    python benchmarks/market_training.py [--quick] [--alone 5000] [--rounds 34] [--iterations 300]
        [--optimizer adamw] [--batch 8] [--rate 0.01] [--central-rates 0.005 0.01]
        [--outer-rate 0.7] [--momentum 0.9]
        [--codec int4] [--heads 1] [--processes 2] [--save docs/results]

The corpus `sotu` (State of the Union addresses, character by character), samples of 32 characters,
dealt evenly; the transformer recipe, 1 layer. The market: five providers, each in a process with a
store of its own, do exactly what a provider does (`adapters.compute.market`): task, model and shard
are blobs, one order a round, H = --iterations local iterations of --batch samples, the update as a
payload of the task's codec; the customer combines with outer Nesterov momentum. Inner optimisers
start anew in each round. Before it posts the job the customer trains --alone iterations of --batch
samples itself, as DiLoCo's authors do: models that part at random weights have no good mean. Those
tokens count.

central  one machine with all of the shards, from random weights: iterations of 5 x --batch samples,
         as many as take the same tokens; its optimiser is never reset, its rate follows the same
         cosine iteration by iteration. The best of --central-rates on the hold-out; what is
         reported is the test part.

bytes    of one provider. DiLoCo: every round the model down and the update up, as their blobs are.
         Per-step data parallel: every iteration the gradient up and the sum down, float32, without
         those --alone. Neither counts the shard, which both need once; beside the goal it is told
         what it makes of the ratio.

Goals: the final test loss within 1 % of the central run's, and at least 500 times fewer bytes.
As measured with the defaults (AdamW within and beside, as DiLoCo's authors have it), seed 1: 1.7901
nats a character beside 1.7790, +0.6 %, and 524 times fewer bytes. With Muon on both sides the
central run is better and the gap wider: --optimizer muon --rate 0.03 --central-rates 0.02 0.03
--heads 2 gave 1.5407 beside 1.5066, +2.3 %.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.table import Table

from kumiai.adapters.compute.market import MarketCustomer, MarketProvider
from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.base.canonical import sha256_hex
from kumiai.learning import fixed_point
from kumiai.learning.layout import flatten, unflatten
from kumiai.learning.local_rules.wrappers import RATE
from kumiai.learning.rates import PPM, RateSchedule, compute_rate_ppm
from kumiai.learning.schedule import plan_batches
from kumiai.nodes.market.work import CombineOrder, Trained, TrainOrder
from kumiai.tasks.document import TaskDocument, task_from_mapping
from saved_tables import Printout, add_save_option

PROVIDERS, LENGTH, FINAL_SHARE = 5, 32, 0.02
QUICK = {"alone": 100, "rounds": 3, "iterations": 60}
LOSS_GOAL, BYTES_GOAL = 0.01, 500


@dataclass(frozen=True)
class Ended:
    """How a run ended. bytes: of one provider, without its shard; holdout, test: nats a token."""

    name: str
    tokens: int
    holdout: float
    test: float
    bytes: int
    seconds: float


def make_task(given: argparse.Namespace) -> TaskDocument:
    """Return the market's task."""
    return task_from_mapping(
        {
            "name": "market training",
            "seed": given.seed,
            "data": {
                "mode": "assigned",
                "source": "sotu",
                "options": {"length": LENGTH},
                "trainers": PROVIDERS,
                "partition": "iid",
                "holdout": 0.02,
                "test": 0.04,
            },
            "validation": {"validators": 1},
            "model": {
                "recipe": "transformer",
                "options": {"layers": 1, "heads": given.heads, "head_size": 16},
                "widths": [1.0],
            },
            "training": {
                "rounds": given.rounds,
                "local_iterations": given.iterations,
                "batch_size": given.batch,
                "slim": False,
                "optimizer": given.optimizer,
                "learning_rate": given.rate,
                "lr_schedule": "cosine",
                "lr_final": FINAL_SHARE,
                "algorithm": "diloco",
                "server_learning_rate": given.outer_rate,
                "server_momentum": given.momentum,
                "codec": given.codec,
            },
        }
    )


@cache
def open_provider(folder: str) -> MarketProvider:
    """Return this process's provider; it keeps the opened job from round to round."""
    return MarketProvider(DirectoryBlobs(Path(folder)))


def train_one(folder: str, order: TrainOrder) -> Trained:
    """Do one order."""
    return open_provider(folder).train(order)


def run_market(given: argparse.Namespace, customer: MarketCustomer, folder: Path) -> Ended:
    """Train over the market; print a line now and then."""
    started, prepared = time.perf_counter(), customer.prepare()
    model, previous, state = prepared.model, None, None
    if given.alone:
        start_P = train_centrally(given, customer, given.alone, given.batch, given.rate, "constant")
        ints_P = fixed_point.quantise(start_P.numpy())
        model = customer.blobs.put(fixed_point.encode_vector("model", ints_P))
        print(f"alone: test loss {customer.measure(model, customer.test)[0] / PPM:.4f}", flush=True)
    down = (folder / model[:2] / model).stat().st_size
    sent, tokens = 0, given.alone * given.batch * LENGTH
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        for number in range(1, given.rounds + 1):
            orders = [
                TrainOrder(
                    number,
                    prepared.task,
                    prepared.code,
                    prepared.input_shape,
                    prepared.class_count,
                    model,
                    shard,
                    int(sha256_hex(f"{given.seed}/{number}/{place}".encode())[:15], 16),
                )
                for place, shard in enumerate(prepared.shards)
            ]
            done = list(pool.map(train_one, [str(folder)] * PROVIDERS, orders))
            included = tuple((str(place), each.update, 1) for place, each in enumerate(done))
            seed = sha256_hex(str(number).encode())
            combined = customer.combine(
                CombineOrder(number, model, state, previous, included, seed)
            )
            previous, model, state = model, combined.model, combined.server_state
            sent += down + max(each.size_bytes for each in done)
            tokens += sum(each.iteration_count for each in done) * given.batch * LENGTH
            if number % max(1, given.rounds // 8) == 0:
                loss = customer.measure(model, customer.test)[0] / PPM
                print(f"round {number}: test loss {loss:.4f}, {tokens:,} tokens", flush=True)
    name = f"DiLoCo, {PROVIDERS} providers, H = {given.iterations}, {given.codec}"
    losses = (customer.measure(model, part)[0] / PPM for part in (customer.holdout, customer.test))
    return Ended(name, tokens, *losses, sent, time.perf_counter() - started)


def train_centrally(
    given: argparse.Namespace,
    customer: MarketCustomer,
    count: int,
    size: int,
    rate: float,
    schedule: str,
) -> torch.Tensor:
    """Return the model [P] after `count` iterations of `size` samples of all shards, no rounds."""
    work, job = customer.job.engine.work, customer.job
    inputs, targets = (torch.cat([shard[i] for shard in customer.shards]) for i in (0, 1))
    rates = RateSchedule(schedule, final_ppm=round(FINAL_SHARE * PPM))
    first = customer.blobs.get(customer.prepare().model, 2**30)
    first_P = fixed_point.dequantise(fixed_point.decode_vector("model", first, job.layout.size))
    carry = work.init(unflatten(job.layout, torch.from_numpy(first_P)))
    batches = plan_batches(len(inputs), size, given.seed, iterations=count)
    with torch.no_grad():
        for number, rows in enumerate(batches, start=1):
            share = compute_rate_ppm(rates, number, count) / PPM * rate / given.rate
            carry = carry._replace(slots={**carry.slots, RATE: torch.tensor(share)})
            carry, _ = work.step(carry, carry.params, inputs[rows], targets[rows], None)
    return flatten(job.layout, {**carry.params, **carry.rest})


def run_central(given: argparse.Namespace, customer: MarketCustomer, rate: float) -> Ended:
    """Train one model on all shards: its optimiser lives through the whole run."""
    started, size = time.perf_counter(), PROVIDERS * given.batch
    count = given.rounds * given.iterations + given.alone // PROVIDERS
    vector_P = train_centrally(given, customer, count, size, rate, "cosine")
    holdout, test = (
        float(customer.job.engine.evaluate(vector_P[None], *part)[0][0])
        for part in (customer.holdout, customer.test)
    )
    sent = given.rounds * given.iterations * 2 * 4 * customer.job.layout.size
    name = f"central, {PROVIDERS} x batch, rate {rate:g}"
    tokens = count * size * LENGTH
    return Ended(name, tokens, holdout, test, sent, time.perf_counter() - started)


def build_table(rows: list[Ended], base: Ended, title: str) -> Table:
    """Return the rows as they are printed."""
    table = Table(title=title)
    for name in ("run", "tokens", "hold-out", "test loss", "to central", "bytes", "fewer", "time"):
        table.add_column(name, justify="left" if name == "run" else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.tokens:,}",
            f"{row.holdout:.4f}",
            f"{row.test:.4f}",
            f"{row.test / base.test - 1:+.2%}",
            f"{row.bytes:,}",
            f"{base.bytes / row.bytes:,.0f} x",
            f"{row.seconds:.0f} s",
        )
    return table


def read_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a minute: shows that it runs")
    parser.add_argument("--alone", type=int, default=5_000, help="iterations before the job")
    parser.add_argument("--rounds", type=int, default=34)
    parser.add_argument("--iterations", type=int, default=300, help="of a provider in a round")
    parser.add_argument("--batch", type=int, default=8, help="samples of a provider's iteration")
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "muon"))
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--central-rates", type=float, nargs="+", default=[0.005, 0.01])
    parser.add_argument("--outer-rate", type=float, default=0.7)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--codec", default="int4")
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    add_save_option(parser, "market_training")
    given = parser.parse_args()
    if given.quick:
        for name, value in QUICK.items():
            setattr(given, name, value)
    return given


def main() -> None:
    """Print the table and what became of the goals."""
    given = read_arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        customer = MarketCustomer(make_task(given), Path.cwd(), DirectoryBlobs(folder))
        market = run_market(given, customer, folder)
        tried = [run_central(given, customer, rate) for rate in given.central_rates]
        shard = max((folder / n[:2] / n).stat().st_size for n in customer.prepare().shards)
    central = min(tried, key=lambda each: each.holdout)
    size = customer.job.layout.size
    title = f"sotu, transformer of {size:,} numbers, {given.optimizer}, seed {given.seed}"
    printout = Printout("market_training", given.save)
    printout.show(build_table([*tried, market], central, title))
    gap, ratio = market.test / central.test - 1, central.bytes / market.bytes
    whole = (central.bytes + shard) / (market.bytes + shard)
    printout.say(
        f"loss: {gap:+.2%} to the central run, goal within {LOSS_GOAL:.0%}: "
        f"{'yes' if gap <= LOSS_GOAL else 'no'}"
    )
    printout.say(
        f"bytes: {ratio:,.0f} times fewer than per-step data parallel, goal {BYTES_GOAL}: "
        f"{'yes' if ratio >= BYTES_GOAL else 'no'}; {whole:,.0f} with the shard of {shard:,} bytes"
    )
    printout.save()


if __name__ == "__main__":
    main()
