"""The game of one round: what the hold-outs say of the global model with some members' updates.

    utility(S) = - loss(model + sum over i in S of update_i / divisor)

The divisor is the number of players, whatever the size of S; where members work at different widths
(aequa-live) it is, number by number, how many of the players hold it. Deviation: GTG-Shapley and
FedSV divide by the size of S. Then a coalition of one takes a whole step alone, and on skewed
shards the loss of such models, which nobody would ever use, swamps everybody's value (seen on
MNIST-5k, Dirichlet 1.0: -1.7 nats for an honest member). With the fixed divisor an absent member is
one that sent zeros, and steps stay in the region that matters.

The loss is the bounded one of `measure`. A model whose plain loss lies more than `LOSS_RISE_MAX`
above that of the round's starting model, or is not a number, is broken. It counts as
`LOSS_RISE_MAX` worse than the start, and so does the worst that is not broken: how broken a model
is must not drown what the others are worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.learning.fixed_point import dequantise

FloatArray = NDArray[np.float64]
IntVector = NDArray[np.int32]

LOSS_RISE_MAX = 1.0  # nats above the round's starting model
LOSS_BROKEN = 50.0  # nats: what a starting model whose loss is not a number counts as


class CoalitionGame:
    """K games over the same players, one a hold-out: each coalition's model is built once."""

    def __init__(
        self,
        measure: HoldoutMeasure,
        model_P: IntVector,
        updates: Sequence[IntVector],
        divisor: int | NDArray[np.int64],
    ) -> None:
        """Take the global model and the players' updates, int32 fixed point.

        divisor: at least 1; one of every number [P] where players hold different parts of it.
        """
        least = divisor if isinstance(divisor, int) else int(divisor.min())
        if least < 1:
            raise ValueError(f"divisor {least} is less than 1")
        basis = [torch.from_numpy(dequantise(vector_P)) for vector_P in (model_P, *updates)]
        if not isinstance(divisor, int):
            divisor_P, divisor = torch.from_numpy(divisor).float(), 1
            basis = [basis[0], *(update_P / divisor_P for update_P in basis[1:])]
        self._measure, self._divisor = measure, divisor
        self._model_P, self._player_count = basis[0], len(updates)
        self._mixtures = measure.open(torch.stack(basis))
        start = self._mixtures.measure(self._weigh([0]))
        self.losses_K = _repair(start.plain_MK[0])
        self._start_K = _repair(start.bounded_MK[0])
        self._known: dict[int, FloatArray] = {0: -self._start_K}
        self._plain: dict[int, FloatArray] = {0: start.plain_MK[0]}

    def utility(self, masks: Sequence[int]) -> FloatArray:
        """Return float64 [M, K] for M coalitions, bit masks over the players."""
        missing = sorted({mask for mask in masks if mask not in self._known})
        if missing:
            found = self._mixtures.measure(self._weigh(missing))
            is_whole_MK = found.plain_MK <= self.losses_K + LOSS_RISE_MAX  # not so for NaN
            worst_K = self._start_K + LOSS_RISE_MAX
            losses_MK = np.where(is_whole_MK, np.minimum(found.bounded_MK, worst_K), worst_K)
            self._known.update(zip(missing, -losses_MK, strict=True))
            self._plain.update(zip(missing, found.plain_MK, strict=True))
        return np.stack([self._known[mask] for mask in masks])

    def get_plain(self, masks: Sequence[int]) -> FloatArray:
        """Return the plain losses [M, K] of coalitions whose utility was asked for, as they are."""
        return np.stack([self._plain[mask] for mask in masks])

    def measure_accuracy(self) -> FloatArray:
        """Return the starting model's share of right answers on each hold-out."""
        return self._measure.measure_accuracy(self._model_P)

    def _weigh(self, masks: Sequence[int]) -> torch.Tensor:
        """Return float32 [M, 1 + players]: the model once, a share of the update of who is in."""
        shares_MN = [[mask >> i & 1 for i in range(self._player_count)] for mask in masks]
        players_MN = torch.tensor(shares_MN, dtype=torch.float32).view(len(masks), -1)
        return torch.cat([torch.ones(len(masks), 1), players_MN / self._divisor], dim=1)


def _repair(losses_K: FloatArray) -> FloatArray:
    repaired: FloatArray = np.where(np.isfinite(losses_K), losses_K, LOSS_BROKEN)
    return repaired
