"""The ServerApp: FedAvg with a clock; writes the times and the weights' norm to a file."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import torch
from flower_work import TimedFedAvg
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from reference_work import build_net, clone_state, compute_norm

from bench_app import SETTINGS

app = ServerApp()


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
