"""A recipe file whose loss is not the mean of its samples' losses."""

import torch
from torch import Tensor, nn

WEIGHT = torch.tensor([1.0, 5.0, 0.1, 2.0])


def build(width: float) -> nn.Module:
    hidden = round(16 * width)
    return nn.Sequential(nn.Linear(10, hidden), nn.ReLU(), nn.Linear(hidden, 4))


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, weight=WEIGHT)
