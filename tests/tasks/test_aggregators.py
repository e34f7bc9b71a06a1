"""What a round does when verdicts leave fewer updates than the task began with."""

from __future__ import annotations

import pytest

from kumiai.tasks import task_from_mapping
from kumiai.tasks.aggregators import choose_for_count, count_rows

# (aggregator, byzantine_count, bucket_size, updates left, chosen, its bucket size)
CASES = [
    ("krum", 1, 1, 5, "krum", 1),
    ("krum", 1, 1, 4, "median", 1),
    ("multi_krum", 1, 2, 10, "multi_krum", 2),
    ("multi_krum", 1, 2, 9, "multi_krum", 2),
    ("multi_krum", 1, 2, 8, "multi_krum", 1),
    ("multi_krum", 1, 2, 4, "median", 1),
    ("krum", 0, 1, 1, "krum", 1),
    ("geometric_median", 2, 3, 13, "geometric_median", 3),
    ("geometric_median", 2, 3, 12, "geometric_median", 2),
    ("geometric_median", 2, 3, 4, "geometric_median", 1),
    ("trimmed_mean", 1, 2, 10, "trimmed_mean", 2),
    ("trimmed_mean", 1, 2, 8, "trimmed_mean", 1),
    ("trimmed_mean", 1, 1, 5, "trimmed_mean", 1),
    ("trimmed_mean", 1, 1, 4, "median", 1),  # a fifth of four is nobody: it would be the mean
    ("trimmed_mean", 0, 1, 4, "trimmed_mean", 1),
    ("centered_clip", 0, 3, 2, "centered_clip", 3),
    ("mean", 0, 1, 1, "mean", 1),
    ("trust_root", 5, 2, 2, "trust_root", 2),
]


@pytest.mark.parametrize(("name", "hostile", "size", "left", "chosen", "chosen_size"), CASES)
def test_too_few_updates_shrink_the_buckets_and_then_change_the_rule(
    name: str, hostile: int, size: int, left: int, chosen: str, chosen_size: int
) -> None:
    training = {"aggregator": name, "byzantine_count": hostile, "bucket_size": size}
    task = task_from_mapping({"name": "x", "data": {"trainers": 20}, "training": training})
    assert choose_for_count(task.training, left) == (chosen, chosen_size)


def test_rows_are_buckets_the_last_one_perhaps_short() -> None:
    assert [count_rows(n, 3) for n in (1, 3, 4, 9, 10)] == [1, 1, 2, 3, 4]
