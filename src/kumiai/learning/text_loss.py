"""How well a model predicts text, in bits a byte: comparable between models over other tokens.

    bits per byte = loss / ln 2 / (bytes of a token)      loss: mean nats a token

Without torch, so that a report or a terminal that only shows the figure stays light.
"""

from __future__ import annotations

import math


def compute_bits_per_byte(loss: float, token_bytes: float) -> float:
    """Return the bits a byte of a mean loss in nats a token; ValueError for token_bytes <= 0."""
    if not token_bytes > 0:
        raise ValueError(f"token_bytes {token_bytes} is not above 0")
    return loss / math.log(2) / token_bytes
