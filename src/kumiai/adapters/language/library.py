"""transformers itself: whether it is there, imported so that it stays off the network."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType

from kumiai.base.errors import InputError

INSTALL = "install it with: pip install 'kumiai[lm]'"


def require_transformers() -> ModuleType:
    """Return transformers; InputError with the fix where it cannot be imported."""
    _stay_offline()
    if importlib.util.find_spec("transformers") is None:
        raise InputError("transformers", "not installed", INSTALL)
    try:
        import transformers
        from transformers import AutoModelForCausalLM  # noqa: F401 - loaded when first asked for
    except (ImportError, RuntimeError) as error:
        # it imports what it finds installed: scikit-learn without scipy is such a find
        fix = f"something that it needs is missing or too old; {INSTALL}"
        raise InputError("transformers", str(error).splitlines()[0], fix) from error
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    module: ModuleType = transformers
    return module


def require_tokenizers() -> ModuleType:
    """Return tokenizers; InputError with the fix where it is not installed."""
    _stay_offline()
    try:
        import tokenizers
    except ImportError as error:
        raise InputError("tokenizers", "not installed", INSTALL) from error
    module: ModuleType = tokenizers
    return module


def _stay_offline() -> None:
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ.setdefault(name, "1")
    # a second count of threads would warn at every fork of a worker
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
