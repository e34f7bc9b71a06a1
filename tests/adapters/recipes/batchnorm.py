"""A recipe file whose network keeps statistics of its batches."""

from torch import nn


def build(width: float) -> nn.Module:
    return nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
