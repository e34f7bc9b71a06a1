"""IAFL-style rewards in training: a share of each update by contribution, sometimes all of it.

Wu et al., "Incentive-Aware Federated Learning with Training-Time Model Rewards", 2024
(reconstruction from its abstract): every round member i receives a random share

    s_i = c_i / max c

of the aggregated update's entries on top of its own model; the rest is masked. Members that lag
send worse updates, and errors build up, so with a small probability RECOVERY a member is given the
reference model, which has had every update in full.
"""

from __future__ import annotations

import torch

from kumiai.adapters.sim.rewards.federation import Federation, LastModels, Received, receive_all

RECOVERY = 0.1


def play_iafl(federation: Federation) -> Received:
    """Return the members' own models."""
    generator = torch.Generator().manual_seed(federation.seed)
    c_N = torch.tensor(federation.contributions_N, dtype=torch.float32)
    shares_N1 = (c_N / c_N.max().clamp(min=1e-9))[:, None]
    reference_P = federation.start_P
    models_NP = federation.copy_start()
    last = LastModels(federation.rounds)
    for number in range(federation.rounds):
        local_NP = federation.trainer.train(
            models_NP, federation.data, federation.get_seeds(number)
        )
        total_P = federation.shares_N @ (local_NP - models_NP)
        reference_P = reference_P + total_P
        mask_NP = torch.rand(models_NP.shape, generator=generator) < shares_N1
        models_NP = models_NP + mask_NP * total_P
        is_recovered_N = torch.rand(federation.size, generator=generator) < RECOVERY
        models_NP = torch.where(is_recovered_N[:, None], reference_P, models_NP)
        last.add(number, models_NP)
    return receive_all(last.compute_mean())
