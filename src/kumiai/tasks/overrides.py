"""Single fields from the command line: `--set training.rounds=3` on top of a task file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kumiai.base.errors import InputError
from kumiai.tasks.decimals import find_decimal_names
from kumiai.tasks.errors import TaskError
from kumiai.tasks.fields import Section, Text

PATH_DEPTH_MAX = 3  # data.options.path


def apply_overrides(
    raw: Mapping[str, Any], overrides: Mapping[str, str], sections: Mapping[str, type[Section]]
) -> dict[str, Any]:
    """Return `raw` with each override set; unknown paths are left for the schema to refuse.

    A value is read as TOML (3, 0.5, true, [1, 2]); what is not TOML, and what goes into a text
    field, is taken as it stands, so that nobody quotes a name twice.
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    problems = []
    for path, written in overrides.items():
        problem = _set_path(result, path, written, sections)
        if problem is not None:
            problems.append(problem)
    if problems:
        raise TaskError(problems)
    return result


def _set_path(
    result: dict[str, Any], path: str, written: str, sections: Mapping[str, type[Section]]
) -> InputError | None:
    parts = path.split(".")
    if not all(parts) or len(parts) > PATH_DEPTH_MAX:
        return InputError(path or "--set", written, "write it as section.field=value")
    table = result
    for part in parts[:-1]:
        inner = table.get(part, {})
        if not isinstance(inner, dict):
            return InputError(path, written, f"{part} is not a section")
        table[part] = dict(inner)
        table = table[part]
    section = sections.get(parts[0])
    fields = section.model_fields if section and len(parts) > 1 else {}
    twins = find_decimal_names(fields)
    twins_back = {field: name for name, (field, _) in twins.items()}
    is_text = parts[-1] in fields and fields[parts[-1]].annotation in (str, Text)
    table.pop(twins_back.get(parts[-1], ""), None)
    table.pop(twins.get(parts[-1], ("", 1))[0], None)
    table[parts[-1]] = _read_value(written, is_text=is_text or path in ("name", "description"))
    return None


def _read_value(written: str, *, is_text: bool) -> object:
    try:
        parsed = tomllib.loads(f"value = {written}", parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        return written
    if set(parsed) != {"value"}:  # a line break that smuggles in a second field
        return written
    value = parsed["value"]
    return written if is_text and not isinstance(value, str) else value
