"""Whole runs after which members train their own models: files, figures, seal, and again."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file
from tests.apps.test_resume import WAIT_S, count_records, kill_at, start
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.data.federated import keep_own
from kumiai.adapters.data.sources import load_source
from kumiai.apps import wiring, workload
from kumiai.apps.report import write_report
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView, load_view, save_view
from kumiai.base.errors import InputError

SETTINGS = {"training.rounds": "4", "data.alpha": "0.3"}
DITTO = {**SETTINGS, "model_rewards.personalise": "ditto", "model_rewards.policy": "aequa"}


def run(folder: Path, settings: dict[str, str]) -> RunView:
    return kumiai.run(write_task(folder), folder / "run", settings)


def find_files(folder: Path) -> dict[str, bytes]:
    paths = sorted((folder / "run" / "models").glob("*.personal.safetensors"))
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("personal")
    run(path, DITTO)
    return path


def test_every_member_with_a_model_and_data_has_its_own_beside_it(folder: Path) -> None:
    view = load_view(folder / "run")
    owners = [m for m in view.members if m.role == "trainer" and m.width_ppm]
    assert owners
    assert len(find_files(folder)) == len(owners)
    for member in owners:
        shared = load_file(folder / "run" / member.model_path)
        own = load_file(folder / "run" / member.personal_path)
        assert member.personal_path.removesuffix(".personal.safetensors") == (
            member.model_path.removesuffix(".safetensors")
        )
        assert {n: t.shape for n, t in own.items()} == {n: t.shape for n, t in shared.items()}
        assert any(not torch.equal(own[n], t) for n, t in shared.items())
        with safe_open(folder / "run" / member.personal_path, "pt") as file:
            assert file.metadata()["certified"] == "no"
    assert all(not m.personal_path for m in view.members if m not in owners)


def test_accuracies_are_those_of_the_files_on_samples_nobody_trained_on(folder: Path) -> None:
    view = load_view(folder / "run")
    task = wiring.read_task(folder / "task.toml", DITTO)
    loaded = workload.load_workload(task, folder)
    dealt = workload.split_task(task, load_source(task.data.source, {}, task.seed, folder)).shards
    for whole, rest, kept in zip(dealt, loaded.data.shards, loaded.data.kept, strict=True):
        assert len(rest[1]) + len(kept[1]) == len(whole[1])
    for member in view.members:
        if not member.personal_path:
            continue
        inputs, targets = loaded.data.kept[int(member.name.removeprefix("trainer-")) - 1]
        for path, expected in (
            (member.personal_path, member.personal_accuracy_ppm),
            (member.model_path, member.shared_accuracy_ppm),
        ):
            module = loaded.recipe.build(member.width_ppm / 1_000_000)
            module.load_state_dict(load_file(folder / "run" / path))
            right = (module.eval()(inputs).argmax(1) == targets).double().mean()
            assert expected == pytest.approx(1_000_000 * float(right), abs=2)
    loaded.close()


def test_the_folder_verifies_and_a_changed_file_breaks_its_seal(
    folder: Path, tmp_path: Path
) -> None:
    report = verify_path(folder / "run")
    assert report.is_ok, report.findings
    run(tmp_path, {**DITTO, "training.rounds": "1"})
    path = next((tmp_path / "run" / "models").glob("*.personal.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert not verify_path(tmp_path / "run").is_ok


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_shows_both_accuracies_and_says_what_is_not_certified(
    folder: Path, tmp_path: Path, language: str
) -> None:
    view = load_view(folder / "run")
    page = (folder / "run" / "report.html").read_text()
    words = {"en": "the committee does not certify it", "ja": "委員会の証明の対象外"}[language]
    assert words in page
    member = next(m for m in view.members if m.personal_path)
    label = {"en": "own model", "ja": "個別モデル"}[language]
    assert re.search(rf"{label}[^%]*{member.personal_accuracy_ppm / 10_000:.1f}", page)
    save_view(view, tmp_path)
    assert load_view(tmp_path) == view


def test_a_run_without_says_nothing_of_it(tmp_path: Path) -> None:
    view = run(tmp_path, {"training.rounds": "1"})
    assert not find_files(tmp_path)
    assert all(m.personal_accuracy_ppm is None for m in view.members)
    write_report(view, tmp_path / "page.html")
    assert "does not certify" not in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_models_of_their_own(tmp_path: Path) -> None:
    run(tmp_path / "whole", DITTO)
    words = [word for k, v in DITTO.items() for word in ("--set", f"{k}={v}")]
    out, task = tmp_path / "again" / "run", tmp_path / "whole" / "task.toml"
    out.parent.mkdir()
    last = count_records(tmp_path / "whole" / "run")
    process = start(task, out, settings=tuple(words))
    assert kill_at(process, out, random.Random(1).randrange(last // 2, last - 5))
    process = start(task, out, "--resume", settings=tuple(words))
    _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, complaints.decode()
    found, expected = find_files(tmp_path / "again"), find_files(tmp_path / "whole")
    assert found.keys() == expected.keys() != set()
    for name, data in found.items():  # the file's own header has no fixed order
        tensors, others = load(data), load(expected[name])
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensor, others[n]) for n, tensor in tensors.items())


def test_what_is_kept_aside_is_no_longer_in_the_shard(tmp_path: Path) -> None:
    task = wiring.read_task(write_task(tmp_path), {})
    data = workload.split_task(task, load_source(task.data.source, {}, task.seed, tmp_path))
    aside = keep_own(data, 250_000, 3)
    for before, after, kept in zip(data.shards, aside.shards, aside.kept, strict=True):
        joined = torch.cat([after[0], kept[0]]).flatten(1)
        assert sorted(joined.tolist()) == sorted(before[0].flatten(1).tolist())
        assert len(kept[1]) == len(before[1]) // 4
        # the classes in proportion, to within one sample each
        for label in before[1].unique():
            share = int((before[1] == label).sum()) / 4
            assert abs(int((kept[1] == label).sum()) - share) <= 1.5
    tiny = data.shards[0][0][:1], data.shards[0][1][:1]
    with pytest.raises(InputError, match="shard 1 has 1 samples"):
        keep_own(type(data)((tiny,), (), data.test, ("",)), 250_000, 3)
