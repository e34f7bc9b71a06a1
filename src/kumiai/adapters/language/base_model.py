"""The frozen base network out of its folder: loaded once a process, shared by all who use it."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from kumiai.adapters.language.base_folder import FIELD, BaseFolder
from kumiai.adapters.language.library import require_transformers
from kumiai.base.errors import InputError
from kumiai.learning.recipes.lora import freeze

MODELS_KEPT = 2

_kept: OrderedDict[tuple[Path, str], nn.Module] = OrderedDict()
_lock = Lock()


def load_base(folder: BaseFolder) -> nn.Module:
    """Return the folder's causal language model in float32, frozen; the same object every time.

    Nobody may change it: `LoraBuilder` builds around its tensors. Raises InputError where
    transformers is missing, or where config.json and the weights do not make one whole model.
    """
    key = (folder.path, folder.sha256)
    with _lock:
        if key not in _kept:
            _kept[key] = freeze(_read_model(folder))
            while len(_kept) > MODELS_KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return _kept[key]


def _read_model(folder: BaseFolder) -> nn.Module:
    transformers = require_transformers()
    _check_size(transformers, folder)
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder.path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            # written out: the fused kernels have no rule for being stacked over members
            attn_implementation="eager",
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise InputError(FIELD, str(folder.path), f"transformers refuses it: {error}") from error
    for fault in ("missing_keys", "mismatched_keys"):
        if report.get(fault):
            names = ", ".join(sorted(str(name) for name in report[fault])[:3])
            fix = f"{fault.replace('_keys', '')} weights: {names}; the base must be whole"
            raise InputError(FIELD, str(folder.path), fix)
    loaded: nn.Module = model
    return loaded


def _check_size(transformers: Any, folder: BaseFolder) -> None:
    """Refuse a config.json that asks for more numbers than the files have, before it gets them."""
    try:
        held = count_numbers(folder.path)
        config = transformers.AutoConfig.from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            skeleton = transformers.AutoModelForCausalLM.from_config(
                config, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise InputError(FIELD, str(folder.path), f"transformers refuses it: {error}") from error
    asked = sum(parameter.numel() for parameter in skeleton.parameters())
    if asked > held:
        fix = f"config.json asks for {asked} numbers, the *.safetensors hold {held}"
        raise InputError(FIELD, str(folder.path), fix)


def count_numbers(path: Path) -> int:
    """Return how many numbers the folder's *.safetensors hold, by their headers."""
    total = 0
    for file in sorted(path.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as content:
                names = content.offset_keys()
                total += sum(math.prod(content.get_slice(name).get_shape()) for name in names)
        except (SafetensorError, OSError) as error:
            raise InputError(FIELD, str(file), f"cannot be read: {error}") from error
    return total
