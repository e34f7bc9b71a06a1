"""The house rules that no linter knows, held by reading the sources as syntax trees.

Floors 0 to 3 are pure: clock, randomness, files, threads and environment come in as arguments.
Money, votes and protocol states are integers. The rest is about being readable.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "kumiai"
PURE_ROOMS = (
    "base",
    "tasks",
    "learning",
    "valuation",
    "proofs",
    "consensus",
    "settlement",
    "governance",
    "rounds",
)
INTEGER_ROOMS = ("consensus", "settlement", "governance", "rounds")
ARRAY_ROOMS = ("learning", "valuation", "proofs", "adapters")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FORBIDDEN_FILE_NAMES = frozenset({"utils", "helpers", "common", "manager"})
FORBIDDEN_WORDS = ("TODO", "FIXME", "XXX", "NotImplementedError")

IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint", "__import__"})
IMPURE_MODULES = frozenset(
    {
        "asyncio",
        "concurrent",
        "datetime",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "pickle",
        "queue",
        "random",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "sqlalchemy",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "uuid",
        "warnings",
    }
)
# reached through a module that a pure room may import
IMPURE_ATTRIBUTES = frozenset(
    {
        "torch.load",
        "torch.save",
        "torch.manual_seed",
        "torch.seed",
        "torch.set_num_threads",
        "torch.set_default_dtype",
        "np.load",
        "np.save",
        "np.random.seed",
        "np.random.rand",
        "np.random.randn",
        "np.random.randint",
        "np.random.permutation",
        "np.random.shuffle",
        "np.random.choice",
        "np.random.normal",
        "np.random.uniform",
        "numpy.random.seed",
        "safetensors.torch.load_file",
        "safetensors.torch.save_file",
        "safetensors.numpy.load_file",
        "safetensors.numpy.save_file",
    }
)
# without a seed they draw from the operating system
SEEDED_CALLS = frozenset({"np.random.default_rng", "numpy.random.default_rng"})


def _list_files(*rooms: str) -> list[Path]:
    if not rooms:
        return sorted(SOURCE.rglob("*.py"))
    return sorted(path for room in rooms for path in (SOURCE / room).rglob("*.py"))


def _name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _list_imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def _list_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def find_impurities(tree: ast.Module) -> list[str]:
    """Return what a pure room must not do: an impure import, call or attribute."""
    found = [
        f"line {line}: import of {name}"
        for line, name in _list_imports(tree)
        if name.split(".")[0] in IMPURE_MODULES
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in IMPURE_ATTRIBUTES:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in IMPURE_CALLS:
            found.append(f"line {node.lineno}: call of {name}")
        if name in SEEDED_CALLS and not node.args and not node.keywords:
            found.append(f"line {node.lineno}: {name} without a seed")
        if name == "hash":
            found.append(f"line {node.lineno}: hash() differs from process to process")
    return found


def find_floats(tree: ast.Module) -> list[str]:
    """Return float literals, true divisions and conversions to float."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            found.append(f"line {node.lineno}: {node.value}")
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            found.append(f"line {node.lineno}: true division")
        if isinstance(node, ast.Name) and node.id == "float" and isinstance(node.ctx, ast.Load):
            found.append(f"line {node.lineno}: float")
        if (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Pow)
            and _is_negative(node.right)
        ):
            found.append(f"line {node.lineno}: negative power")
    found += [
        f"line {line}: import of {name}"
        for line, name in _list_imports(tree)
        if name.split(".")[0] in {"math", "cmath", "statistics"} and name not in EXACT_MATH
    ]
    return found


EXACT_MATH = frozenset({"math", "math.isqrt", "math.gcd", "math.lcm", "math.comb", "math.prod"})


def find_undocumented(tree: ast.Module) -> list[str]:
    """Return public functions and classes at the top of a module that have no docstring."""
    found = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if is_definition and not node.name.startswith("_") and not ast.get_docstring(node):
            found.append(f"line {node.lineno}: {node.name}")
    return found


def find_long_functions(tree: ast.Module) -> list[str]:
    """Return functions that are longer than the cap, with their length."""
    found = []
    for node in _list_functions(tree):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > FUNCTION_LINES_MAX:
            found.append(f"line {node.lineno}: {node.name} has {length} lines")
    return found


def find_other_libraries(tree: ast.Module, libraries: frozenset[str]) -> list[str]:
    """Return imports of the named libraries."""
    return [
        f"line {line}: {name}"
        for line, name in _list_imports(tree)
        if name.split(".")[0] in libraries
    ]


def _is_negative(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


@pytest.mark.parametrize("path", _list_files(*PURE_ROOMS), ids=_name_of)
def test_floors_0_to_3_are_pure(path: Path) -> None:
    assert find_impurities(_parse(path)) == []


@pytest.mark.parametrize("path", _list_files(*INTEGER_ROOMS), ids=_name_of)
def test_money_votes_and_states_are_integers(path: Path) -> None:
    assert find_floats(_parse(path)) == []


@pytest.mark.parametrize("path", _list_files(), ids=_name_of)
def test_every_public_thing_is_explained(path: Path) -> None:
    if path.name == "__main__.py" or not path.read_text(encoding="utf-8").strip():
        return
    assert find_undocumented(_parse(path)) == []


@pytest.mark.parametrize("path", _list_files(), ids=_name_of)
def test_sizes_fit_a_reader(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX
    assert find_long_functions(_parse(path)) == []


@pytest.mark.parametrize("path", _list_files(), ids=_name_of)
def test_nothing_is_left_for_later(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [word for word in FORBIDDEN_WORDS if word in text] == []


def test_every_module_is_named_after_its_concept() -> None:
    parts = {
        part for path in _list_files() for part in path.relative_to(SOURCE).with_suffix("").parts
    }
    assert parts & FORBIDDEN_FILE_NAMES == set()


def test_nothing_is_pickled_anywhere() -> None:
    libraries = frozenset({"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"})
    found = {
        _name_of(path): bad
        for path in _list_files()
        if (bad := find_other_libraries(_parse(path), libraries))
    }
    assert found == {}


def test_data_packages_are_never_imported() -> None:
    libraries = frozenset({"mlxtend", "sklearn", "palmerpenguins"})
    found = {
        _name_of(path): bad
        for path in _list_files()
        if (bad := find_other_libraries(_parse(path), libraries))
    }
    assert found == {}


def test_arrays_stay_in_their_rooms() -> None:
    rooms = [room.name for room in SOURCE.iterdir() if room.is_dir()]
    others = [room for room in rooms if room not in {*ARRAY_ROOMS, "apps"}]
    libraries = frozenset({"numpy", "torch", "safetensors"})
    found = {
        _name_of(path): bad
        for path in _list_files(*others)
        if (bad := find_other_libraries(_parse(path), libraries))
    }
    assert found == {}


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_the_rooms_that_are_checked_exist(room: str) -> None:
    assert (SOURCE / room).is_dir(), f"{room} has moved: this test would check nothing"


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from os import environ",
        "import logging.handlers",
        "from concurrent.futures import ThreadPoolExecutor",
        "print('x')",
        "open('x')",
        "torch.manual_seed(0)",
        "np.random.default_rng()",
        "np.random.rand(3)",
        "hash('x')",
        "def f():\n    import random",
    ],
)
def test_the_purity_check_finds(line: str) -> None:
    assert find_impurities(ast.parse(line))


@pytest.mark.parametrize("line", ["np.random.default_rng(seed)", "a.open()", "timed = 1"])
def test_the_purity_check_lets_pass(line: str) -> None:
    assert find_impurities(ast.parse(line)) == []


@pytest.mark.parametrize(
    "line", ["x = 0.5", "x = a / b", "x /= 2", "x = float(a)", "x = 2**-24", "from math import log"]
)
def test_the_integer_check_finds(line: str) -> None:
    assert find_floats(ast.parse(line))


@pytest.mark.parametrize("line", ["x = a // b", "from math import isqrt", "x = 2**24"])
def test_the_integer_check_lets_pass(line: str) -> None:
    assert find_floats(ast.parse(line)) == []


def test_the_readability_checks_find() -> None:
    bare = ast.parse("def f():\n    pass\n\nclass A:\n    pass")
    assert len(find_undocumented(bare)) == 3
    long = ast.parse("def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX)
    assert len(find_long_functions(long)) == 1
