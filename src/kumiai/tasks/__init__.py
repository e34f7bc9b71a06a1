"""Floor 1: the task document: what a customer asks for, its limits, its hash."""

from kumiai.tasks.document import (
    TaskDocument,
    compute_task_id,
    list_paths,
    parse_task,
    task_from_document,
    task_from_mapping,
    to_document,
)
from kumiai.tasks.errors import TaskError
from kumiai.tasks.reference import FieldRow, describe_fields, export_schema
from kumiai.tasks.rules import list_warnings

__all__ = [
    "FieldRow",
    "TaskDocument",
    "TaskError",
    "compute_task_id",
    "describe_fields",
    "export_schema",
    "list_paths",
    "list_warnings",
    "parse_task",
    "task_from_document",
    "task_from_mapping",
    "to_document",
]
