"""A round's updates combined as the task says: the same integers on every machine.

All that a rule needs beside the updates comes out of the log: the lot that fills the buckets is the
round's beacon, drawn after the updates were committed; centered_clip starts from the last round's
step; trust_root's root is what the validators trained and showed with their scores (`roots`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.roots import find_root
from kumiai.base.amounts import PPM
from kumiai.learning.aggregation import Kernels, Settings, aggregate
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, SCALE_BITS, IntVector
from kumiai.nodes import ports
from kumiai.tasks.aggregators import choose_for_count
from kumiai.tasks.sections import TrainingSection


def combine_updates(
    training: TrainingSection,
    decoded: DecodedBlobs,
    job: ports.AggregateJob,
    updates: Sequence[IntVector],
    kernels: Kernels,
) -> IntVector:
    """Return the delta [P] of the updates that the job includes, at least one.

    updates: in the order of `job.included`, as the task's algorithm has them combined.
    Without a root that can be read and is not zero, trust_root becomes the median.
    """
    name, bucket_size = choose_for_count(training, len(job.included))
    reference_P = None
    if name == "trust_root":
        reference_P = find_root(decoded, job.roots, kernels)
        name = "median" if reference_P is None else name
    elif name == "centered_clip":
        reference_P = _compute_last_step(decoded, job)
    return aggregate(
        name,
        updates,
        [weight for _, _, weight in job.included],
        build_settings(training, bucket_size, job.seed),
        reference_P=reference_P,
        kernels=kernels,
    )


def build_settings(training: TrainingSection, bucket_size: int, seed: str) -> Settings:
    """Return the task's numbers in the rules' units; seed: hex digits, or "" for 0."""
    return Settings(
        trim_ppm=training.trim_ppm,
        byzantine_count=training.byzantine_count,
        iterations=training.aggregator_iterations,
        clip_ppm=training.clip_ppm,
        clip_norm=(training.clip_norm_ppm << SCALE_BITS) // PPM,
        bucket_size=bucket_size,
        seed=int(seed or "0", 16),
    )


def _compute_last_step(decoded: DecodedBlobs, job: ports.AggregateJob) -> IntVector | None:
    """Return how the global model moved a round ago, None in the first."""
    if job.previous_model is None:
        return None
    after_P, before_P = decoded.get("model", job.model), decoded.get("model", job.previous_model)
    step_P = np.subtract(after_P, before_P, dtype=np.int64)
    clipped_P: IntVector = np.clip(step_P, -INTEGER_ABS_MAX, INTEGER_ABS_MAX).astype(np.int32)
    return clipped_P
