"""The source of an exported model: `model.py`, which builds the network from plain torch.

A built-in recipe's classes are copied out of their module with all they use (constants, imports),
and called with the sizes of the exported width. A user's recipe file is copied as `recipe.py` and
called as the task calls it. Nothing is written anew by hand, so nothing can drift.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from kumiai.adapters.data.user_file import is_user_reference
from kumiai.apps.export import standalone
from kumiai.base.errors import InputError, InternalError
from kumiai.learning.recipe import Recipe, RecipeOrigin, describe_network

MODEL_FILE = "model.py"
RECIPE_FILE = "recipe.py"
TENSOR_FILE = "model.safetensors"

_HEADER = '''\
"""{title}

Written by `kumiai export`; it needs PyTorch and nothing else{also}.
{licence}"""

from __future__ import annotations

'''
_LICENCE = "The code is from Kumiai. SPDX-License-Identifier: Apache-2.0\n"
_LOAD = '''

def build() -> nn.Module:
    """Return the network with numbers as good as any: `load_model` fills in the trained ones."""
    return {call}


def load_model(path: str | Path = Path(__file__).with_name("{tensor_file}")) -> nn.Module:
    """Return the trained network, ready to use (evaluation mode)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what a network draws when it is built, and no training changes
        network = build()
    return fill(network, read_tensors(Path(path))).eval()
'''


def write_sources(recipe: Recipe, width: float, title: str) -> dict[str, bytes]:
    """Return file name -> content of what rebuilds `recipe` at `width` without this package.

    InputError for a recipe that exists in this process alone, or whose file is gone.
    """
    origin = recipe.origin
    if origin is None:
        fix = 'it exists in this process alone: write it as a file, "FILE.py:function"'
        raise InputError("model.recipe", recipe.name, fix)
    files: dict[str, bytes] = {}
    if is_user_reference(origin.name):
        files[RECIPE_FILE] = _read_recipe_file(origin)
        function = origin.name.rpartition(":")[2]
        imports, body = [f"from recipe import {function} as build_network"], ""
        options = "".join(f", {name}={value!r}" for name, value in origin.options)
        call, also, licence = f"build_network({width!r}{options})", ", and recipe.py beside it", ""
    else:
        network, arguments = describe_network(origin, width)
        imports, body = collect_source(sys.modules[network.__module__], [network.__name__])
        call, also, licence = f"{network.__name__}{arguments!r}", "", _LICENCE
    more, reader = collect_source(standalone, ["read_tensors", "fill"])
    header = _HEADER.format(title=_as_comment(title), also=also, licence=licence)
    parts = [header, _sort_imports([*imports, *more]), body, reader]
    parts.append(_LOAD.format(call=call, tensor_file=TENSOR_FILE))
    files[MODEL_FILE] = "".join(parts).encode("utf-8")
    return files


def collect_source(module: ModuleType, names: Iterable[str]) -> tuple[list[str], str]:
    """Return the imports and the source of `names` and of everything of the module they use.

    InternalError when they use something of this package: it would not be there.
    """
    text = inspect.getsource(module)
    lines, tree = text.splitlines(), ast.parse(text)
    defined = {name: node for node in tree.body for name in _defined_names(node)}
    wanted, queue = set(), list(names)
    while queue:
        name = queue.pop()
        if name not in wanted and name in defined:
            wanted.add(name)
            if not isinstance(defined[name], ast.Import | ast.ImportFrom):
                used = (node.id for node in ast.walk(defined[name]) if isinstance(node, ast.Name))
                queue += used
    imports, blocks = [], []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports += [
                _write_import(node, alias)
                for alias in node.names
                if (alias.asname or alias.name).partition(".")[0] in wanted
            ]
        elif any(name in wanted for name in _defined_names(node)):
            gap = "\n" if isinstance(node, ast.Assign | ast.AnnAssign) else "\n\n"
            blocks.append(gap + "\n".join(lines[node.lineno - 1 : node.end_lineno]) + "\n")
    return imports, "".join(blocks)


def _defined_names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    return []


def _write_import(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    said = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
    if isinstance(node, ast.Import):
        return f"import {said}"
    if node.level or str(node.module).partition(".")[0] == "kumiai":
        raise InternalError(f"{alias.name} of {node.module} would be missing from {MODEL_FILE}")
    return f"from {node.module} import {said}"


def _sort_imports(imports: Iterable[str]) -> str:
    """The standard library's first, then the others, each line once."""
    wanted = {"import torch", "from pathlib import Path", "from torch import nn", *imports}
    is_other = {line: line.split()[1].partition(".")[0] in ("torch", "recipe") for line in wanted}
    groups = [sorted(line for line in wanted if is_other[line] is other) for other in (False, True)]
    return "\n\n".join("\n".join(group) for group in groups) + "\n"


def _read_recipe_file(origin: RecipeOrigin) -> bytes:
    path = Path(origin.folder) / origin.name.rpartition(":")[0]
    try:
        return path.read_bytes()
    except OSError as error:
        fix = f"{path} cannot be read ({error.strerror})"
        raise InputError("model.recipe", origin.name, fix) from error


def _as_comment(text: str) -> str:
    """A line of text that cannot end the docstring that it stands in."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "/").replace('"', "'")
