"""`kumiai demo --scenario market`: what it promises, to the msat."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("nostr_sdk", reason="the extra `market` is not installed")
pytest.importorskip("granian", reason="the extra `market` is not installed")

from kumiai.apps.cli import main
from kumiai.apps.market import demo
from kumiai.apps.market.customer import read_state
from kumiai.apps.market.folder import MarketFolder
from kumiai.market.customer.state import Standing


def make_patient(script: demo.Script) -> demo.Script:
    """The same with more time: ten members in one process, on a machine that may be busy."""
    times = {"offers": 120, "accept": 120, "train": 80, "reveal": 60, "judge": 120, "payment": 120}
    job = script.job
    for name, seconds in times.items():
        job, count = re.subn(rf"^{name}_s = \d+$", f"{name}_s = {seconds}", job, flags=re.MULTILINE)
        assert count == 1
    return replace(script, job=job)


@pytest.mark.xdist_group("market-demo")
def test_honest_ones_are_paid_the_others_not_and_no_msat_is_lost(tmp_path: Path) -> None:
    seen: list[str] = []
    script = make_patient(demo.make_script(7))
    outcome = asyncio.run(demo.play(tmp_path, script, lambda _p, s, _k: seen.append(str(s.phase))))
    prices = {one.name: one.price_sat * 1_000 for one in outcome.cast}
    for one in outcome.cast:
        member = outcome.state.members[outcome.keys[one.name]]
        earned = outcome.balances[one.name].spendable_msat
        assert earned == member.accepted * prices[one.name] == member.paid_msat
        assert (earned > 0) == (one.conduct == "honest"), one
        assert (member.reason != outcome.state.outcome) == (one.conduct != "honest")
        assert member.standing is Standing.ENDED
    spent = sum(outcome.balances[one.name].spendable_msat for one in outcome.cast)
    assert outcome.balances["customer"].spendable_msat == outcome.funded_msat - spent
    assert outcome.state.spent_msat == spent
    assert all(balance.held_msat == 0 for balance in outcome.balances.values())
    assert outcome.test_accuracy_ppm > 800_000 > outcome.accuracy_start_ppm
    assert outcome.event_bytes / 30 < 50_000  # six rounds of five providers
    assert {"offers", "round", "judging", "combining", "paying", "closed"} <= set(seen)
    _, state = read_state(MarketFolder(tmp_path / "customer"))
    assert state == outcome.state  # the journal alone gives the same
    page = (tmp_path / "customer/report.html").read_text(encoding="utf-8")
    assert "every msat found" in page and all(one.name in page for one in outcome.cast)


def test_options_of_other_scenarios_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--alone", "--resume", "--order-processes"):
        assert main(["demo", "--scenario", "market", option, "--out", str(tmp_path / "x")]) == 2
        assert option in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_menu_names_the_market(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    assert "market" in capsys.readouterr().out
