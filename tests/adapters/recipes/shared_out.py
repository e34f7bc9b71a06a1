"""A recipe file that has every member train it in two processes, each with half of it."""

from torch import nn

parallel = "fsdp"
parallel_processes = 2


def build(width: float) -> nn.Module:
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 4))
