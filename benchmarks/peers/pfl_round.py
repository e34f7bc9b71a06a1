"""The reference work in Apple's pfl: python pfl_round.py WORK CLIENTS ROUNDS DIGITS_FILE."""

from __future__ import annotations

import sys
import time
from itertools import pairwise

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from reference_work import (
    BATCH_SIZE,
    LEARNING_RATE,
    build_net,
    clone_state,
    compute_norm,
    load_shards,
    report,
    time_bare,
)
from torch.nn import functional


class Clock(TrainingProcessCallback):
    """Notes the time at the start and after every round."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *, model):
        self.times.append(time.perf_counter())
        return Metrics()

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        self.times.append(time.perf_counter())
        return False, Metrics()


def wrap_net(work: str) -> torch.nn.Module:
    """pfl asks the module itself for loss and metrics."""
    net = build_net(work)

    class Net(type(net)):
        def loss(self, x, y, eval=False):
            return functional.cross_entropy(self(x), y)

        @torch.no_grad()
        def metrics(self, x, y, eval=False):
            return {"n": Weighted(len(x), 1)}

    net.__class__ = Net
    return net


def main() -> None:
    work, clients, rounds, digits_file = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
    torch.set_num_threads(1)
    shards = load_shards(work, clients, digits_file)
    bare = time_bare(work, shards, 3)
    sampler = get_user_sampler("minimize_reuse", list(range(clients)))
    data = FederatedDataset(lambda c: Dataset(shards[int(c)], user_id=str(c)), sampler)
    net = wrap_net(work)
    clock = Clock()
    model = FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds + 1,
            train_cohort_size=clients,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data),
        model=PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0)),
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=LEARNING_RATE, local_batch_size=BATCH_SIZE
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[clock],
    )
    # the callback may be called once more at the end
    times = clock.times[: rounds + 1]
    seconds = [end - start for start, end in pairwise(times)]
    bare += time_bare(work, shards, 3)
    report(seconds, compute_norm(clone_state(model.pytorch_model)), bare)


if __name__ == "__main__":
    main()
