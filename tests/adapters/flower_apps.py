"""Small Flower apps, written out as files: what a test changes is one function's body."""

from __future__ import annotations

from pathlib import Path

PYPROJECT = """\
[project]
name = "{package}"
version = "1.0.0"
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "{package}.server_app:app"
clientapp = "{package}.client_app:app"
[tool.flwr.app.config]
num-server-rounds = 2
lr = 0.5
name = "plain"
[tool.flwr.app.config.deep]
key = 1
"""
SERVER = """\
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()

@app.main()
def main(grid, context):
    strategy = FedAvg(fraction_evaluate=0.0)
    rounds = context.run_config["num-server-rounds"]
    arrays = ArrayRecord([np.zeros(3, np.float32)])
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=rounds)
    print("final", result.arrays.to_numpy_ndarrays()[0].tolist())
"""
CLIENT = """\
import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    partition = context.node_config["partition-id"]
{body}
"""
ADD_ONE = """\
    values = message.content["arrays"].to_numpy_ndarrays()[0] + partition
    metrics = MetricRecord({"num-examples": partition + 1, "loss": float(partition)})
    content = RecordDict({"arrays": ArrayRecord([values]), "metrics": metrics})
    return Message(content=content, reply_to=message)
"""


def write_app(
    folder: Path, body: str = ADD_ONE, package: str = "tiny_app", server: str = SERVER
) -> Path:
    """Write an app whose train function is `body`; return its folder."""
    (folder / package).mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT.format(package=package), encoding="utf-8")
    (folder / package / "__init__.py").write_text("", encoding="utf-8")
    (folder / package / "server_app.py").write_text(server, encoding="utf-8")
    client = CLIENT.replace("{body}", body)
    (folder / package / "client_app.py").write_text(client, encoding="utf-8")
    return folder
