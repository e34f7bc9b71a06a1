"""Text that a next-token model writes.

The next token is drawn from softmax(scores / temperature), from a generator seeded by the argument;
the model sees the last `window` tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def write_on(
    module: nn.Module, start_T: Tensor, count: int, window: int, seed: int, temperature: float
) -> Tensor:
    """Return the `count` tokens, int64, that `module` writes after the tokens `start_T`.

    module: tokens [1, T] -> scores [1, T, V]. Same arguments, same tokens on the same machine.
    Raises ValueError for an empty start, a count or window below 1, or temperature <= 0.
    """
    if not len(start_T) or count < 1 or window < 1 or not temperature > 0:
        raise ValueError(
            f"start of {len(start_T)} tokens, count {count}, window {window}, "
            f"temperature {temperature}: all must be above 0"
        )
    generator = torch.Generator().manual_seed(seed)
    tokens_T = start_T.long()
    with torch.no_grad():
        for _ in range(count):
            scores_V = module(tokens_T[None, -window:])[0, -1]
            shares_V = (scores_V / temperature).softmax(dim=0)
            drawn = torch.multinomial(shares_V, 1, generator=generator)
            tokens_T = torch.cat([tokens_T, drawn])
    return tokens_T[len(start_T) :]
