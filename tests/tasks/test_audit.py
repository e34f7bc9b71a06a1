"""What a task's audits ask of its other fields, and when cheating would pay."""

from __future__ import annotations

import pytest

from kumiai.tasks.audit import AuditSection, list_audit_warnings
from kumiai.tasks.document import TaskDocument, task_from_mapping


def make(rounds: int = 24, **sections: dict[str, object]) -> TaskDocument:
    mapping: dict[str, dict[str, object]] = {
        "data": {"mode": "assigned"},
        "training": {"rounds": rounds},
        "validation": {"canaries": 0},
        "audit": {"mode": "replay", "p_min_ppm": 100_000},
    }
    for name, section in sections.items():
        mapping[name] = {**mapping.get(name, {}), **section}
    return task_from_mapping({"name": "x", **mapping})


def test_by_default_every_round_is_audited_and_nothing_must_deter() -> None:
    sections = {"audit": {"p_min_ppm": 1_000_000}, "rewards": {"locked_ppm": 0}}
    assert make(**sections).audit == make(audit=AuditSection(mode="replay").model_dump()).audit
    assert list_audit_warnings(make(**sections)) == []


def test_with_an_audit_in_ten_rounds_the_locked_pay_is_just_enough() -> None:
    assert list_audit_warnings(make()) == []


@pytest.mark.parametrize(
    "sections",
    [
        {"audit": {"p_min_ppm": 50_000}},
        {"audit": {"new_rounds": 8}},
        {"rewards": {"locked_ppm": 500_000}},
    ],
)
def test_less_at_stake_than_cheating_gains_is_told(sections: dict[str, dict[str, object]]) -> None:
    (warning,) = list_audit_warnings(make(**sections))
    assert "for cheating not to pay it must lose" in warning


def test_a_large_stake_makes_up_for_it() -> None:
    sections = {"audit": {"p_min_ppm": 50_000}, "rewards": {"trainer_stake_min": 10**7}}
    assert list_audit_warnings(make(**sections)) == []  # type: ignore[arg-type]


def test_who_is_always_audited_needs_no_stake() -> None:
    assert list_audit_warnings(make(rounds=10, rewards={"locked_ppm": 0})) == []


def test_without_audits_nothing_is_said() -> None:
    assert list_audit_warnings(task_from_mapping({"name": "x"})) == []


def test_no_re_audit_is_told() -> None:
    (warning,) = list_audit_warnings(make(audit={"reaudit_ppm": 0}))
    assert "goes unnoticed" in warning
