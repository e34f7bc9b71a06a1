"""ShapFed-WA: class-wise agreement of the last layers weighs the average and its download.

Tastan et al., "Redefining Contributions: Shapley-Driven Federated Learning", 2024. For every class
the cosine between a member's and the average's row of the last layer (weights and bias), averaged
over the classes, with memory 0.9: g_i. The average is weighed by g_i / sum g; member i keeps

    w_i <- (1 - h_i) w_i + h_i w        h_i = g_i / max g

of its local model w_i and the average w. Deviation, in its favour: their script for images divides
by the sum instead of the maximum, so that nobody receives much of the average.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kumiai.adapters.sim.rewards.federation import Federation, LastModels, Received, receive_all
from kumiai.learning.layout import Layout, unflatten

MEMORY = 0.9
LEAST = 1e-6


def play_shapfed(federation: Federation) -> Received:
    """Return the members' own models."""
    models_NP = federation.copy_start()
    memory_N = torch.zeros(federation.size)
    layout = federation.trainer.layout
    last = LastModels(federation.rounds)
    for number in range(federation.rounds):
        local_NP = federation.trainer.train(
            models_NP, federation.data, federation.get_seeds(number)
        )
        shares_N = federation.shares_N if number == 0 else memory_N / memory_N.sum()
        average_P = shares_N @ local_NP
        cosines_N = compare_classes(layout, local_NP, average_P).clamp(min=LEAST)
        memory_N = cosines_N if number == 0 else MEMORY * memory_N + (1 - MEMORY) * cosines_N
        kept_N1 = (memory_N / memory_N.max())[:, None]
        average_P = (memory_N / memory_N.sum()) @ local_NP
        models_NP = (1 - kept_N1) * local_NP + kept_N1 * average_P
        last.add(number, models_NP)
    return receive_all(last.compute_mean())


def compare_classes(layout: Layout, local_NP: Tensor, average_P: Tensor) -> Tensor:
    """Return each member's mean cosine over the rows of the last layer [N]."""
    rows_NCK = _take_rows(layout, local_NP)
    rows_CK = _take_rows(layout, average_P[None])[0]
    return functional.cosine_similarity(rows_NCK, rows_CK[None], dim=2).mean(dim=1)


def _take_rows(layout: Layout, models_NP: Tensor) -> Tensor:
    weight, bias = layout.names[-2:]
    tensors = unflatten(layout, models_NP)
    return torch.cat([tensors[weight], tensors[bias][..., None]], dim=-1)
