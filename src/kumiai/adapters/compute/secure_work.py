"""Updates that travel under masks, and the sums by group that they are opened in.

A masked update is one int64 tensor [P] in safetensors, twice the bytes of an open one. A sum is
int64 and exact. One that leaves the fixed point's range, and so every sum in which a mask was not
put on as dealt (but for one in 2^32 a number), is no sum: None.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from kumiai.adapters.compute.decoded import read_or_none
from kumiai.learning import fixed_point
from kumiai.learning.aggregation import Kernels
from kumiai.learning.aggregation.linear import combine
from kumiai.learning.aggregation.rows import PlainRows
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, LongVector
from kumiai.learning.privacy.masking import (
    MaskCard,
    derive_mask_secrets,
    mask_update,
    unmask_sum,
)
from kumiai.nodes.ports import BlobPort, TrainJob
from kumiai.rounds.opened import OpenedGroup

MASKED = "masked"
SUMS_KEPT_MAX = 64


def encode_masked(secret: bytes, task_id: str, job: TrainJob, update_P: IntVector) -> bytes:
    """Return the update under the masks of this job, as it travels.

    secret: the member's 32 bytes. Raises ValueError for a group without the member's own card.
    """
    secrets = derive_mask_secrets(secret, task_id, job.round, job.attempt)
    words_P = mask_update(update_P, job.member, secrets, _read_cards(job.cards))
    return fixed_point.encode_vector(MASKED, words_P.view(np.int64))


class GroupSums:
    """The sums of the groups opened lately; `size` is P, the model's numbers."""

    def __init__(self, blobs: BlobPort, size: int) -> None:
        self._blobs, self._size = blobs, size
        self._kept: OrderedDict[OpenedGroup, IntVector | None] = OrderedDict()

    def find(self, group: OpenedGroup) -> IntVector | None:
        """Return the exact sum of the group's updates, None where its members sent no such thing.

        StoreError only where trying again may help.
        """
        if group not in self._kept:
            self._kept[group] = self._open(group)
            while len(self._kept) > SUMS_KEPT_MAX:
                self._kept.popitem(last=False)
        return self._kept[group]

    def compute_mean(self, groups: Sequence[OpenedGroup], kernels: Kernels) -> IntVector:
        """Return the mean of all members' updates, rounded as the open one: the same bits.

        Raises ValueError for a group without a sum: none that is included may be such.
        """
        sums = []
        for group in groups:
            sum_P = self.find(group)
            if sum_P is None:
                raise ValueError(f"{group.name} is included but has no sum")
            sums.append(sum_P)
        count = sum(len(group.members) for group in groups)
        mean_P: IntVector = combine(PlainRows(sums), [1] * len(sums), count, kernels)
        return mean_P

    def _open(self, group: OpenedGroup) -> IntVector | None:
        sum_P = read_or_none(lambda: self._unmask(group))
        if sum_P is None or max(-int(sum_P.min()), int(sum_P.max())) > INTEGER_ABS_MAX:
            return None
        narrow_P: IntVector = sum_P.astype(np.int32)
        narrow_P.flags.writeable = False
        return narrow_P

    def _unmask(self, group: OpenedGroup) -> LongVector:
        cap = fixed_point.compute_size_bytes_max(self._size, 8)
        masked = {
            member: fixed_point.decode_long_vector(
                MASKED, self._blobs.get(blob, cap), self._size
            ).view(np.uint64)
            for member, blob in group.masked
        }
        return unmask_sum(
            masked,
            _read_cards(group.cards),
            _read_secrets(group.own_seeds),
            _read_secrets(group.agreements),
        )


def _read_cards(cards: Sequence[tuple[str, str, str]]) -> Mapping[str, MaskCard]:
    return {member: MaskCard(public, seed_hash) for member, public, seed_hash in cards}


def _read_secrets(entries: Sequence[tuple[str, str]]) -> Mapping[str, bytes]:
    return {member: bytes.fromhex(text) for member, text in entries}
