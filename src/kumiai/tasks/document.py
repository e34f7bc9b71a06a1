"""The task document: what a customer asks for, its limits, and the hash that names it.

A person writes `task.toml`; the document is what everybody signs: the same fields with every
default filled in and integers only, in canonical JSON. Its sha256 is the task id, so a default that
changes in a later version cannot change a run that exists.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, ValidationError

from kumiai.base import canonical
from kumiai.base.canonical import INTEGER_MAX
from kumiai.base.errors import InputError
from kumiai.tasks.audit import AuditSection
from kumiai.tasks.decimals import convert_section
from kumiai.tasks.errors import TaskError, explain_validation
from kumiai.tasks.fields import (
    LONG_TEXT_LENGTH_MAX,
    Section,
    Text,
    one_of,
    setting,
    text,
)
from kumiai.tasks.overrides import apply_overrides
from kumiai.tasks.privacy import PrivacySection
from kumiai.tasks.rules import list_contradictions
from kumiai.tasks.sections import (
    DataSection,
    ModelSection,
    TrainingSection,
    ValidationSection,
)
from kumiai.tasks.terms import (
    DeadlinesSection,
    GovernanceSection,
    ModelRewardsSection,
    RewardsSection,
    SettlementSection,
)

TASK_SIZE_BYTES_MAX = 64 * 1024


class TaskDocument(Section):
    """One task, complete and checked field by field; `task_from_mapping` checks the whole."""

    name: Text = Field(
        description="What people call the task.",
        json_schema_extra={"unit": "text"},
        min_length=1,
        max_length=80,
    )
    description: Text = text("", "What the task is about.", LONG_TEXT_LENGTH_MAX)
    mode: Literal["federate", "compete"] = one_of(
        "federate",
        "federate: updates are combined each round; compete: the best whole model wins.",
    )
    seed: int = setting(
        0, "number", "Start of all randomness: the same seed, the same run.", ge=0, le=INTEGER_MAX
    )
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection = Field(default_factory=DataSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    privacy: PrivacySection = Field(default_factory=PrivacySection)
    validation: ValidationSection = Field(default_factory=ValidationSection)
    audit: AuditSection = Field(default_factory=AuditSection)
    rewards: RewardsSection = Field(default_factory=RewardsSection)
    model_rewards: ModelRewardsSection = Field(default_factory=ModelRewardsSection)
    deadlines: DeadlinesSection = Field(default_factory=DeadlinesSection)
    governance: GovernanceSection = Field(default_factory=GovernanceSection)
    settlement: SettlementSection = Field(default_factory=SettlementSection)


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in TaskDocument.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def parse_task(toml_text: str, overrides: Mapping[str, str] | None = None) -> TaskDocument:
    """Read a task file. `overrides` are texts by path, {"training.rounds": "3"}, and win.

    Raises TaskError (an InputError) that names every wrong field, its value and the fix.
    """
    return task_from_mapping(apply_overrides(parse_toml(toml_text), overrides or {}, SECTIONS))


def parse_toml(toml_text: str) -> dict[str, Any]:
    """Read TOML with decimals kept exact; TaskError if it is too long or no TOML."""
    size_bytes = len(toml_text.encode("utf-8", "surrogatepass"))
    if size_bytes > TASK_SIZE_BYTES_MAX:
        fix = f"a task file has at most {TASK_SIZE_BYTES_MAX} bytes"
        raise TaskError([InputError("task file", f"{size_bytes} bytes", fix)])
    try:
        return tomllib.loads(toml_text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise TaskError([InputError("task file", "not TOML", str(error))]) from error


def task_from_mapping(mapping: Mapping[str, Any]) -> TaskDocument:
    """Check nested values as a task file holds them; fields left out get their default."""
    problems: list[InputError] = []
    raw = _convert_decimals(mapping, problems)
    try:
        task = TaskDocument.model_validate(raw)
    except ValidationError as error:
        problems += explain_validation(error, list_paths())
        raise TaskError(problems) from error
    problems += list_contradictions(task)
    if problems:
        raise TaskError(problems)
    return task


def to_document(task: TaskDocument) -> dict[str, Any]:
    """Return the hashed form: every field, integers and text only, ready for canonical JSON."""
    return task.model_dump(mode="json")


def compute_task_id(task: TaskDocument) -> str:
    """Return the task id: sha256 of the canonical form, 64 hex digits."""
    return canonical.hash_document(to_document(task))


def task_from_document(document: Mapping[str, Any]) -> TaskDocument:
    """Read the hashed form back: exactly what `to_document` wrote, no field more or fewer."""
    try:
        task = TaskDocument.model_validate(dict(document))
    except ValidationError as error:
        raise TaskError(explain_validation(error, list_paths())) from error
    complete = to_document(task)
    problems = _list_missing("", complete, document) or list_contradictions(task)
    if not problems and canonical.encode(complete) != canonical.encode(dict(document)):
        problems = [InputError("task", "document", "differs from its own canonical form")]
    if problems:
        raise TaskError(problems)
    return task


def list_paths() -> list[str]:
    """Return the path of every field: name, seed, training.rounds ..."""
    paths = []
    for name in TaskDocument.model_fields:
        if name in SECTIONS:
            paths += [f"{name}.{field}" for field in SECTIONS[name].model_fields]
        else:
            paths.append(name)
    return paths


def _convert_decimals(mapping: Mapping[str, Any], problems: list[InputError]) -> dict[str, Any]:
    raw = dict(mapping)
    for name, section in SECTIONS.items():
        if isinstance(raw.get(name), Mapping):
            raw[name] = convert_section(f"{name}.", raw[name], section.model_fields, problems)
    return raw


def _list_missing(
    path: str, complete: Mapping[str, Any], document: Mapping[str, Any]
) -> list[InputError]:
    problems = []
    for name, value in complete.items():
        if name not in document:
            problems.append(
                InputError(f"{path}{name}", None, "is missing: a hashed document has every field")
            )
        elif isinstance(value, dict):
            problems += _list_missing(f"{path}{name}.", value, document[name])
    return problems
