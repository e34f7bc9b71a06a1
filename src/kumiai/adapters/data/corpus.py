"""Text that comes with the package, cut into sequences, each owned by its author.

    sotu   State of the Union addresses of eight presidents, 1790 to 2014, 1.1 million characters
           (public domain; corpora/README.md says from where and how they were chosen)

A sample is `length` characters in a row, its targets are the same moved on by one: the character
that follows each. Neighbouring samples share one character, as target of one and start of the next.
Characters are numbered by their place in the alphabet, which is the file's own and not counted from
the text at hand: members with private texts must agree on it without showing them.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np

from kumiai.adapters.data.dataset import Dataset

SOTU_ALPHABET = " !\"$%&'(),-./0123456789:;?abcdefghijklmnopqrstuvwxyz"
SOTU_LICENCE = "public domain (works of the United States Government); CC0-1.0 (datasets-sotu)"
LENGTH_DEFAULT = 64
LENGTH_MAX = 1_024
_FOLDER = Path(__file__).parent / "corpora"


def load_sotu(length: int = LENGTH_DEFAULT) -> Dataset:
    """Return features [n, length] of whole numbers and labels [n, length]; owners: presidents."""
    texts, authors = read_sotu()
    description = "State of the Union addresses, character by character, by president"
    return cut_texts(
        texts, authors, SOTU_ALPHABET, length, licence=SOTU_LICENCE, description=description
    )


def read_sotu() -> tuple[list[str], tuple[str, ...]]:
    """Return the presidents' texts and names, in the order of time."""
    paths = sorted((_FOLDER / "sotu").glob("*.txt.xz"))
    texts = [lzma.decompress(path.read_bytes()).decode("ascii") for path in paths]
    return texts, tuple(_name_author(path) for path in paths)


def cut_texts(
    texts: list[str],
    authors: tuple[str, ...],
    alphabet: str,
    length: int,
    *,
    licence: str = "",
    description: str = "",
) -> Dataset:
    """Cut each author's text into samples of `length`; what is left over at its end is dropped.

    Raises ValueError for a character outside the alphabet or a length that leaves no sample.
    """
    numbered = [_number(text, alphabet) for text in texts]
    return cut_tokens(
        numbered,
        authors,
        len(alphabet),
        length,
        alphabet=alphabet,
        licence=licence,
        description=description,
    )


def cut_tokens(
    numbered: list[np.ndarray],
    authors: tuple[str, ...],
    class_count: int,
    length: int,
    *,
    alphabet: str = "",
    tokens: tuple[bytes, ...] = (),
    licence: str = "",
    description: str = "",
) -> Dataset:
    """Cut each author's text, numbered already (int64 [T]), into samples of `length`.

    What is left over at a text's end is dropped. Raises ValueError where no sample is left.
    """
    counts = [max(0, len(each) - 1) // length for each in numbered]
    if not sum(counts):
        raise ValueError(f"no text is longer than length {length}")
    pairs = list(zip(numbered, counts, strict=True))
    cuts = [each[: n * length].reshape(n, length) for each, n in pairs]
    nexts = [each[1 : n * length + 1].reshape(n, length) for each, n in pairs]
    return Dataset(
        features=np.concatenate(cuts).astype(np.float32),
        labels=np.concatenate(nexts),
        owners=np.repeat(np.arange(len(authors), dtype=np.int64), counts),
        class_count=class_count,
        input_shape=(length,),
        owner_names=authors,
        licence=licence,
        description=description,
        alphabet=alphabet,
        tokens=tokens,
    )


def _number(text: str, alphabet: str) -> np.ndarray:
    """Return each character's place in the alphabet, int64 [len(text)]."""
    places = {character: place for place, character in enumerate(alphabet)}
    unknown = set(text) - set(places)
    if unknown:
        raise ValueError(f"characters outside the alphabet: {sorted(unknown)[:8]}")
    return np.array([places[character] for character in text], dtype=np.int64)


def _name_author(path: Path) -> str:
    """1934_franklin_d_roosevelt.txt.xz -> Franklin D Roosevelt."""
    return path.name.split(".")[0].split("_", 1)[1].replace("_", " ").title()
