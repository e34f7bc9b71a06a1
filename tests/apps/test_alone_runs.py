"""Whole runs after which members train alone and are told whether taking part was worth it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.compute.alone import make_alone_settings, measure_alone
from kumiai.apps import wiring, workload
from kumiai.apps.cli import main
from kumiai.apps.report import write_report
from kumiai.apps.verify import verify_path
from kumiai.apps.view import MemberView, RunView, load_view, save_view
from kumiai.learning.client import TrainSettings
from kumiai.learning.recipe import build_recipe

# few rounds of members whose data differ much: who has a lot of data does better by itself
WORSE = {"training.rounds": "2", "data.alpha": "0.3", "model_rewards.policy": "aequa"}
# rounds enough, and shards that lack whole classes: nobody gets far alone
BETTER = {
    "training.rounds": "10",
    "training.local_epochs": "4",
    "training.slim": "false",
    "model.options.hidden": "32",
    "data.alpha": "0.2",
}


def play(folder: Path, settings: dict[str, str], alone: bool = True) -> RunView:
    return kumiai.run(write_task(folder), folder / "run", settings, alone=alone)


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunView, Path]:
    folder = tmp_path_factory.mktemp("worse")
    return play(folder, WORSE), folder


def trainers(view: RunView) -> list[MemberView]:
    return [m for m in view.members if m.role == "trainer"]


def test_received_is_what_the_members_file_says_on_the_opened_holdouts(
    worse: tuple[RunView, Path],
) -> None:
    from safetensors.torch import load_file

    from kumiai.apps.export.subject import open_subject

    view, folder = worse
    assert view.alone_part == "holdout"
    subject = open_subject(folder / "run")
    parts = subject.read_holdouts()
    inputs, targets = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    for member in trainers(view):
        assert member.alone_accuracy_ppm is not None
        if not member.width_ppm:
            assert member.received_accuracy_ppm is None
            continue
        module = subject.recipe.build(member.width_ppm / 1_000_000)
        module.load_state_dict(load_file(folder / "run" / member.model_path))
        right = (module.eval()(inputs).argmax(1) == targets).double().mean()
        assert member.received_accuracy_ppm == pytest.approx(1_000_000 * float(right), abs=2)
    assert all(m.alone_accuracy_ppm is None for m in view.members if m.role != "trainer")


def test_alone_uses_the_members_own_shard_and_nothing_else(worse: tuple[RunView, Path]) -> None:
    view, folder = worse
    task = wiring.read_task(folder / "task.toml", WORSE)
    loaded = workload.load_workload(task, folder)
    for member in trainers(view):
        _, labels = loaded.data.shards[int(member.name.removeprefix("trainer-")) - 1]
        assert member.samples == len(labels)
        holdout = torch.cat([y for both in loaded.data.validation for _, y in both])
        # it cannot be right about classes that it never saw
        seen = torch.isin(holdout, labels.unique()).double().mean()
        assert member.alone_accuracy_ppm <= 1_000_000 * float(seen) + 1
    loaded.close()


def test_who_is_worse_off_is_told_in_the_table_inspect_and_the_page(
    worse: tuple[RunView, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    view, folder = worse
    told = [m for m in trainers(view) if m.is_worse_off]
    assert told, "this world was chosen so that somebody is worse off"
    words = {"en": "alone it would have a better model", "ja": "単独のほうが良いモデルになります"}
    page = (folder / "run" / "report.html").read_text()
    for language, sentence in words.items():
        assert main(["inspect", str(folder / "run"), "--lang", language]) == 0
        out = " ".join(capfd.readouterr().out.split())
        assert sum(f"{m.name}: " in out for m in told) == len(told)
        assert sentence in page
        place = ["--member", told[0].name, "--lang", language]
        assert main(["inspect", str(folder / "run"), *place]) == 0
        out = re.sub(r"\s+", "", capfd.readouterr().out)
        assert sentence.replace(" ", "") in out
        assert f"{told[0].alone_accuracy_ppm / 10_000:.1f}%" in out
    assert page.count(words["en"]) == len(told)


def test_it_changes_nothing_that_is_signed_or_sealed(
    worse: tuple[RunView, Path], tmp_path: Path
) -> None:
    view, folder = worse
    plain = play(tmp_path, WORSE, alone=False)
    assert plain.certificates == view.certificates and plain.receipts == view.receipts
    assert (tmp_path / "run" / "seal.json").exists()
    report = verify_path(folder / "run", score_rounds=0)
    assert report.is_ok, report.findings
    assert plain.alone_part == "" and all(m.alone_accuracy_ppm is None for m in plain.members)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Alone / received" not in page
    save_view(view, tmp_path)
    assert load_view(tmp_path) == view


def test_where_shards_lack_classes_nobody_is_worse_off(tmp_path: Path) -> None:
    settings = {**BETTER, "data.open_holdout": "false"}
    view = play(tmp_path, settings)
    assert view.alone_part == "test"  # where hold-outs stay closed
    assert all(m.alone_accuracy_ppm is not None for m in trainers(view))
    gains = [m.received_accuracy_ppm - m.alone_accuracy_ppm for m in trainers(view)]
    assert sum(gains) > 0 and not any(m.is_worse_off for m in trainers(view))
    assert "would have a better model" not in (tmp_path / "run" / "report.html").read_text()


def test_who_receives_nothing_is_worse_off(sample_view: RunView, tmp_path: Path) -> None:
    member = replace(sample_view.members[0], alone_accuracy_ppm=600_000, name="<i>Anna</i>")
    assert member.is_worse_off and not replace(member, received_accuracy_ppm=600_000).is_worse_off
    view = replace(sample_view, members=(member, *sample_view.members[1:]), alone_part="test")
    write_report(view, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "it received none" in page and "<i>Anna" not in page


def test_alone_makes_the_passes_of_the_run_and_no_other_training() -> None:
    settings = TrainSettings(algorithm="scaffold", local_epochs=3, slim_widths=(0.5,))
    own = make_alone_settings(settings, 4)
    assert (own.algorithm, own.local_epochs, own.slim_widths) == ("fedavg", 12, ())
    assert make_alone_settings(replace(settings, local_iterations=5), 4).local_iterations == 20
    with pytest.raises(ValueError, match="0 rounds"):
        make_alone_settings(settings, 0)


def test_who_delivered_nothing_and_who_diverged_have_no_figure() -> None:
    recipe = build_recipe("mlp", {"hidden": 4}, (1_000_000,), (3,), 2)
    x, y = torch.randn(8, 3), torch.tensor([0, 1] * 4)
    wild = x * float("inf")
    settings = TrainSettings(local_epochs=1, learning_rate=0.1)
    found = measure_alone(
        recipe, settings, [(x, y)] * 2 + [(wild, y)], (1, 0, 1), (1, 2, 3), (x, y)
    )
    assert found[0] is not None and found[1:] == [None, None]
