"""The reference work in Flower's engine: flower_round.py WORK CLIENTS ROUNDS DIGITS_FILE.

`run_simulation` with what `flower_work` says of clients and engine.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import torch
from flower_work import BACKEND_CONFIG, TimedFedAvg, answer
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from reference_work import (
    build_net,
    clone_state,
    compute_norm,
    load_shards,
    report,
    time_bare,
)

WORK, CLIENTS, ROUNDS, DIGITS_FILE = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
ARGUMENTS = {"work": WORK, "clients": CLIENTS, "digits_file": DIGITS_FILE}

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    config = message.content["config"]
    return answer(message, context, config["work"], config["clients"], config["digits_file"])


@server.main()
def main(grid: Grid, context: Context) -> None:
    torch.set_num_threads(1)
    shards = load_shards(WORK, CLIENTS, DIGITS_FILE)
    bare = time_bare(WORK, shards, 3)
    strategy = TimedFedAvg(
        fraction_train=1.0,
        fraction_evaluate=0.0,
        min_train_nodes=CLIENTS,
        min_available_nodes=CLIENTS,
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(clone_state(build_net(WORK))),
        num_rounds=ROUNDS,
        train_config=ConfigRecord(ARGUMENTS),
    )
    times = strategy.times
    seconds = [end - start for start, end in pairwise(times)]
    bare += time_bare(WORK, shards, 3)
    report(seconds, compute_norm(result.arrays.to_torch_state_dict()), bare)


if __name__ == "__main__":
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=CLIENTS,
        backend_config=BACKEND_CONFIG,
    )
