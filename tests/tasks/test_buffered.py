"""What goes with updates that are older than their round, and what is refused beside them."""

from __future__ import annotations

from typing import Any

import pytest

from kumiai.base.errors import InputError
from kumiai.tasks.document import task_from_mapping
from kumiai.tasks.rules import list_warnings

STALE = {"staleness_max": 4}
REFUSED: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("mode", "compete", "set federate", {}),
    ("training.algorithm", "fednova", "choose fedavg", {"weighting": "samples"}),
    ("training.algorithm", "scaffold", "choose fedavg", {"weighting": "samples"}),
    ("training.aggregator", "median", "choose mean", {}),
    ("training.aggregator", "trimmed_mean", "choose mean", {}),
    ("training.aggregator", "krum", "choose mean", {}),
    ("training.aggregator", "geometric_median", "choose mean", {}),
    ("training.aggregator", "centered_clip", "choose mean", {}),
    ("training.aggregator", "trust_root", "choose mean", {}),
    ("training.fragments", 2, "set 1", {}),
    ("privacy.mode", "secure", "set none or local", {}),
    ("model_rewards.policy", "aequa-live", "set equal, rank or aequa", {}),
]


def make(field: str, value: object, training: dict[str, Any]) -> dict[str, Any]:
    mapping: dict[str, Any] = {"name": "x", "training": dict(training)}
    *section, name = field.split(".")
    table = mapping.setdefault(section[0], {}) if section else mapping
    table[name] = value
    if value == "secure":
        mapping["validation"] = {"canaries": 0}
    return mapping


@pytest.mark.parametrize(("field", "value", "fix", "training"), REFUSED)
def test_what_takes_every_update_for_a_step_from_one_model_is_refused(
    field: str, value: object, fix: str, training: dict[str, Any]
) -> None:
    task_from_mapping(make(field, value, training))  # fine where nothing is stale
    with pytest.raises(InputError) as caught:
        task_from_mapping(make(field, value, training | STALE))
    message = str(caught.value)
    assert field in message and "training.staleness_max = 4" in message and fix in message


@pytest.mark.parametrize(
    ("training", "field", "fix"),
    [
        ({"buffer": 3}, "training.buffer", "needs training.staleness_max"),
        ({"buffer": 7, "staleness_max": 2}, "training.buffer", "data.trainers = 6"),
        ({"buffer": -1}, "training.buffer", "0"),
        ({"staleness_max": 17}, "training.staleness_max", "16"),
        ({"staleness_max": -1}, "training.staleness_max", "0"),
    ],
)
def test_bounds(training: dict[str, int], field: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        task_from_mapping({"name": "x", "training": training})
    assert field in str(caught.value) and fix in str(caught.value)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"buffer": 6},
        {"buffer": 1, "staleness_max": 16},
        {"algorithm": "diloco"},
        {"algorithm": "fedprox", "weighting": "samples"},
        {"aggregator": "norm_clip"},
        {"aggregator": "multi_krum", "byzantine_count": 1},
        {"codec": "ef|topk:density=0.1|int2"},
        {"server_optimizer": "adam"},
        {"lr_schedule": "cosine"},
        {"flower": "app:app", "slim": False},
    ],
)
def test_what_goes_with_it_is_taken(more: dict[str, Any]) -> None:
    task = task_from_mapping({"name": "x", "training": STALE | more})
    assert task.training.staleness_max >= 1


@pytest.mark.parametrize(("buffer", "is_warned"), [(0, False), (1, True), (2, True), (3, False)])
def test_a_buffer_too_small_to_compare_is_told(buffer: int, is_warned: bool) -> None:
    task = task_from_mapping({"name": "x", "training": STALE | {"buffer": buffer}})
    assert any("training.buffer" in warning for warning in list_warnings(task)) == is_warned


def test_private_training_goes_with_it() -> None:
    privacy = {"mode": "local"}
    assert task_from_mapping({"name": "x", "training": STALE, "privacy": privacy})
