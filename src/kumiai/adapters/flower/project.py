"""A Flower app's folder: its pyproject.toml, its components, its run config.

    [tool.flwr.app.components]   serverapp = "pkg.server_app:app", clientapp = "pkg.client_app:app"
    [tool.flwr.app.config]       what the app reads as `context.run_config`, nested keys with dots
    [tool.flwr.federations]      default = "NAME"; NAME.options.num-supernodes = 10

The app's code runs with the user's rights in this process. Whatever it raises while it is imported
is an InputError that names the line.
"""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.base.errors import InputError

Scalar = bool | int | float | str

SUPERNODES_DEFAULT = 10
SUPERNODES_MAX = 100_000
PROJECT_BYTES_MAX = 1_000_000
REFERENCE_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
ASSIGNMENT_PATTERN = re.compile(r"""([^\s=]+)=('[^']*'|"[^"]*"|\S+)\s*""")
CONFIG_FORM = "write 'key1=1 key2=\"text\"' or the path of a TOML file"


@dataclass(frozen=True, slots=True)
class FlowerProject:
    """What pyproject.toml says. supernodes: of the default federation, or None."""

    folder: Path
    name: str
    serverapp: str
    clientapp: str
    config: Mapping[str, Scalar]
    supernodes: int | None


def read_project(folder: Path) -> FlowerProject:
    """Read `folder`/pyproject.toml; InputError names what is missing and where."""
    path = folder / "pyproject.toml"
    raw = _read_toml(path, "a Flower app is a folder with a pyproject.toml")
    tool = _get_table(raw, "tool", path)
    flower = _get_table(tool, "flwr", path)
    app = flower.get("app")
    if not isinstance(app, dict):
        fix = "it has no [tool.flwr.app]: this is not a Flower app's folder"
        raise InputError("pyproject.toml", str(path), fix)
    components = _get_table(app, "components", path)
    references = {}
    for name in ("serverapp", "clientapp"):
        value = components.get(name)
        if not isinstance(value, str):
            fix = f'add {name} = "pkg.module:app" under [tool.flwr.app.components]'
            raise InputError(f"tool.flwr.app.components.{name}", value, fix)
        references[name] = value
    config = _flatten(_get_table(app, "config", path), "", "tool.flwr.app.config")
    supernodes = _find_supernodes(_get_table(flower, "federations", path))
    name = str(_get_table(raw, "project", path).get("name", folder.resolve().name))
    return FlowerProject(folder.resolve(), name, **references, config=config, supernodes=supernodes)


def read_run_config(folder: Path) -> dict[str, Scalar]:
    """Return [tool.flwr.app.config] of the app in `folder`, {} where there is none."""
    path = folder / "pyproject.toml"
    if not path.is_file():
        return {}
    table: Mapping[str, Any] = _read_toml(path, "")
    for name in ("tool", "flwr", "app", "config"):
        table = _get_table(table, name, path)
    return _flatten(table, "", "tool.flwr.app.config")


def fuse_config(
    config: Mapping[str, Scalar], texts: Sequence[str], folder: Path
) -> dict[str, Scalar]:
    """Return `config` with the overrides of the command line; a key must exist already."""
    fused = dict(config)
    for text in texts:
        for key, value in _parse_override(text, folder).items():
            if key not in config:
                known = ", ".join(sorted(config)) or "none at all"
                fix = f"the app's [tool.flwr.app.config] has no {key}; it has {known}"
                raise InputError("--run-config", text, fix)
            fused[key] = value
    return fused


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Put `folder` first on the path; afterwards forget its modules: the next app may be another's.

    An app may import more while it runs, so this is left when the run is over, not before.
    """
    place = str(folder.resolve())
    before = set(sys.modules)
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if place in sys.path:
            sys.path.remove(place)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).resolve().is_relative_to(place):
                del sys.modules[name]


def load_component(reference: str, field: str, kind: type, folder: Path) -> Any:
    """Import "pkg.module:name" from `folder` (see `importable`) and check that it is a `kind`."""
    if not REFERENCE_PATTERN.fullmatch(reference):
        raise InputError(field, reference, 'write "pkg.module:name"')
    module_name, _, name = reference.partition(":")
    _forget_namesakes(module_name.partition(".")[0], folder.resolve())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            fix = f"there is no module {error.name} in {folder}"
            raise InputError(field, reference, fix) from error
        raise InputError(field, reference, describe(error, folder)) from error
    except Exception as error:  # the app is the user's code
        raise InputError(field, reference, describe(error, folder)) from error
    component = getattr(module, name, None)
    if component is None:
        raise InputError(field, reference, f"module {module_name} has no {name}")
    if not isinstance(component, kind):
        fix = f"{name} is a {type(component).__name__}, not a {kind.__name__}"
        raise InputError(field, reference, fix)
    return component


def _forget_namesakes(package: str, root: Path) -> None:
    """Drop a package of that name that came from another folder, where this one has its own."""
    if not ((root / package).is_dir() or (root / f"{package}.py").is_file()):
        return
    file = getattr(sys.modules.get(package), "__file__", None)
    if file and not Path(file).resolve().is_relative_to(root):
        for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
            del sys.modules[name]


def describe(error: BaseException, folder: Path) -> str:
    """The traceback's last line, and the last place in the app's own files."""
    message = traceback.format_exception_only(error)[-1].strip().partition("\n")[0]
    root = folder.resolve()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(root)
    ]
    if not frames:
        return message
    shown = Path(frames[-1].filename).relative_to(root)
    return f"{message} ({shown}, line {frames[-1].lineno})"


def _read_toml(path: Path, fix: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > PROJECT_BYTES_MAX:
            raise InputError(path.name, str(path), f"it has more than {PROJECT_BYTES_MAX} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        told = f"cannot be read ({error.strerror})"
        raise InputError(path.name, str(path), f"{told}; {fix}" if fix else told) from error
    except (ValueError, RecursionError) as error:
        raise InputError(path.name, str(path), f"not TOML: {error}") from error


def _get_table(table: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise InputError(path.name, str(path), f"{name} is {value!r}, not a table")
    return value


def _flatten(table: Mapping[str, Any], before: str, field: str) -> dict[str, Scalar]:
    flat: dict[str, Scalar] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{before}{key}.", field)
        elif isinstance(value, bool | int | float | str):
            flat[f"{before}{key}"] = value
        else:
            fix = "a run config holds numbers, texts, true and false only"
            raise InputError(f"{field}.{before}{key}", value, fix)
    return flat


def _parse_override(text: str, folder: Path) -> dict[str, Scalar]:
    if text.endswith(".toml"):
        path = Path(text) if Path(text).is_file() else folder / text
        return _flatten(_read_toml(path, CONFIG_FORM), "", "--run-config")
    stripped = text.strip()
    found = ASSIGNMENT_PATTERN.findall(stripped)
    if not found or ASSIGNMENT_PATTERN.sub("", stripped).strip():
        raise InputError("--run-config", text, CONFIG_FORM)
    try:
        raw = tomllib.loads("\n".join(f"{key} = {value}" for key, value in found))
    except ValueError as error:
        fix = f"{CONFIG_FORM}; texts need quotes ({error})"
        raise InputError("--run-config", text, fix) from error
    return _flatten(raw, "", "--run-config")


def _find_supernodes(federations: Mapping[str, Any]) -> int | None:
    chosen = federations.get(str(federations.get("default", "")), {})
    options = chosen.get("options", {}) if isinstance(chosen, dict) else {}
    count = options.get("num-supernodes") if isinstance(options, dict) else None
    return None if count is None else check_supernodes(count, "num-supernodes")


def check_supernodes(count: object, field: str) -> int:
    """Return `count`; InputError unless it is a whole number of at least 1."""
    if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= SUPERNODES_MAX:
        return count
    raise InputError(field, count, f"a number of nodes lies between 1 and {SUPERNODES_MAX}")
