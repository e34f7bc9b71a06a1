"""A base model's folder: which of its files are read, whether they may be, and their one hash.

Read are config.json, tokenizer.json, *.safetensors and their index: no other file decides anything.
The hash is over their names and hashes, and stands in the task as `base_sha256`, so that the task's
own hash binds every byte of the base.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kumiai.base.canonical import hash_document
from kumiai.base.errors import InputError

FIELD = "model.options.base"
HASH_FIELD = "model.options.base_sha256"
CONFIG, TOKENIZER, INDEX = "config.json", "tokenizer.json", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"

CONFIG_BYTES_MAX = 2**20
TOKENIZER_BYTES_MAX = 64 * 2**20
INDEX_BYTES_MAX = 16 * 2**20
WEIGHTS_BYTES_MAX = 32 * 2**30  # all files together
WEIGHTS_FILES_MAX = 256
CHUNK_BYTES = 2**20
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
SHOWN_FILES = 3


@dataclass(frozen=True, slots=True)
class BaseFolder:
    """A checked folder. sha256: of all files that are read; config: config.json's content."""

    path: Path
    sha256: str
    tokenizer_sha256: str
    config: dict[str, Any]


def open_base(path: Path) -> BaseFolder:
    """Check and hash the folder; InputError names what is missing, forbidden or too big."""
    if not path.is_dir():
        raise InputError(FIELD, str(path), f"is no folder: put {CONFIG} and *.safetensors there")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickles = sorted(file.name for kind in PICKLES for file in path.glob(kind))
        shown = ", ".join(pickles[:SHOWN_FILES])
        fix = f"has {shown} but no *.safetensors: pickles can run code and are not read; convert it"
        raise InputError(FIELD, str(path), fix if pickles else "has no *.safetensors file")
    if (path / ADAPTER).exists():
        fix = f"has {ADAPTER}: an adapter is no base; merge it into its base first"
        raise InputError(FIELD, str(path), fix)
    check_sizes(path, weights)
    names = [CONFIG, *(n for n in (INDEX, TOKENIZER) if (path / n).exists())]
    files = [path / name for name in names] + weights
    hashes = {file.name: hash_file(file) for file in files}
    document = {"files": [{"name": n, "sha256": h} for n, h in sorted(hashes.items())]}
    tokenizer_sha256 = hashes.get(TOKENIZER, "")
    return BaseFolder(path, hash_document(document), tokenizer_sha256, read_config(path))


def check_sizes(path: Path, weights: list[Path]) -> None:
    """Refuse what is too big before any of it is read; InputError with both sizes."""
    limits = {CONFIG: CONFIG_BYTES_MAX, TOKENIZER: TOKENIZER_BYTES_MAX, INDEX: INDEX_BYTES_MAX}
    for name, limit in limits.items():
        file = path / name
        if file.exists() and file.stat().st_size > limit:
            fix = f"{name} has {file.stat().st_size} bytes, at most {limit} are read"
            raise InputError(FIELD, str(path), fix)
    if len(weights) > WEIGHTS_FILES_MAX:
        fix = f"has {len(weights)} *.safetensors files, at most {WEIGHTS_FILES_MAX} are read"
        raise InputError(FIELD, str(path), fix)
    total = sum(file.stat().st_size for file in weights)
    if total > WEIGHTS_BYTES_MAX:
        fix = f"its *.safetensors have {total} bytes, at most {WEIGHTS_BYTES_MAX} are read"
        raise InputError(FIELD, str(path), fix)


def read_config(path: Path) -> dict[str, Any]:
    """Return config.json; InputError unless it is one of a plain model without code of its own."""
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(FIELD, str(path), f"{CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InputError(FIELD, str(path), f"{CONFIG} names no model_type")
    if "auto_map" in config:
        fix = f"{CONFIG} has auto_map: the model brings code of its own, which is never run"
        raise InputError(FIELD, str(path), fix)
    if "quantization_config" in config:
        fix = f"{CONFIG} has quantization_config: save the model with plain weights"
        raise InputError(FIELD, str(path), fix)
    return config


def check_hash(folder: BaseFolder, wanted: object) -> None:
    """Raise InputError, with both hashes, unless the folder is the one that the task names."""
    if wanted != folder.sha256:
        fix = f"the folder {folder.path} has {folder.sha256}: another base than the task's"
        raise InputError(HASH_FIELD, wanted, fix)


def hash_file(file: Path) -> str:
    """Return the file's sha256; a file that was hashed and is untouched is not read again."""
    try:
        stat = file.stat()
    except OSError as error:
        raise InputError(FIELD, str(file), f"cannot be read: {error}") from error
    return _hash_content(file, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4 * WEIGHTS_FILES_MAX)
def _hash_content(file: Path, size: int, changed_ns: int, inode: int) -> str:
    del size, changed_ns, inode  # what the memory goes by
    digest = hashlib.sha256()
    try:
        with file.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise InputError(FIELD, str(file), f"cannot be read: {error}") from error
    return digest.hexdigest()
