"""The artifacts that ship are what the sources compile to, with sizes that chains accept."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "src/kumiai/adapters/evm/artifacts"
RUNTIME_BYTES_MAX = 24_576  # EIP-170

needs_compiler = pytest.mark.skipif(
    shutil.which("node") is None or not (CONTRACTS / "node_modules/solc").exists(),
    reason="needs node and `make contracts`",
)


@needs_compiler
def test_the_committed_artifacts_are_what_the_sources_compile_to() -> None:
    done = _build("--check")
    assert done.returncode == 0, done.stderr


@needs_compiler
def test_the_arena_with_a_planted_fault_has_the_same_interface(tmp_path: Path) -> None:
    seeded = tmp_path / "seeded.json"
    assert _build("--seeded", str(seeded)).returncode == 0
    fault, arena = json.loads(seeded.read_text()), _load("Arena")
    assert fault["abi"] == arena["abi"]
    assert fault["deployedBytecode"] != arena["deployedBytecode"]


# the ERC-20 interface is the standard's own: an ABI alone, compiled from nothing of ours
OURS = [path for path in sorted(ARTIFACTS.glob("*.json")) if path.stem != "IERC20"]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_an_artifact_is_canonical_and_fits(path: Path) -> None:
    text = path.read_text()
    artifact = json.loads(text)
    assert text == json.dumps(artifact, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert artifact["contractName"] == path.stem
    assert (len(artifact["deployedBytecode"]) - 2) // 2 <= RUNTIME_BYTES_MAX
    assert "__$" not in artifact["bytecode"]  # no library is left to link


def test_the_arena_implements_its_interface() -> None:
    promised, given = _signatures("IArena"), _signatures("Arena")
    assert promised <= given


def _signatures(name: str) -> set[tuple[str, str, str, str]]:
    return {
        (
            item["type"],
            item.get("name", ""),
            json.dumps(item.get("inputs")),
            json.dumps(item.get("outputs", [])) if item["type"] == "function" else "",
        )
        for item in _load(name)["abi"]
        if item["type"] in ("function", "event", "error")
    }


def _load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return document


def _build(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", str(CONTRACTS / "tools/build.mjs"), *args],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
