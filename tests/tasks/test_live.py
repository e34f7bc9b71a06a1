"""What aequa-live refuses at the door, by field, value and fix, and what it takes."""

from __future__ import annotations

from typing import Any

import pytest

from kumiai.base.errors import InputError
from kumiai.tasks.document import task_from_mapping

LIVE = {"policy": "aequa-live"}
REFUSED: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("model.widths_ppm", [1_000_000], "two or more", {}),
    ("mode", "compete", "set federate", {}),
    ("training.slim", False, "set true", {}),
    ("training.algorithm", "fednova", "choose fedavg", {"weighting": "samples"}),
    ("training.algorithm", "scaffold", "choose fedavg", {"weighting": "samples"}),
    ("training.aggregator", "median", "set mean", {}),
    ("training.aggregator", "trust_root", "set mean", {}),
    ("training.codec", "ef|topk:density=0.1", "set dense-fixed", {}),
    ("training.fragments", 2, "set 1", {}),
    ("training.flower", "app:app", "leave it out", {"slim": False}),
    ("training.backend", "ray", "choose auto", {}),
    ("privacy.mode", "local", "set none", {}),
]


def make(field: str, value: object, training: dict[str, Any], policy: str) -> dict[str, Any]:
    mapping: dict[str, Any] = {
        "name": "x",
        "model_rewards": {"policy": policy},
        "training": dict(training),
    }
    *section, name = field.split(".")
    table = mapping.setdefault(section[0], {}) if section else mapping
    table[name] = value
    return mapping


@pytest.mark.parametrize(("field", "value", "fix", "training"), REFUSED)
def test_what_has_no_meaning_for_narrow_members_is_refused(
    field: str, value: object, fix: str, training: dict[str, Any]
) -> None:
    task_from_mapping(make(field, value, training, "rank"))  # fine without aequa-live
    with pytest.raises(InputError) as caught:
        task_from_mapping(make(field, value, training, "aequa-live"))
    message = str(caught.value)
    assert field in message and "aequa-live" in message and fix in message


@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "diloco"])
@pytest.mark.parametrize("backend", ["auto", "inline", "vectorised", "process"])
def test_what_goes_with_it_is_taken(algorithm: str, backend: str) -> None:
    training = {"algorithm": algorithm, "backend": backend, "slim_distill": True}
    task = task_from_mapping({"name": "x", "model_rewards": LIVE, "training": training})
    assert task.model_rewards.policy == "aequa-live"
