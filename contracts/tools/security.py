#!/usr/bin/env python3
"""Search the contracts for faults with forge, halmos and slither, and show that each can find one.

    python contracts/tools/security.py [forge] [seeded] [halmos] [slither]      none named: all

Exits 1 at the first step that says something else than expected: a failed test, a check that is not
proven, a finding of slither that `SLITHER.md` does not name, or a planted fault that is not found.
Runs in the environment that `contracts/security.txt` pins (`make security` makes it).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CONTRACTS = Path(__file__).resolve().parents[1]
FORGE = CONTRACTS / "node_modules" / "@foundry-rs" / "forge-linux-amd64" / "bin"
TOOLS = Path(sys.executable).parent
SECONDS_MAX = 1_800
SOLVER_MS_MAX = 180_000
HALMOS = ["--function", "check_", "--forge-build-out", "out-symbolic", "--loop", "8"]


class StepError(Exception):
    """A step said something else than it must; the text says what."""


def run(command: Sequence[str], **environment: str) -> tuple[int, str]:
    """Run it in contracts/; return its exit code and what it said."""
    path = os.pathsep.join([str(FORGE), str(TOOLS), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=CONTRACTS,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    return done.returncode, done.stdout


def check_forge() -> str:
    """Unit tests, fuzz and invariants of forge."""
    code, said = run(["forge", "test"])
    if code:
        raise StepError(said[-4_000:])
    return said.strip().splitlines()[-1]


def check_seeded() -> str:
    """Let forge's invariants meet the planted fault: they must fail, and for its sake."""
    command = ["forge", "test", "--match-contract", "InvariantsTest"]
    code, said = run(command, KUMIAI_SEEDED="true")
    if not code or not re.search(r"\[FAIL[^\n]*\n?(.|\n)*invariant_claimsArePaidOnce", said):
        raise StepError(f"the planted fault was not found by the invariants\n{said[-4_000:]}")
    return "forge's invariants find the planted fault"


def check_halmos() -> str:
    """Every check proven on the arena; the same checks of claims refuted on the planted fault."""
    solver = ["--solver-timeout-assertion", str(SOLVER_MS_MAX)]
    command = ["halmos", *HALMOS, *solver, "--match-contract", "^(Claims|Settlement|Stakes)Check$"]
    code, said = run(command, FOUNDRY_PROFILE="symbolic")
    proven = len(re.findall(r"\[PASS\]", said))
    if code or not proven:
        raise StepError(said[-6_000:])
    command = ["halmos", *HALMOS, *solver, "--match-contract", "^SeededClaimsCheck$"]
    code, said = run(command, FOUNDRY_PROFILE="symbolic")
    if not code or not re.search(r"\[FAIL\].*check_aLeafIsPaidOnce", said):
        raise StepError(f"the planted fault was not found by halmos\n{said[-4_000:]}")
    command = ["halmos", *HALMOS, *solver, "--match-contract", "^ReachableCheck$"]
    code, said = run(command, FOUNDRY_PROFILE="symbolic")
    if not code or len(re.findall(r"\[FAIL\]", said)) != len(re.findall(r"check_fails", said)):
        raise StepError(
            f"no signed certificate comes through: proofs may be empty\n{said[-4_000:]}"
        )
    return f"halmos proves {proven} checks, and finds the planted fault"


def check_slither() -> str:
    """Every finding is named in SLITHER.md; a contract that can be re-entered is found."""
    triaged = set(re.findall(r"^\| `([\w-]+): ([^`]+)` \|", _read("SLITHER.md"), re.MULTILINE))
    found = set(_list_findings("slither"))
    if unknown := sorted(found - triaged):
        lines = "\n".join(f"{check}: {where}" for check, where in unknown)
        raise StepError(f"not triaged in SLITHER.md:\n{lines}")
    if gone := sorted(triaged - found):
        lines = "\n".join(f"{check}: {where}" for check, where in gone)
        raise StepError(f"SLITHER.md names what slither does not find any more:\n{lines}")
    if not any(check.startswith("reentrancy") for check, _ in _list_findings("reentry")):
        raise StepError("slither does not find the contract that can be re-entered")
    return f"slither: {len(found)} findings, all triaged; it finds the planted re-entry"


def _list_findings(profile: str) -> list[tuple[str, str]]:
    """What slither finds: (detector, contract.function or file) of each."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "slither.json"
        command = ["slither", ".", "--config-file", "slither.config.json", "--json", str(report)]
        command += ["--foundry-out-directory", f"out-{profile}"]
        _, said = run(command, FOUNDRY_PROFILE=profile)
        if not report.exists():
            raise StepError(said[-4_000:])
        document = json.loads(report.read_text())
    if not document["success"]:
        raise StepError(str(document["error"])[-4_000:])
    return [(each["check"], _place(each)) for each in document["results"].get("detectors", [])]


def _place(finding: dict[str, object]) -> str:
    elements = finding["elements"]
    assert isinstance(elements, list)
    if not elements:
        return "-"
    first = elements[0]
    parent = first.get("type_specific_fields", {}).get("parent", {})
    if first["type"] == "function" and parent.get("name"):
        return f"{parent['name']}.{first['name']}"
    if parent.get("type") == "function":
        return f"{parent['type_specific_fields']['parent']['name']}.{parent['name']}"
    return str(first["name"]).split("/")[-1]


def _read(name: str) -> str:
    return (CONTRACTS / name).read_text(encoding="utf-8")


STEPS: dict[str, Callable[[], str]] = {
    "forge": check_forge,
    "seeded": check_seeded,
    "halmos": check_halmos,
    "slither": check_slither,
}


def main(names: Sequence[str]) -> int:
    """Run the steps named, in order; 0 if each says what it must."""
    if unknown := set(names) - set(STEPS):
        print(f"no such step: {sorted(unknown)}; there are {list(STEPS)}", file=sys.stderr)
        return 2
    for name in names or list(STEPS):
        began = time.monotonic()
        try:
            said = STEPS[name]()
        except StepError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{name:8} {time.monotonic() - began:6.0f} s  {said}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
