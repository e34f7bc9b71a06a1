"""The one work that every framework is timed on, and the bare loop that is the yardstick.

Needs torch and numpy only, so that each peer's own environment can import it.

* digits: 1,437 samples of scikit-learn's handwritten digits (8x8, divided by 16, a fixed
  permutation), a net of 64-64-10 (4,810 numbers). 10 clients of 143 samples or 100 clients of 14.
* cnn: synthetic images 3x32x32 of 10 classes, a net conv32-pool-conv64-pool-32-10 (150,826
  numbers). 10 clients of 320 samples or 100 clients of 64.

One local epoch, batches of 32 in a fixed order with the partial batch kept, SGD at 0.05, all
clients every round, mean weighted by samples, initial weights from seed 0. The order is fixed so
that every framework must end at the same weights: their norm is the check.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LEARNING_RATE = 0.05
BATCH_SIZE = 32
SAMPLES = {("digits", 10): 143, ("digits", 100): 14, ("cnn", 10): 320, ("cnn", 100): 64}
ROUNDS = {("digits", 10): 30, ("digits", 100): 30, ("cnn", 10): 4, ("cnn", 100): 3}

State = dict[str, Tensor]
Shard = tuple[Tensor, Tensor]


class DigitsNet(nn.Module):
    """64-64-10 with ReLU; a narrow one has the leading hidden units."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        hidden = round(64 * width)
        self.hidden = nn.Linear(64, hidden)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(functional.relu(self.hidden(x)))


class ImageNet(nn.Module):
    """Two convolutions of 3x3 with pooling, then 32 and 10 units; a narrow one has the leading."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        first, second, hidden = (round(width * size) for size in (32, 64, 32))
        self.conv1 = nn.Conv2d(3, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.hidden = nn.Linear(second * 8 * 8, hidden)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        return self.out(functional.relu(self.hidden(x.flatten(1))))


def build_net(work: str, width: float = 1.0) -> nn.Module:
    """Return the work's net with weights from seed 0."""
    torch.manual_seed(0)
    return DigitsNet(width) if work == "digits" else ImageNet(width)


def build_recipe_net(width: float, work: str) -> nn.Module:
    """Return the net as a user's recipe gives it."""
    return build_net(work, width)


def load_shards(work: str, clients: int, digits_file: str) -> list[Shard]:
    """Return each client's samples: consecutive slices of equal size."""
    inputs, targets = load_digits(Path(digits_file)) if work == "digits" else make_images()
    size = SAMPLES[work, clients]
    slices = [slice(size * c, size * (c + 1)) for c in range(clients)]
    return [(inputs[part].clone(), targets[part].clone()) for part in slices]


def load_digits(path: Path) -> Shard:
    """Read scikit-learn's own file (`datasets/data/digits.csv.gz`)."""
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    table = table[np.random.default_rng(0).permutation(len(table))][:1437]
    inputs = (table[:, :-1] / 16.0).astype(np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(table[:, -1].astype(np.int64))


def make_images(count: int = 6400) -> Shard:
    """Draw class templates under noise, each image shifted by up to 7 pixels both ways."""
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 10, count).astype(np.int64)
    templates = rng.standard_normal((10, 3, 8, 8)).astype(np.float32)
    templates = templates.repeat(4, axis=2).repeat(4, axis=3)
    images = 0.35 * templates[targets] + rng.standard_normal((count, 3, 32, 32)).astype(np.float32)
    for i, shift in enumerate(rng.integers(0, 8, (count, 2))):
        images[i] = np.roll(images[i], tuple(shift), axis=(1, 2))
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(targets)


def train_client(net: nn.Module, inputs: Tensor, targets: Tensor) -> int:
    """One local epoch in place, as anybody would write it; returns the count of samples."""
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)
    net.train()
    for start in range(0, len(inputs), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        optimizer.zero_grad()
        functional.cross_entropy(net(inputs[batch]), targets[batch]).backward()
        optimizer.step()
    return len(inputs)


def run_bare_round(net: nn.Module, state: State, shards: list[Shard]) -> State:
    """One round of the yardstick: one client after another, one process, one thread."""
    sums = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    total = 0
    for inputs, targets in shards:
        net.load_state_dict(state)
        count = train_client(net, inputs, targets)
        total += count
        with torch.no_grad():
            for name, tensor in net.state_dict().items():
                sums[name].add_(tensor, alpha=count)
    return {name: tensor / total for name, tensor in sums.items()}


def clone_state(net: nn.Module) -> State:
    """Return a copy of the net's tensors."""
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def compute_norm(state: State) -> float:
    """Return the Euclidean norm of all weights."""
    return float(sum(tensor.double().square().sum() for tensor in state.values()).sqrt())


def time_bare(work: str, shards: list[Shard], rounds: int) -> list[float]:
    """Return the seconds of each bare round after a first one."""
    net = build_net(work)
    state = clone_state(net)
    seconds = [time_call(lambda: run_bare_round(net, state, shards)) for _ in range(rounds + 1)]
    return seconds[1:]


def time_call(call: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def report(seconds: list[float], norm: float, bare: list[float]) -> None:
    """Print a peer's result as the last line, for `engine.py` to read."""
    print("RESULT " + json.dumps({"seconds": seconds, "norm": norm, "bare": bare}), flush=True)
