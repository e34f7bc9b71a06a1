"""Members that train by DP-SGD, one after the other, each under a key that only it has.

Everything a batch's choice or noise depends on comes from that key (`learning.privacy.stream`); the
public seed rules only what a recipe draws for itself (dropout).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.devices import drawing
from kumiai.adapters.compute.execution.inline import convert_format, describe_fault
from kumiai.adapters.compute.execution.shards import CPU, JoinedShards, count_member_iterations
from kumiai.learning.client import LocalWork
from kumiai.learning.layout import flatten, unflatten
from kumiai.learning.privacy.sgd import PrivacySettings, check_private, step_private
from kumiai.learning.privacy.stream import SecretStream


class PrivateTrainer:
    """Trains members privately; memory for one member and a bounded number of gradients."""

    def __init__(self, work: LocalWork, privacy: PrivacySettings) -> None:
        """Raises ValueError, naming the layer, for a recipe whose samples see each other."""
        check_private(work)
        self._work, self._privacy = work, privacy

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        seeds: Sequence[int],
        keys: Sequence[bytes],
        guides_NG: Tensor | None = None,
    ) -> Tensor:
        """Return updates_NP of one round; ValueError naming recipe and member where it raises.

        What guides add to a gradient is added to the noisy one: it tells nothing that is secret.
        """
        lengths = count_member_iterations(self._work.settings, data.counts)
        updates_NP = torch.empty(len(seeds), self._work.layout.size)
        for n, seed in enumerate(seeds):
            with drawing(CPU, seed):
                try:
                    guide_G = None if guides_NG is None else guides_NG[n]
                    updates_NP[n] = self._train_member(
                        global_P, data, n, lengths[n], keys[n], guide_G
                    )
                except Exception as error:
                    # whatever the user's network or loss raises is one fault with one address
                    raise ValueError(describe_fault(self._work, n, error)) from error
        return updates_NP

    def _train_member(
        self,
        global_P: Tensor,
        data: JoinedShards,
        member: int,
        iterations: int,
        key: bytes,
        guide_G: Tensor | None,
    ) -> Tensor:
        work, count = self._work, data.counts[member]
        stream = SecretStream(key)
        carry = work.init(convert_format(unflatten(work.layout, global_P), False))
        anchor = carry.params  # the global model, wherever the member starts
        if guide_G is not None:
            carry = work.guide(carry, guide_G)
        expected = min(count, work.settings.batch_size)
        for _ in range(iterations):
            rows = torch.from_numpy(stream.draw_subset(count, expected)) + data.offsets[member]
            carry = step_private(
                work, carry, anchor, data.batch(rows), expected, stream, self._privacy
            )
        return flatten(work.layout, {**carry.params, **carry.rest}) - global_P
