"""The app in flower_app/ on Flower's own engine: one CPU a client, one Ray actor a core."""

from __future__ import annotations

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from bench_app import SETTINGS
from bench_app.client_app import app as client
from bench_app.server_app import app as server
from flower_work import BACKEND_CONFIG
from flwr.simulation import run_simulation

if __name__ == "__main__":
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=SETTINGS["clients"],
        backend_config=BACKEND_CONFIG,
    )
