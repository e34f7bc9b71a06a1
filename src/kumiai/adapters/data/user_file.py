"""The user's own Python file: a function that loads data, or one that builds a network.

"FILE.py:function" names it. The file runs with the user's rights in this process: a task file is
code that its author is trusted with, like a notebook. Whatever it raises becomes an InputError.

A data function returns (X, y), (X, y, owners), or a dict with X, y and, optionally, owners,
class_count, licence and description; numpy arrays, torch tensors, lists and data frames will do.
Or a `Dataset`, as `language.tokens` makes it of texts.
Labels may be text: they become numbers in sorted order. Owners may be any names.
A network file has `build(width, **options)` under the named function, and optionally
`loss(outputs, targets)` and `correct(outputs, targets)` beside it, and `parallel = "ddp"` or
`"fsdp"` with `parallel_processes = 2`: in how many processes a member trains it.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.data.dataset import FIELD, Dataset
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InputError
from kumiai.learning.parallel import COUNT, MODE, choose_parallel
from kumiai.learning.recipe import Recipe, RecipeOrigin, wrap_recipe

OptionValue = int | str | bool

RESULT_KEYS = ("X", "y", "owners", "class_count", "licence", "description")
RESULT_FORMS = "return (X, y), (X, y, owners) or a dict with X and y"
RECIPE_FIELD = "model.recipe"


def is_user_reference(text: str) -> bool:
    """Tell whether `text` has the form FILE.py:function."""
    path, separator, name = text.rpartition(":")
    return bool(separator) and path.endswith(".py") and name.isidentifier()


def load_user_dataset(
    reference: str, options: Mapping[str, OptionValue], seed: int, folder: Path
) -> Dataset:
    """Call the user's function with `options` (and `seed`, if it has that parameter)."""
    function, module = _load_function(FIELD, reference, folder)
    arguments: dict[str, Any] = dict(options)
    if "seed" in inspect.signature(function).parameters:
        arguments.setdefault("seed", seed)
    with _calling(FIELD, reference, module):
        result = function(**arguments)
    return result if isinstance(result, Dataset) else _convert_result(result, reference)


def load_user_recipe(
    reference: str,
    options: Mapping[str, OptionValue],
    widths_ppm: Sequence[int],
    folder: Path | None = None,
) -> Recipe:
    """Return the recipe whose `build` is the user's function; its file may define loss, correct.

    Whether the widths nest is checked by `kumiai.learning.slim.check_nested`.
    """
    if not is_user_reference(reference):
        raise InputError(RECIPE_FIELD, reference, 'write "FILE.py:function"')
    function, module = _load_function(RECIPE_FIELD, reference, folder or Path())
    build = partial(function, **options) if options else function
    judges = {name: getattr(module, name, None) for name in ("loss", "correct")}
    for name, judge in judges.items():
        if judge is not None and not callable(judge):
            raise InputError(RECIPE_FIELD, reference, f"`{name}` in this file is not a function")
    declared = getattr(module, MODE, None), getattr(module, COUNT, None)
    parallel = choose_parallel(reference, *declared)
    recipe = wrap_recipe(reference, build, widths_ppm, judges["loss"], judges["correct"], parallel)
    path = Path(str(module.__file__))
    origin = RecipeOrigin(
        reference,
        tuple(sorted(options.items())),
        tuple(widths_ppm),
        folder=str((folder or Path()).resolve()),
        file_sha256=sha256_hex(path.read_bytes()),
    )
    return replace(recipe, origin=origin)


def hash_user_file(reference: str, folder: Path) -> str:
    """Return the sha256 of the file that holds the user's recipe, without running it."""
    return sha256_hex(_find_file(RECIPE_FIELD, reference, folder).read_bytes())


def _find_file(field: str, reference: str, folder: Path) -> Path:
    path = (folder / reference.rpartition(":")[0]).resolve()
    if not path.is_file():
        raise InputError(field, reference, f"there is no file {path}")
    return path


def _load_function(
    field: str, reference: str, folder: Path
) -> tuple[Callable[..., Any], ModuleType]:
    name = reference.rpartition(":")[2]
    path = _find_file(field, reference, folder)
    module_name = f"kumiai_user_{path.stem}_{sha256_hex(str(path).encode())[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InputError(field, reference, f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickling look a module up by its name
    with _calling(field, reference, module):
        spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(field, reference, f"{path.name} has no function {name}")
    return function, module


@contextmanager
def _calling(field: str, reference: str, module: ModuleType) -> Iterator[None]:
    """Run the user's code with its folder importable; name the line of whatever it raises."""
    folder = str(Path(str(module.__file__)).parent)
    sys.path.insert(0, folder)
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # Any exception of the user's code is one fault with one address: the field that named it.
        message = f"{type(error).__name__}: {error}{_find_line(error, module)}"
        raise InputError(field, reference, message) from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _find_line(error: BaseException, module: ModuleType) -> str:
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == module.__file__:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" ({Path(str(module.__file__)).name}, line {line})" if line else ""


def _convert_result(result: Any, reference: str) -> Dataset:
    if isinstance(result, Sequence) and len(result) in (2, 3) and not isinstance(result, str):
        result = dict(zip(RESULT_KEYS, result, strict=False))
    if not isinstance(result, Mapping) or not {"X", "y"} <= result.keys() <= set(RESULT_KEYS):
        shown = sorted(result) if isinstance(result, Mapping) else type(result).__name__
        raise InputError(FIELD, reference, f"the function returned {shown}: {RESULT_FORMS}")
    features = _convert_features(result["X"], reference)
    labels = _convert_labels(result["y"], reference)
    owners, owner_names = _convert_owners(result.get("owners"), len(features), reference)
    return Dataset(
        features=features,
        labels=labels,
        owners=owners,
        class_count=_read_class_count(result, features, labels, reference),
        input_shape=features.shape[1:],
        owner_names=owner_names,
        licence=str(result.get("licence", "")),
        description=str(result.get("description", "")),
    )


def _convert_features(values: Any, reference: str) -> NDArray[np.float32]:
    array = _to_array(values, "X", reference)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # infinity is named by the check
            features = np.ascontiguousarray(array, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(FIELD, reference, f"X does not hold numbers: {error}") from error
    if array.ndim < 2:
        raise InputError(FIELD, reference, f"X has shape {list(array.shape)}, expected [n, ...]")
    return features


def _convert_labels(values: Any, reference: str) -> NDArray[np.int64]:
    array = _to_array(values, "y", reference)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]  # a one-column table
    if array.dtype.kind in "OUS":
        texts = array.astype(str)
        return np.unique(texts, return_inverse=True)[1].reshape(texts.shape).astype(np.int64)
    if array.dtype.kind == "f":
        is_whole = np.isfinite(array) & (array == np.rint(array))
        if not is_whole.all():
            row = int(np.argwhere(~is_whole)[0, 0])
            raise InputError(
                FIELD, reference, f"label of row {row} is {array[row]}: labels are class numbers"
            )
    elif array.dtype.kind not in "iub":
        raise InputError(FIELD, reference, f"y is {array.dtype}: labels are class numbers or text")
    return array.astype(np.int64)


def _convert_owners(
    values: Any, size: int, reference: str
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if values is None:
        return None, ()
    array = _to_array(values, "owners", reference)
    if array.shape != (size,):
        raise InputError(FIELD, reference, f"owners have shape {list(array.shape)}, not [{size}]")
    names, owners = np.unique(array.astype(str), return_inverse=True)
    return owners.astype(np.int64), tuple(map(str, names))


def _read_class_count(
    result: Mapping[str, Any],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    reference: str,
) -> int:
    given = result.get("class_count")
    if given is not None:
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise InputError(FIELD, reference, f"class_count {given!r} is not a positive integer")
        return given
    highest = int(labels.max()) if labels.size else 0
    if labels.ndim == 2 and features.shape == labels.shape and np.isfinite(features).all():
        highest = max(highest, int(features.max()))  # tokens in and out share one vocabulary
    return highest + 1


def _to_array(values: Any, name: str, reference: str) -> NDArray[Any]:
    if hasattr(values, "detach"):  # a torch tensor, on whatever device
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(FIELD, reference, f"{name} is not an array: {error}") from error
