"""The task document described: rows for the handbook and a JSON Schema for editors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from kumiai.tasks.document import SECTIONS, TaskDocument

_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field for a reader: `default` as JSON text ("" if it must be given)."""

    path: str
    default: str
    unit: str
    limits: str
    description: str


def describe_fields() -> list[FieldRow]:
    """Return one row a field, in the order of the document."""
    rows = []
    for name, field in TaskDocument.model_fields.items():
        if name in SECTIONS:
            fields = SECTIONS[name].model_fields.items()
            rows += [_describe(f"{name}.{inner}", info) for inner, info in fields]
        else:
            rows.append(_describe(name, field))
    return rows


def export_schema() -> dict[str, Any]:
    """Return the JSON Schema of the hashed form."""
    schema = TaskDocument.model_json_schema(mode="validation")
    return {"$schema": _SCHEMA_DIALECT, "$id": "urn:kumiai:task:1", **schema}


def write_schema() -> str:
    """Return the schema as the text of docs/task.schema.json."""
    return json.dumps(export_schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def write_handbook() -> str:
    """Return the table of all fields as the text of docs/TASK.md."""
    lines = [_HANDBOOK_HEAD]
    section = None
    for row in describe_fields():
        before, _, _ = row.path.rpartition(".")
        if before != section:
            section = before
            title = f"[{section}]" if section else "top of the file"
            lines += ["", f"## {title}", "", _TABLE_HEAD]
        name = row.path.rpartition(".")[2]
        default = f"`{row.default}`" if row.default else "required"
        meaning = row.description.replace("|", "\\|")  # or it would end the table's cell
        lines.append(f"| `{name}` | {default} | {row.unit} | {row.limits} | {meaning} |")
    return "\n".join(lines) + "\n"


def _describe(path: str, info: FieldInfo) -> FieldRow:
    extra = info.json_schema_extra
    unit = str(extra["unit"]) if isinstance(extra, dict) else ""
    default = "" if info.is_required() else json.dumps(info.default)
    return FieldRow(path, default, unit, _write_limits(info), info.description or "")


def _write_limits(info: FieldInfo) -> str:
    limits = {}
    for item in info.metadata:
        for name in ("ge", "le", "min_length", "max_length"):
            if getattr(item, name, None) is not None:
                limits[name] = getattr(item, name)
    if "ge" in limits:
        return f"{limits['ge']} to {limits['le']}"
    choices = getattr(info.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(choices)
    return f"at most {limits['max_length']} long" if "max_length" in limits else ""


_TABLE_HEAD = "| field | default | unit | limits | meaning |\n|---|---|---|---|---|"
_HANDBOOK_HEAD = """# The task document, field by field

Written by `make reference` from the code; change it there.

Every field but `name` may be left out. A field `x_ppm` is in parts per million and may be written
as the decimal `x` instead (`learning_rate = 0.05` is `learning_rate_ppm = 50000`); a field
`x_milli` in thousandths likewise. The conversion must be exact. The hash of the complete document
is the task's id."""
