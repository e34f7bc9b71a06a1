"""`kumiai chain claim`: from a run's folder alone to the money on the members' addresses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import KEYS, run_anvil
from tests.apps.tiny import write_task

from kumiai.adapters.evm.accounts import Account
from kumiai.adapters.evm.keystore import save_keystore
from kumiai.apps import wiring
from kumiai.apps.cli import main

PASSWORD = "eight or more"
pytestmark = pytest.mark.slow


def test_what_a_run_earned_is_claimed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUMIAI_LANG", "en")
    monkeypatch.setenv("KUMIAI_PASSWORD", PASSWORD)
    save_keystore(Path("key.json"), Account(bytes.fromhex(KEYS[1][2:])), PASSWORD,
                  work_factor=1 << 10)  # fmt: skip
    task = wiring.read_task(write_task(tmp_path), {"settlement.kind": "evm"})

    def claim(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["chain", "claim", "--run", "run", "--keystore", "key.json", "--yes", *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    with run_anvil() as anvil, monkeypatch.context() as patch:
        # the run leaves its members' pay where it is: they claim it themselves
        patch.setattr("kumiai.adapters.evm.ledger.EvmLedger.claim", lambda *_: None)
        cast = wiring.cast_locally(task)
        view = wiring.run_local(task, cast, Path("run"), lambda event: None, resume=False,
                                base_dir=tmp_path, rpc=anvil.url)  # fmt: skip
        monkeypatch.setenv("KUMIAI_RPC", anvil.url)
        earned = {m.name: m.reward for m in view.members if m.reward}
        name = min(earned)
        code, said = claim("--member", "nobody")
        assert code == 2 and "choose one of" in said
        code, said = claim("--member", name, "--dry-run", "--proof-out", "proof.json")
        assert code == 0 and f"pay {earned[name]:,} to" in said
        assert int(json.loads(Path("proof.json").read_text())[0]["cumulative"]) == earned[name]
        code, said = claim("--member", name)
        assert code == 0, said
        code, said = claim("--member", name)
        assert code == 2 and "nothing is left to claim" in said
        code, said = claim("--all", "--json")
        assert code == 0, said
        assert len(json.loads(said)["transactions"]) == len(earned) - 1
        code, said = claim()
        assert code == 2 and "nobody of that name" in said
