"""The reference work in Flower's engine: flower_round.py WORK CLIENTS ROUNDS DIGITS_FILE.

`run_simulation` with one CPU a client, as many Ray actors as there are cores.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import pairwise

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from reference_work import (
    build_net,
    clone_state,
    compute_norm,
    load_shards,
    report,
    time_bare,
    train_client,
)

WORK, CLIENTS, ROUNDS, DIGITS_FILE = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
ARGUMENTS = {"work": WORK, "clients": CLIENTS, "digits_file": DIGITS_FILE}

client = ClientApp()
server = ServerApp()
kept: dict[str, object] = {}


@client.train()
def train(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)
    config = message.content["config"]
    if "shards" not in kept:
        kept["net"] = build_net(config["work"])
        kept["shards"] = load_shards(config["work"], config["clients"], config["digits_file"])
    net = kept["net"]
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    count = train_client(net, *kept["shards"][int(context.node_config["partition-id"])])
    content = {
        "arrays": ArrayRecord(net.state_dict()),
        "metrics": MetricRecord({"num-examples": count}),
    }
    return Message(content=RecordDict(content), reply_to=message)


class TimedFedAvg(FedAvg):
    """Notes the time at the start of the first round and at the end of each."""

    times: list[float]

    def configure_train(self, server_round, arrays, config, grid):
        if server_round == 1:
            while len(list(grid.get_node_ids())) < self.min_available_nodes:
                time.sleep(0.05)
            self.times = [time.perf_counter()]
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round, replies):
        result = super().aggregate_evaluate(server_round, replies)
        self.times.append(time.perf_counter())
        return result


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
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": os.cpu_count(), "object_store_memory": 500 * 2**20},
        },
    )
