"""The app in flower_app/ on Flower's own engine: one CPU a client, one Ray actor a core."""

from __future__ import annotations

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from bench_app import SETTINGS
from bench_app.client_app import app as client
from bench_app.server_app import app as server
from flwr.simulation import run_simulation

if __name__ == "__main__":
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=SETTINGS["clients"],
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": os.cpu_count(), "object_store_memory": 500 * 2**20},
        },
    )
