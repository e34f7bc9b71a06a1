"""Typed bindings from the contracts' artifacts: `python -m kumiai.adapters.evm.generate [--check]`.

Reads artifacts/*.json ({"contractName", "abi", ...}) and writes, for each contract, the package
bindings/<name>/ with structs.py, calls.py, events.py and errors.py. The same artifacts give the
same bytes; `--check` writes nothing and names the files that differ (exit code 1).

The text is laid out as the project's formatter does it, so that generated files pass its check.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOM = Path(__file__).resolve().parent
LINE_MAX = 100
_PYTHON = {"address": "str", "bool": "bool", "string": "str"}
_RESERVED = {"from", "in", "is", "not", "and", "or", "if", "for", "as", "class", "def", "pass",
             "return", "global", "lambda", "None", "True", "False", "async", "await", "import",
             "raise", "try", "with", "yield", "del", "while", "assert", "nonlocal"}  # fmt: skip
Item = Mapping[str, Any]


def generate_all(artifacts: Path) -> dict[str, str]:
    """Return the text of each file under bindings/ by its path."""
    files = {
        "__init__.py": '"""Typed bindings of the contracts; generated, see ../generate.py."""\n'
    }
    for path in sorted(artifacts.glob("*.json")):
        artifact = json.loads(path.read_text(encoding="utf-8"))
        name = str(artifact["contractName"])
        for part, text in generate_contract(name, artifact["abi"]).items():
            files[f"{name.lower()}/{part}"] = text
    return files


def generate_contract(name: str, abi: list[Item]) -> dict[str, str]:
    """Return the four modules of one contract, and its package's file, by file name."""
    structs = _collect_structs(abi)
    module = f"kumiai.adapters.evm.bindings.{name.lower()}.structs"
    files = {"__init__.py": f'"""Bindings of {name}; generated."""\n'}
    kinds = {kind: _sorted(abi, kind) for kind in ("function", "event", "error")}
    if structs:
        files["structs.py"] = _write_structs(name, structs)
    if kinds["function"]:
        files["calls.py"] = _write_calls(name, kinds["function"], module)
    if kinds["event"]:
        files["events.py"] = _write_classes(name, kinds["event"], module, "Event")
    if kinds["error"]:
        files["errors.py"] = _write_classes(name, kinds["error"], module, "ContractError")
    return files


def main(arguments: list[str]) -> int:
    """Write the bindings, or with --check compare them."""
    folder = ROOM / "bindings"
    wanted = generate_all(ROOM / "artifacts")
    there = {
        str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*.py")
    }
    differing = sorted(n for n in wanted.keys() | there.keys() if wanted.get(n) != there.get(n))
    if "--check" not in arguments:
        for path in differing:
            target = folder / path
            if path in wanted:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(wanted[path], encoding="utf-8")
            else:
                target.unlink()
    for path in differing:
        sys.stdout.write(f"bindings/{path}\n")
    return 1 if "--check" in arguments and differing else 0


def _sorted(abi: Iterable[Item], kind: str) -> list[Item]:
    """The items of a kind by name and signature; an overload's later forms get a number."""
    items = sorted((i for i in abi if i["type"] == kind), key=lambda i: (i["name"], _signature(i)))
    seen: dict[str, int] = {}
    named: list[Item] = []
    for item in items:
        seen[item["name"]] = count = seen.get(item["name"], 0) + 1
        named.append({**item, "python": item["name"] + (f"_{count}" if count > 1 else "")})
    return named


def _signature(item: Item) -> str:
    return f"{item['name']}({','.join(_abi_type(p) for p in item['inputs'])})"


def _abi_type(parameter: Item) -> str:
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_abi_type(p) for p in parameter['components'])}){kind[5:]}"


def _struct_name(parameter: Item) -> str | None:
    if not parameter["type"].startswith("tuple"):
        return None
    words = str(parameter["internalType"]).removeprefix("struct ")
    return words.split("[")[0].split(".")[-1]


def _collect_structs(abi: Iterable[Item]) -> dict[str, list[Item]]:
    """Struct name to its components, inner ones first."""
    found: dict[str, list[Item]] = {}

    def visit(parameter: Item) -> None:
        name = _struct_name(parameter)
        if name is None:
            return
        for component in parameter["components"]:
            visit(component)
        if found.setdefault(name, parameter["components"]) != parameter["components"]:
            raise ValueError(f"two different structs are called {name}")

    for item in sorted(abi, key=lambda i: (i["type"], i.get("name", ""))):
        for parameter in (*item.get("inputs", ()), *item.get("outputs", ())):
            visit(parameter)
    return found


def _python_type(parameter: Item, *, is_argument: bool = False) -> str:
    kind = str(parameter["type"])
    if kind.endswith("]"):
        inner = _python_type({**parameter, "type": kind[: kind.rindex("[")]})
        return f"Sequence[{inner}]" if is_argument else f"tuple[{inner}, ...]"
    if kind == "tuple":
        return str(_struct_name(parameter))
    if kind.startswith("bytes"):
        return "bytes"
    return _PYTHON.get(kind, "int")


def _field_names(parameters: list[Item]) -> list[str]:
    """Python names; those without one are called after their place."""
    names = [p.get("name") or f"value_{n}" for n, p in enumerate(parameters)]
    return [f"{name}_" if name in _RESERVED else name for name in names]


def _used_structs(items: Iterable[Item]) -> list[str]:
    used = {
        _struct_name(p) for i in items for p in (*i.get("inputs", ()), *i.get("outputs", ()))
    } - {None}
    return sorted(str(name) for name in used)


def _write_structs(contract: str, structs: Mapping[str, list[Item]]) -> str:
    uses = any(_struct_name(c) for components in structs.values() for c in components)
    lines = _top(f"Structs of {contract}", uses_mapping=uses)
    lines += ["from typing import ClassVar", "", "from kumiai.adapters.evm.abi import Struct"]
    for name, components in structs.items():
        names = _field_names(components)
        fields = zip(names, components, strict=True)
        inner = [f'"{n}": ("{c["type"]}", {_struct_name(c)})' for n, c in fields if _struct_name(c)]
        abi = ",".join(_abi_type(c) for c in components)
        lines += ["", "", "@dataclass(frozen=True, slots=True)", f"class {name}(Struct):"]
        lines += [f"    {n}: {_python_type(c)}" for n, c in zip(names, components, strict=True)]
        lines += _text("    ABI: ClassVar[str] = ", f"({abi})")
        if inner:
            head = "    SHAPES: ClassVar[Mapping[str, tuple[str, type[Struct]]]] = {"
            lines += _fit(head, inner, "}")
    return "\n".join(lines) + "\n"


def _write_calls(contract: str, items: list[Item], module: str) -> str:
    lines = [f'"""Calls of {contract}; generated."""', "", "from __future__ import annotations", ""]
    if any(p["type"].endswith("]") for i in items for p in i["inputs"]):
        lines += ["from collections.abc import Sequence", ""]
    used = _used_structs(items)
    lines += ["from kumiai.adapters.evm.abi import Call, Structs, make_function"]
    lines += _import_structs(module, used)
    pairs = [f'"{name}": {name}' for name in used]
    lines += ["", *_fit("_STRUCTS: Structs = {", pairs, "}")]
    for item in items:
        signature = f'"{item["name"]}{_parameters(item["inputs"])}"'
        constant = f"_{_snake(item['python']).upper()}"
        parts = [signature, f'"{_parameters(item["outputs"])}"', "_STRUCTS"]
        lines += _fit(f"{constant} = make_function(", parts, ")")
    for item in items:
        lines += _write_call(item)
    return "\n".join(lines) + "\n"


def _write_call(item: Item) -> list[str]:
    inputs, outputs = item["inputs"], item["outputs"]
    kinds = [_python_type(p) for p in outputs]
    answer = "None" if not kinds else kinds[0]
    if len(kinds) > 1:
        answer = f"tuple[{', '.join(kinds)}]"
    names = _field_names(inputs)
    arguments = [
        f"{n}: {_python_type(p, is_argument=True)}" for n, p in zip(names, inputs, strict=True)
    ]
    name = _snake(item["python"])
    passed = f"({', '.join(names)},)" if len(names) == 1 else f"({', '.join(names)})"
    return [
        "",
        "",
        *_fit(f"def {name}(", arguments, f") -> Call[{answer}]:"),
        *_fit("    return Call(", [f"_{name.upper()}", passed], ")"),
    ]


def _write_classes(contract: str, items: list[Item], module: str, base: str) -> str:
    what, types = ("Events", "EventTypes") if base == "Event" else ("Errors", "ErrorTypes")
    collect = f"collect_{what.lower()}"
    used = _used_structs(items)
    lines = _top(f"{what} of {contract}", uses_mapping=False)
    imported = [base, types, *(["Structs"] if used else []), collect]
    lines += ["from typing import ClassVar", ""]
    lines += [f"from kumiai.adapters.evm.abi import {', '.join(imported)}"]
    lines += _import_structs(module, used)
    for item in items:
        inputs = item["inputs"]
        lines += ["", "", "@dataclass(frozen=True, slots=True)", f"class {item['python']}({base}):"]
        for name, parameter in zip(_field_names(inputs), inputs, strict=True):
            is_hash = parameter.get("indexed") and _is_hashed(parameter)
            lines.append(f"    {name}: {'bytes' if is_hash else _python_type(parameter)}")
        signature = f"{item['name']}{_parameters(inputs)}"
        lines += _text("    SIGNATURE: ClassVar[str] = ", signature)
        if own := _used_structs([item]):
            pairs = [f'"{name}": {name}' for name in own]
            lines += _fit("    STRUCTS: ClassVar[Structs] = {", pairs, "}")
    lines += ["", "", f"{what.upper()}: {types} = {collect}(globals())"]
    return "\n".join(lines) + "\n"


def _is_hashed(parameter: Item) -> bool:
    kind = parameter["type"]
    return kind in {"string", "bytes"} or kind.endswith("]") or kind.startswith("tuple")


def _parameters(items: list[Item]) -> str:
    """Write parameters as `(type [indexed] name, ...)`, structs by their names."""
    parts = []
    for name, item in zip(_field_names(items), items, strict=True):
        struct = _struct_name(item)
        kind = item["type"] if struct is None else struct + item["type"][5:]
        parts.append(f"{kind} {'indexed ' if item.get('indexed') else ''}{name}")
    return f"({', '.join(parts)})"


def _text(head: str, text: str) -> list[str]:
    """Assign a text, in parentheses where it is too long for its line."""
    if len(head) + len(text) + 2 <= LINE_MAX:
        return [f'{head}"{text}"']
    return [f"{head}(", f'        "{text}"', "    )"]


def _fit(head: str, parts: list[str], tail: str) -> list[str]:
    """Lay out `head parts tail` in one line, in three, or with a line for each part."""
    line = f"{head}{', '.join(parts)}{tail}"
    if len(line) <= LINE_MAX:
        return [line]
    pad = " " * (len(head) - len(head.lstrip()))
    inner = f"{pad}    {', '.join(parts)}"
    if len(inner) <= LINE_MAX:
        return [head, inner, f"{pad}{tail}"]
    return [head, *(f"{pad}    {part}," for part in parts), f"{pad}{tail}"]


def _top(title: str, *, uses_mapping: bool) -> list[str]:
    lines = [f'"""{title}; generated."""', "", "from __future__ import annotations", ""]
    if uses_mapping:
        lines.append("from collections.abc import Mapping")
    return [*lines, "from dataclasses import dataclass"]


def _import_structs(module: str, names: list[str]) -> list[str]:
    if not names:
        return []
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= LINE_MAX:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in names), ")"]


def _snake(name: str) -> str:
    out = ""
    for n, letter in enumerate(name):
        after_small = n > 0 and not name[n - 1].isupper() and name[n - 1] != "_"
        before_small = 0 < n < len(name) - 1 and name[n + 1].islower() and name[n - 1] != "_"
        if letter.isupper() and n > 0 and (after_small or before_small):
            out += "_"
        out += letter.lower()
    return f"{out}_" if out in _RESERVED else out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
