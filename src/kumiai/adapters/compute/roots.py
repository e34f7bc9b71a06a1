"""The root of trust that nobody owns: every validator's own update, and the median of them.

With aggregator trust_root each validator also trains on part A of its hold-out, from the round's
model, with the trainers' settings, and binds itself to the update together with its scores. The
root is the coordinate-wise median of what was shown: with fewer than half of these hostile, every
coordinate lies within the honest ones' (docs/adr/0017). Verifiers take the same blobs' median.

A hold-out is smaller than a shard, so its samples are repeated until the root's work is about as
long as an average trainer's: the root's length is the length of every trusted update.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.base.amounts import PPM
from kumiai.learning import fixed_point
from kumiai.learning.aggregation import Kernels, aggregate
from kumiai.learning.fixed_point import IntVector
from kumiai.nodes import ports
from kumiai.nodes.role import derive_seed
from kumiai.tasks.document import TaskDocument

ROOT = "root"  # the tensor's name in a root's blob: fixed point, whatever the task's codec
REPEATS_MAX = 64

Samples = tuple[torch.Tensor, torch.Tensor]


def train_roots(
    task: TaskDocument,
    engine: Engine,
    model_P: IntVector,
    jobs: Sequence[ports.ScoreJob],
    holdouts: Sequence[Samples],
    guides_NG: torch.Tensor | None = None,
) -> dict[str, IntVector]:
    """Return validator -> its own update; whose training diverged has none.

    guides_NG: what the round tells each of them beside the model, as it tells the trainers.
    """
    repeats = count_repeats(task)
    trained = engine.train(
        torch.from_numpy(fixed_point.dequantise(model_P)),
        [(torch.cat([x] * repeats), torch.cat([y] * repeats)) for x, y in holdouts],
        [derive_seed("root", job.seed, job.validator) for job in jobs],
        guides_NG,
    )
    roots = {}
    for job, update_P in zip(jobs, trained.updates_NP.numpy(), strict=True):
        with contextlib.suppress(ValueError):  # not finite, or beyond the fixed point
            roots[job.validator] = fixed_point.quantise(update_P)
    return roots


def count_repeats(task: TaskDocument) -> int:
    """Return how often a hold-out A fits into an average shard, at least once.

    Once where the task counts iterations: these do not depend on the number of samples.
    """
    data = task.data
    if task.training.local_iterations:
        return 1
    shard_ppm = (PPM - data.holdout_ppm - data.test_ppm) // data.trainers
    part_ppm = max(1, data.holdout_ppm // (2 * task.validation.validators))
    return min(REPEATS_MAX, max(1, round(shard_ppm / part_ppm)))


def find_root(decoded: DecodedBlobs, blobs: Sequence[str], kernels: Kernels) -> IntVector | None:
    """Return the median of the roots that can be read, None if there is none or it is zero."""
    found = [decoded.find(ROOT, blob) for blob in blobs]
    roots = [root_P for root_P in found if root_P is not None]
    if not roots:
        return None
    root_P = aggregate("median", roots, [1] * len(roots), kernels=kernels)
    return root_P if root_P.any() else None
