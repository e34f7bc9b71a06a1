"""CGSV: a member downloads as much of the aggregate as its updates point its way.

Xu et al., "Gradient Driven Rewards to Guarantee Fairness in Collaborative Machine Learning", 2021:

    u_i = G (w_i' - w_i) / ||w_i' - w_i||     u_N = sum r_i u_i
    r_i <- a r_i + (1 - a) cos(u_i, u_N), at least 1e-3, then divided by their sum
    q_i = tanh(b r_i) / max_j tanh(b r_j)

and member i adds to its model the q_i largest entries of u_N in each layer, not its own update.
a = 0.95, b = 1. Deviation, in its favour: G is the mean length of the first round's updates, 2 %
less each round, where the paper sets a constant for each data set; short runs would otherwise stop
far from the end. (The length of the round at hand lets lengths and models drive each other up.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from kumiai.adapters.sim.rewards.federation import Federation, LastModels, Received, receive_all
from kumiai.learning.layout import Layout

MEMORY = 0.95
BETA = 1.0
REPUTATION_LEAST = 1e-3
DECAY = 0.98


def play_cgsv(federation: Federation) -> Received:
    """Return the members' own models."""
    models_NP = federation.copy_start()
    reputations_N = federation.shares_N.clone()
    length = torch.tensor(0.0)
    last = LastModels(federation.rounds)
    for number in range(federation.rounds):
        local_NP = federation.trainer.train(
            models_NP, federation.data, federation.get_seeds(number)
        )
        updates_NP = local_NP - models_NP
        if number == 0:
            length = updates_NP.norm(dim=1).mean()
        updates_NP = length * DECAY**number * functional.normalize(updates_NP, dim=1)
        total_P = reputations_N @ updates_NP
        cosines_N = functional.cosine_similarity(updates_NP, total_P[None], dim=1)
        mixed_N = MEMORY * reputations_N + (1 - MEMORY) * cosines_N
        reputations_N = mixed_N.clamp(min=REPUTATION_LEAST)
        reputations_N = reputations_N / reputations_N.sum()
        rates_N = torch.tanh(BETA * reputations_N)
        rates_N = rates_N / rates_N.max()
        models_NP = models_NP + mask_largest(federation.trainer.layout, total_P, rates_N)
        last.add(number, models_NP)
    return receive_all(last.compute_mean())


def mask_largest(layout: Layout, update_P: Tensor, rates_N: Tensor) -> Tensor:
    """Return for each rate the update with that share of each tensor's largest entries [N, P]."""
    masked_NP = torch.zeros(len(rates_N), layout.size)
    for offset, size in zip(layout.offsets, layout.sizes, strict=True):
        part = update_P[offset : offset + size]
        order = part.abs().argsort(descending=True)
        for member, rate in enumerate(rates_N.tolist()):
            chosen = order[: math.ceil(rate * size - 1e-6)]
            masked_NP[member, offset + chosen] = part[chosen]
    return masked_NP
