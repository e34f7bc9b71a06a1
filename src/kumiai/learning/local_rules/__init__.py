"""What a member does in one local iteration: its optimiser and the algorithm around it.

FedAvg: plain local optimisation (McMahan et al., "Communication-Efficient Learning of Deep Networks
from Decentralized Data", 2017). FedProx: adds mu/2 ||w - w_global||^2 to the local objective, that
is mu (w - w_global) to its gradient (Li et al., "Federated Optimization in Heterogeneous Networks",
2020). FedNova: FedAvg here; what it adds happens to the updates (see `normalise`). SCAFFOLD: adds
c - c_i to every gradient, which the round's guide brings (see `scaffold`). DiLoCo: many local AdamW
iterations, then an outer Nesterov step of the server on the mean of the differences (Douillard et
al., 2023); here the inner state is fresh every round, where the paper keeps it between rounds
(members may come and go). The outer step is the server's and lives there.
"""

from kumiai.learning.local_rules.build import build_rule
from kumiai.learning.local_rules.rule import Params, Rule, Slots
from kumiai.learning.local_rules.settings import ALGORITHMS, OPTIMIZERS, TrainSettings

__all__ = [
    "ALGORITHMS",
    "OPTIMIZERS",
    "Params",
    "Rule",
    "Slots",
    "TrainSettings",
    "build_rule",
]
