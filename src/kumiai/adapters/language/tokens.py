"""Texts as the token numbers of a base's own tokenizer, cut into sequences.

Only byte-level tokenizers without a normaliser are taken (those of GPT-2, Llama 3, Qwen and most
since): there a token stands for certain bytes of the text, so that bits a byte can be counted
exactly and compared between bases.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kumiai.adapters.data.corpus import cut_tokens
from kumiai.adapters.data.dataset import Dataset
from kumiai.adapters.language.base_folder import (
    CONFIG,
    CONFIG_BYTES_MAX,
    TOKENIZER,
    TOKENIZER_BYTES_MAX,
)
from kumiai.adapters.language.library import require_tokenizers
from kumiai.base.errors import InputError

FIELD = "data.options.tokenizer"


def cut_token_texts(
    texts: list[str],
    authors: tuple[str, ...],
    folder: Path,
    length: int,
    *,
    licence: str = "",
    description: str = "",
) -> Dataset:
    """Number each author's text with the tokenizer in `folder` and cut it as `cut_tokens` does.

    Raises InputError for a folder without such a tokenizer, ValueError where no text is long
    enough.
    """
    library = require_tokenizers()
    table = _read_table(folder)
    try:
        tokenizer = library.Tokenizer.from_str(json.dumps(table))
    except Exception as error:  # the library raises plain Exception for whatever does not hold
        raise InputError(FIELD, str(folder), f"{TOKENIZER} is refused: {error}") from error
    numbered = [
        np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
        for text in texts
    ]
    spellings = list_spellings(tokenizer)
    count = max(_read_vocabulary(folder), len(spellings))
    return cut_tokens(
        numbered,
        authors,
        count,
        length,
        tokens=(*spellings, *[b""] * (count - len(spellings))),
        licence=licence,
        description=description,
    )


def list_spellings(tokenizer: Any) -> tuple[bytes, ...]:
    """Return the bytes that each token of a byte-level tokenizer stands for; empty for gaps."""
    letters = {letter: byte for byte, letter in enumerate(_list_byte_letters())}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    spellings = [b""] * (max(vocabulary.values()) + 1)
    for text, number in vocabulary.items():
        is_plain = all(letter in letters for letter in text)
        # an added token such as <|endoftext|> is written as it is
        spellings[number] = bytes(letters[c] for c in text) if is_plain else text.encode()
    return tuple(spellings)


def _list_byte_letters() -> list[str]:
    """The letter that byte-level tokenizers write for each byte (GPT-2's table, by its rule).

    Printable bytes of Latin-1 stand for themselves, the others for the letters from U+0100 on.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _read_table(folder: Path) -> dict[str, Any]:
    table = _read_json(folder / TOKENIZER, TOKENIZER_BYTES_MAX)
    decoder = table.get("decoder")
    kinds = {decoder.get("type")} if isinstance(decoder, dict) else set()
    if "ByteLevel" not in kinds or table.get("normalizer") is not None:
        fix = f"{TOKENIZER} is not byte-level, or changes texts: bytes could not be counted"
        raise InputError(FIELD, str(folder), fix)
    return table


def _read_vocabulary(folder: Path) -> int:
    """Return the vocabulary that the base's scores have: often some more than the tokenizer's."""
    if not (folder / CONFIG).exists():
        return 0
    size = _read_json(folder / CONFIG, CONFIG_BYTES_MAX).get("vocab_size", 0)
    return size if isinstance(size, int) and 0 <= size <= 2**24 else 0


def _read_json(file: Path, size_max: int) -> dict[str, Any]:
    try:
        if file.stat().st_size > size_max:
            raise InputError(FIELD, str(file), f"has more than {size_max} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(FIELD, str(file), f"cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(FIELD, str(file), "holds no table")
    return content
