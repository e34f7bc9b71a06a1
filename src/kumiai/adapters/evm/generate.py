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
             "raise", "try", "with", "yield", "del", "while", "assert", "nonlocal",
             "int", "str", "bool", "bytes", "tuple"}  # fmt: skip
Item = Mapping[str, Any]


def generate_all(artifacts: Path) -> dict[str, str]:
    """Return the text of each file under bindings/ by its path."""
    files = {
        "__init__.py": '"""Typed bindings of the contracts; generated, see ../generate.py."""\n'
    }
    texts = [path.read_text(encoding="utf-8") for path in sorted(artifacts.glob("*.json"))]
    abis = {str(a["contractName"]): list(a["abi"]) for a in map(json.loads, texts)}
    structs: dict[str, dict[str, list[Item]]] = {}
    for name, abi in abis.items():
        _collect_structs(name, abi, structs)
        for part, text in generate_contract(name, abi, abis.get(f"I{name}", [])).items():
            files[f"{name.lower()}/{part}"] = text
    for owner, members in sorted(structs.items()):
        files.setdefault(f"{owner.lower()}/__init__.py", f'"""Bindings of {owner}; generated."""\n')
        files[f"{owner.lower()}/structs.py"] = _write_structs(owner, members)
    return files


def generate_contract(name: str, abi: list[Item], interface: list[Item]) -> dict[str, str]:
    """Return a contract's modules by file name; what its interface has is not said again."""
    files = {"__init__.py": f'"""Bindings of {name}; generated."""\n'}
    own = [item for item in abi if item not in interface]
    kinds = {kind: _sorted(own, kind) for kind in ("constructor", "function", "event", "error")}
    if kinds["function"] or kinds["constructor"]:
        files["calls.py"] = _write_calls(name, kinds["function"], kinds["constructor"])
    for kind, base in (("event", "Event"), ("error", "ContractError")):
        if kinds[kind]:
            has_more = any(item["type"] == kind for item in interface)
            files[f"{kind}s.py"] = _write_classes(name, kinds[kind], base, has_more)
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
    items = sorted((i for i in abi if i["type"] == kind), key=_place)
    seen: dict[str, int] = {}
    named: list[Item] = []
    for item in items:
        name = str(item.get("name", kind))
        seen[name] = count = seen.get(name, 0) + 1
        named.append({**item, "python": name + (f"_{count}" if count > 1 else "")})
    return named


def _place(item: Item) -> tuple[str, str]:
    return str(item.get("name", "")), ",".join(_abi_type(p) for p in item["inputs"])


def _abi_type(parameter: Item) -> str:
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_abi_type(p) for p in parameter['components'])}){kind[5:]}"


def _struct_name(parameter: Item) -> str | None:
    if not parameter["type"].startswith("tuple"):
        return None
    return _full_name(parameter).split(".")[-1]


def _full_name(parameter: Item) -> str:
    return str(parameter["internalType"]).removeprefix("struct ").split("[")[0]


def _collect_structs(
    contract: str, abi: Iterable[Item], found: dict[str, dict[str, list[Item]]]
) -> None:
    """Add each struct's components under the contract that declares it, inner ones first."""

    def visit(parameter: Item) -> None:
        if _struct_name(parameter) is None:
            return
        for component in parameter["components"]:
            visit(component)
        owner, _, name = _full_name(parameter).rpartition(".")
        if (
            found.setdefault(owner or contract, {}).setdefault(name, parameter["components"])
            != parameter["components"]
        ):
            raise ValueError(f"two different structs are called {owner}.{name}")

    for item in sorted(abi, key=lambda i: (i["type"], i.get("name", ""))):
        for parameter in (*item.get("inputs", ()), *item.get("outputs", ())):
            visit(parameter)


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


def _used_structs(contract: str, items: Iterable[Item]) -> dict[str, str]:
    """Return the structs that are named in signatures, and the contract that declares each."""
    used = {}
    for item in items:
        for parameter in (*item.get("inputs", ()), *item.get("outputs", ())):
            if parameter["type"].startswith("tuple"):
                owner, _, name = _full_name(parameter).rpartition(".")
                used[name] = owner or contract
    return dict(sorted(used.items()))


def _write_structs(contract: str, structs: Mapping[str, list[Item]]) -> str:
    uses = any(_struct_name(c) for components in structs.values() for c in components)
    lines = _top(f"Structs of {contract}", uses_mapping=uses)
    lines += ["from typing import ClassVar", "", "from kumiai.adapters.evm.abi import Struct"]
    inner_ones = _used_structs(contract, ({"inputs": c} for c in structs.values()))
    lines += _import_structs({n: owner for n, owner in inner_ones.items() if owner != contract})
    for name, components in structs.items():
        names = _field_names(components)
        fields = zip(names, components, strict=True)
        inner = [f'"{n}": ("{c["type"]}", {_struct_name(c)})' for n, c in fields if _struct_name(c)]
        abi = ",".join(_abi_type(c) for c in components)
        lines += ["", "", "@dataclass(frozen=True, slots=True)", f"class {name}(Struct):"]
        lines += [f'    """{name} of {contract}."""', ""]
        lines += [f"    {n}: {_python_type(c)}" for n, c in zip(names, components, strict=True)]
        lines += _text("    ABI: ClassVar[str] = ", f"({abi})")
        if inner:
            head = "    SHAPES: ClassVar[Mapping[str, tuple[str, type[Struct]]]] = {"
            lines += _fit(head, inner, "}")
    return "\n".join(lines) + "\n"


def _write_calls(contract: str, items: list[Item], constructors: list[Item]) -> str:
    lines = [f'"""Calls of {contract}; generated."""', "", "from __future__ import annotations", ""]
    if any(p["type"].endswith("]") for i in (*items, *constructors) for p in i["inputs"]):
        lines += ["from collections.abc import Sequence", ""]
    used = _used_structs(contract, (*items, *constructors))
    lines += ["from kumiai.adapters.evm.abi import Call, Structs, make_function"]
    lines += _import_structs(used)
    pairs = [f'"{name}": {name}' for name in used]
    lines += ["", *_fit("_STRUCTS: Structs = {", pairs, "}")]
    for item in (*constructors, *items):
        name = item.get("name", "constructor")
        signature = f'"{name}{_parameters(item["inputs"])}"'
        constant = f"_{_snake(item['python']).upper()}"
        parts = [signature, f'"{_parameters(item.get("outputs", []))}"', "_STRUCTS"]
        lines += _fit(f"{constant} = make_function(", parts, ")")
    for item in (*constructors, *items):
        lines += _write_call(item)
    return "\n".join(lines) + "\n"


def _write_call(item: Item) -> list[str]:
    inputs, outputs = item["inputs"], item.get("outputs", [])
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
    is_paid = ", which takes value" if item.get("stateMutability") == "payable" else ""
    if item["type"] == "constructor":  # its code comes first, its arguments without a selector
        code = ["bytecode: bytes", *arguments]
        head = _fit(f"def {name}(", code, ") -> bytes:")
        doc = '    """Return the code of a creation with its arguments."""'
        return [
            "",
            "",
            *head,
            doc,
            f"    return bytecode + Call(_CONSTRUCTOR, {passed}).data[4:]",
        ]
    return [
        "",
        "",
        *_fit(f"def {name}(", arguments, f") -> Call[{answer}]:"),
        f'    """Make the call {item["name"]}{is_paid}."""',
        *_fit("    return Call(", [f"_{name.upper()}", passed], ")"),
    ]


def _write_classes(contract: str, items: list[Item], base: str, has_interface: bool) -> str:
    what, types = ("Events", "EventTypes") if base == "Event" else ("Errors", "ErrorTypes")
    collect = f"collect_{what.lower()}"
    used = _used_structs(contract, items)
    lines = _top(f"{what} of {contract}", uses_mapping=False)
    imported = [base, types, *(["Structs"] if used else []), collect]
    lines += ["from typing import ClassVar", ""]
    lines += [f"from kumiai.adapters.evm.abi import {', '.join(imported)}"]
    if has_interface:
        module = f"kumiai.adapters.evm.bindings.i{contract.lower()}.{what.lower()}"
        lines += [f"from {module} import {what.upper()} as INHERITED"]
    lines += _import_structs(used)
    for item in items:
        inputs = item["inputs"]
        lines += ["", "", "@dataclass(frozen=True, slots=True)", f"class {item['python']}({base}):"]
        lines += [f'    """{item["name"]} of {contract}."""', ""]
        for name, parameter in zip(_field_names(inputs), inputs, strict=True):
            is_hash = parameter.get("indexed") and _is_hashed(parameter)
            lines.append(f"    {name}: {'bytes' if is_hash else _python_type(parameter)}")
        signature = f"{item['name']}{_parameters(inputs)}"
        lines += _text("    SIGNATURE: ClassVar[str] = ", signature)
        if own := _used_structs(contract, [item]):
            pairs = [f'"{name}": {name}' for name in own]
            lines += _fit("    STRUCTS: ClassVar[Structs] = {", pairs, "}")
    all_of = f"{collect}(globals())"
    if has_interface:
        all_of = f"{{**INHERITED, **{all_of}}}"
    lines += ["", "", f"{what.upper()}: {types} = {all_of}"]
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
    if len(inner) <= LINE_MAX and tail != "}":  # the formatter gives a dict's items a line each
        return [head, inner, f"{pad}{tail}"]
    return [head, *(f"{pad}    {part}," for part in parts), f"{pad}{tail}"]


def _top(title: str, *, uses_mapping: bool) -> list[str]:
    lines = [f'"""{title}; generated."""', "", "from __future__ import annotations", ""]
    if uses_mapping:
        lines.append("from collections.abc import Mapping")
    return [*lines, "from dataclasses import dataclass"]


def _import_structs(used: Mapping[str, str]) -> list[str]:
    lines = []
    for owner in sorted(set(used.values()), key=str.lower):
        names = [name for name, declared in used.items() if declared == owner]
        line = f"from kumiai.adapters.evm.bindings.{owner.lower()}.structs import "
        if len(line + ", ".join(names)) <= LINE_MAX:
            lines.append(line + ", ".join(names))
        else:
            lines += [f"{line}(", *(f"    {name}," for name in names), ")"]
    return lines


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
