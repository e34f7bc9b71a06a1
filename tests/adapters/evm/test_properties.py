"""Every test that the lists of properties name exists, where they say that it does."""

from __future__ import annotations

import re

import pytest
from tests.adapters.evm.anvil import CONTRACTS
from tests.adapters.evm.arena_door import ROOT

NAME = re.compile(r"`((?:test|testFuzz|invariant|check)_\w+)`")
DEFINED = re.compile(r"(?:function|def) ((?:test|testFuzz|invariant|check)_\w+)")
LISTS = sorted(CONTRACTS.glob("PROPERTIES*.md"))


def list_defined() -> set[str]:
    sources = [*(CONTRACTS / "test").rglob("*.sol"), *(ROOT / "tests/adapters/evm").glob("*.py")]
    return {name for path in sources for name in DEFINED.findall(path.read_text())}


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_named_test_exists(path):
    named = set(NAME.findall(path.read_text()))
    assert named, f"{path.name} names no test"
    assert not named - list_defined()


def test_every_check_of_halmos_is_listed():
    sources = (CONTRACTS / "test" / "symbolic").glob("*.sol")
    checks = {name for path in sources for name in DEFINED.findall(path.read_text())}
    named = set(NAME.findall((CONTRACTS / "PROPERTIES.md").read_text()))
    assert checks and not checks - named
