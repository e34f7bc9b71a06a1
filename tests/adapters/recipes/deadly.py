"""A recipe file that takes its process down where a sample is as large as nobody's is."""

import os
import signal

from torch import Tensor, nn

DEADLY = 1000.0


class Deadly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.max() >= DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layer(x)


def build(width: float) -> nn.Module:
    return Deadly()
