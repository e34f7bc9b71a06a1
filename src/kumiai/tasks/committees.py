"""Committees in a task: how many validators take part, and how many of them sit in an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kumiai.base.errors import InputError

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument

FAULT_TOLERANT_MIN = 4  # members of a committee that tolerates a faulty one


def count_seats(task: TaskDocument) -> int:
    """Return how many validators sit in an epoch's committee."""
    return task.validation.seats or task.validation.validators


def list_committee_problems(task: TaskDocument) -> list[InputError]:
    """Return what does not fit the number of validators."""
    terms, seats = task.validation, count_seats(task)
    problems = []
    if terms.seats > terms.validators:
        fix = f"at most validation.validators = {terms.validators}, or 0 for all of them"
        problems.append(InputError("validation.seats", terms.seats, fix))
    elif task.audit.auditors > seats:
        fix = f"the committee has {seats} seats (validation.seats, or validators): lower it"
        problems.append(InputError("audit.auditors", task.audit.auditors, fix))
    return problems


def list_committee_warnings(task: TaskDocument) -> list[str]:
    """Return what a small committee cannot do."""
    seats = count_seats(task)
    field = "validation.seats" if task.validation.seats else "validation.validators"
    if seats == 1:
        alone = "the only validator decides alone; its word cannot be checked against another's"
        return [f"{field} = 1: {alone}"]
    if seats < FAULT_TOLERANT_MIN:
        return [
            f"{field} = {seats}: tolerates no faulty validator; {FAULT_TOLERANT_MIN} tolerate one"
        ]
    return []
