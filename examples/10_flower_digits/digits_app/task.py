"""The network, the data and the local work."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

TEST_COUNT = 360


class Net(nn.Module):
    """64 pixels, 64 hidden units, 10 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(x)))


@cache
def load_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The data set that travels inside scikit-learn, in a fixed order."""
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the digits are in the package scikit-learn, which is not installed")
    path = Path(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    table = table[np.random.default_rng(0).permutation(len(table))]
    return torch.from_numpy(table[:, :64] / 16), torch.from_numpy(table[:, 64].astype(np.int64))


def load_partition(partition: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One node's training samples."""
    x, y = load_digits()
    return x[TEST_COUNT:][partition::count], y[TEST_COUNT:][partition::count]


def load_test() -> tuple[torch.Tensor, torch.Tensor]:
    """The samples that nobody trains on."""
    x, y = load_digits()
    return x[:TEST_COUNT], y[:TEST_COUNT]


def train(
    net: nn.Module, data: tuple[torch.Tensor, torch.Tensor], epochs: int, lr: float, batch: int
) -> float:
    """Plain SGD in the data's order; the mean loss of the last epoch."""
    x, y = data
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(x), batch):
            optimizer.zero_grad()
            part = slice(start, start + batch)
            loss = functional.cross_entropy(net(x[part]), y[part])
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(x[part])
    return total / len(x)


def test(net: nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, float]:
    """Mean loss and accuracy."""
    x, y = data
    with torch.no_grad():
        outputs = net(x)
    loss = float(functional.cross_entropy(outputs, y))
    return loss, float((outputs.argmax(1) == y).float().mean())
