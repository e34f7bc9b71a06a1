"""Whose text is whose: half the presidents' addresses are public, the others belong to members.

A member of a real task would read its own files here; the addresses stand for them.
"""

from __future__ import annotations

from pathlib import Path

from kumiai.adapters.data.corpus import read_sotu
from kumiai.adapters.data.dataset import Dataset
from kumiai.adapters.language.tokens import cut_token_texts

HERE = Path(__file__).parent
PUBLIC = 4  # the first presidents, 1790 to the Civil War or so: what the base is trained on
LENGTH = 64


def load_public(base: Path) -> Dataset:
    """The texts that the base model knows."""
    texts, authors = read_sotu()
    return cut_token_texts(texts[:PUBLIC], authors[:PUBLIC], base, LENGTH)


def load_members(base: str) -> Dataset:
    """The later presidents, each the owner of its text; `base` as in [model.options]."""
    texts, authors = read_sotu()
    return cut_token_texts(
        texts[PUBLIC:],
        authors[PUBLIC:],
        HERE / base,
        LENGTH,
        licence="public domain (works of the United States Government)",
        description="State of the Union addresses of the later presidents, byte by byte",
    )
