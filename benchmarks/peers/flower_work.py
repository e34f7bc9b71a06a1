"""The reference work in Flower's words: a client's answer, FedAvg with a clock, the engine's size.

Imported by `flower_round` (Flower's engine beside others) and by the app in `flower_app` (the same
app on two engines).
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from reference_work import build_net, load_shards, train_client

# one CPU a client, as many Ray actors as there are cores
BACKEND_CONFIG = {
    "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    "init_args": {"num_cpus": os.cpu_count(), "object_store_memory": 500 * 2**20},
}
kept: dict[str, Any] = {}  # network and shards, once a process


def answer(
    message: Message, context: Context, work: str, clients: int, digits_file: str
) -> Message:
    """Train one client from the message's model; the reply holds its model and sample count."""
    torch.set_num_threads(1)
    if "shards" not in kept:
        kept["net"] = build_net(work)
        kept["shards"] = load_shards(work, clients, digits_file)
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
