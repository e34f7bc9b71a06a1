"""A network for digits that every member trains in two processes, each holding half of it.

`parallel` is "ddp" (each process has the whole model and half of every batch), "fsdp" (each also
has only half of every tensor, and the whole of one layer while it is used) or "none". All members
train in as many processes as the recipe says, so that nobody's result depends on a machine. With a
GPU for each process they run there, else on the CPU.

Samples must not see each other (no BatchNorm), and the loss must be their mean.
"""

from torch import Tensor, nn

parallel = "fsdp"
parallel_processes = 2


class Block(nn.Module):
    """One layer that adds to what it is given; the elements of a ModuleList are gathered alone."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.wide = nn.Linear(size, 4 * size)
        self.back = nn.Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.back(nn.functional.gelu(self.wide(self.norm(x))))
        return x + added


class Digits(nn.Module):
    """64 pixels to 10 classes through four blocks."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.Linear(64, size)
        self.blocks = nn.ModuleList(Block(size) for _ in range(4))
        self.last = nn.Linear(size, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.last(x)
        return scores


def build(width: float) -> nn.Module:
    """Return the network; only its full width is used."""
    return Digits(32)
