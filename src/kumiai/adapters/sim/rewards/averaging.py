"""FedAvg, with and without fine-tuning: everybody receives the same model.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017.
Fine-tuning: one more round of local iterations on the member's own samples (the plainest
personalisation).
"""

from __future__ import annotations

from torch import Tensor

from kumiai.adapters.sim.rewards.federation import Federation, LastModels, Received, receive_all


def play_fedavg(federation: Federation) -> Received:
    """Return the average for everybody."""
    return receive_all(train_global(federation).expand(federation.size, -1))


def play_finetuned(federation: Federation) -> Received:
    """Return the average, trained further by each member for itself."""
    models_NP = train_global(federation).expand(federation.size, -1).contiguous()
    seeds = federation.get_seeds(federation.rounds)
    return receive_all(federation.trainer.train(models_NP, federation.data, seeds))


def train_global(federation: Federation) -> Tensor:
    """Return the model [P] after all rounds of FedAvg."""
    model_P = federation.start_P
    last = LastModels(federation.rounds)
    for number in range(federation.rounds):
        models_NP = model_P.expand(federation.size, -1).contiguous()
        local_NP = federation.trainer.train(
            models_NP, federation.data, federation.get_seeds(number)
        )
        model_P = federation.shares_N @ local_NP
        last.add(number, model_P)
    return last.compute_mean()
