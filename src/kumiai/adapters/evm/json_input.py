"""JSON from anybody: DEPTH_MAX levels are read, more than twice that never.

Python's parser recurses in C; where a library has raised the recursion limit, as py-evm does, some
hundred kilobytes of "[" end the process. So the depth is measured first, at the speed of C: without
its strings, and of the rest only the brackets, the text must vanish as its innermost pairs are
taken away again and again.
"""

from __future__ import annotations

import json
import re
from typing import Any

DEPTH_MAX = 32
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))


def load_json(text: bytes) -> Any:
    """Return what the text says; ValueError where it is no JSON, or too deep."""
    if text.count(b"[") + text.count(b"{") > DEPTH_MAX:
        brackets = _STRING.sub(b"", text).translate(None, _NO_BRACKET)
        for _ in range(DEPTH_MAX):  # one level, or two where they are {[]}
            if not brackets:
                break
            brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if brackets:
            raise ValueError(f"brackets do not match, or go deeper than {DEPTH_MAX}")
    return json.loads(text)
