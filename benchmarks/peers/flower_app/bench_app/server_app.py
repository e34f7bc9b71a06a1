"""The ServerApp: FedAvg with a clock; writes the times and the weights' norm to a file."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from reference_work import build_net, clone_state, compute_norm

from bench_app import SETTINGS

app = ServerApp()


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


@app.main()
def main(grid: Grid, context: Context) -> None:
    torch.set_num_threads(1)
    strategy = TimedFedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=SETTINGS["clients"],
        min_available_nodes=SETTINGS["clients"],
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(clone_state(build_net(SETTINGS["work"]))),
        num_rounds=SETTINGS["rounds"],
    )
    report = {
        "seconds": [end - start for start, end in pairwise(strategy.times)],
        "norm": compute_norm(result.arrays.to_torch_state_dict()),
    }
    Path(SETTINGS["report"]).write_text(json.dumps(report), encoding="utf-8")
