"""The ServerApp: federated averaging with Flower's own strategy."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_app.task import Net, load_test
from digits_app.task import test as test_net

app = ServerApp()


def judge(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Judge the global model on samples that no node has."""
    net = Net()
    net.load_state_dict(arrays.to_torch_state_dict())
    loss, accuracy = test_net(net, load_test())
    return MetricRecord({"test-loss": loss, "test-accuracy": accuracy})


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds and print what the model can do."""
    torch.manual_seed(0)
    rounds = int(context.run_config["num-server-rounds"])
    strategy = FedAvg(fraction_evaluate=float(context.run_config["fraction-evaluate"]))
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        num_rounds=rounds,
        evaluate_fn=judge,
    )
    accuracy = result.evaluate_metrics_serverapp[rounds]["test-accuracy"]
    print(f"test accuracy after {rounds} rounds: {accuracy:.4f}")
