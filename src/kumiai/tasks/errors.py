"""Plain words for what is wrong with a task: the field, the value, and what to do about it.

All problems of a document are reported at once, so that nobody fixes them one run at a time.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from kumiai.base.errors import InputError
from kumiai.tasks.fields import (
    OPTION_NAME_PATTERN,
    RECIPE_PATTERN,
    SOURCE_PATTERN,
    UNIT_PATTERN,
)

PROBLEM_COUNT_MAX = 50


class TaskError(InputError):
    """Everything that is wrong with one task document, one line a problem, each with its fix.

    `problems` holds them one by one; `field_name`, `value` and `fix` are the first one's.
    """

    def __init__(self, problems: Sequence[InputError]) -> None:
        if not problems:
            raise ValueError("an error needs at least one problem")
        first = problems[0]
        super().__init__(first.field_name, first.value, first.fix)
        self.problems = tuple(problems)
        shown = [str(problem) for problem in problems[:PROBLEM_COUNT_MAX]]
        if len(problems) > len(shown):
            shown.append(f"... and {len(problems) - len(shown)} more")
        self.args = ("\n".join(shown),)


def explain_validation(error: ValidationError, paths: Iterable[str]) -> list[InputError]:
    """Turn pydantic's findings into plain words. `paths` are all the fields that exist."""
    known = tuple(paths)
    return [_explain(dict(item), known) for item in error.errors(include_url=False)]


def suggest_field(path: str, known: Iterable[str]) -> str:
    """Say which field was probably meant; an empty text if none comes near."""
    name = path.rsplit(".", 1)[-1]
    candidates = list(known)
    same_name = [field for field in candidates if field.rsplit(".", 1)[-1] == name]
    if same_name:
        return f"did you mean {' or '.join(same_name)}?"
    near = difflib.get_close_matches(path, candidates, n=1, cutoff=0.75)
    if not near:
        names = {field.rsplit(".", 1)[-1]: field for field in reversed(candidates)}
        near = [names[n] for n in difflib.get_close_matches(name, names, n=1, cutoff=0.75)]
    return f"did you mean {near[0]}?" if near else ""


def _explain(item: dict[str, Any], known: tuple[str, ...]) -> InputError:
    path, value = _write_path(item["loc"]), show_value(item["input"])
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        suggestion = suggest_field(path, known)
        return InputError(path, value, f"no such field; {suggestion or 'remove it'}")
    if kind == "missing":
        return InputError(path, None, "is required: write it")
    if kind == "string_pattern_mismatch":
        return InputError(path, value, _FORMS.get(context["pattern"], str(item["msg"])))
    if kind in _TEMPLATES:
        return InputError(path, value, _TEMPLATES[kind].format(**context))
    return InputError(path, value, str(item["msg"]))


def show_value(value: object) -> object:
    """Return `value` as its writer wrote it: decimals as plain numbers, also inside lists."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return [show_value(item) for item in value]
    if isinstance(value, dict):
        return {key: show_value(item) for key, item in value.items()}
    return value


def _write_path(location: tuple[str | int, ...]) -> str:
    path = ""
    for part in location:
        if part == "[key]":
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "task"


_FORMS = {
    RECIPE_PATTERN: "must be mlp, cnn, resnet18, transformer, lora, or FILE.py:function",
    SOURCE_PATTERN: "must be mnist5k, digits, penguins, sotu, or FILE.py:function",
    OPTION_NAME_PATTERN: "an option's name has letters, digits and _, and starts with no digit",
    UNIT_PATTERN: "must be a short name of letters, digits, _ and -, such as point or msat",
}
_TEMPLATES = {
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "string_type": "must be a text in quotes",
    "tuple_type": "must be a list",
    "mapping_type": "must be a table of names and values",
    "dict_type": "must be a table of names and values",
    "model_type": "must be a section with fields of its own",
    "model_attributes_type": "must be a section with fields of its own",
    "literal_error": "must be one of {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} character(s)",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} item(s)",
}
