"""Models taken out of a run: they load without Kumiai, say the same, and their card is true."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.data.user_file import load_user_recipe
from kumiai.apps.cli import main
from kumiai.apps.export import graph
from kumiai.apps.export.card import escape
from kumiai.apps.export.network import LINES, check_network, compute_outputs, write_network
from kumiai.apps.export.source import collect_source, write_sources
from kumiai.apps.export.subject import open_subject
from kumiai.apps.view import RunView, load_view
from kumiai.base.errors import (
    InputError,
    InternalError,
    RunFailedError,
    StoreError,
    VerificationError,
)
from kumiai.learning.layout import compute_layout
from kumiai.learning.recipe import Recipe, build_recipe, build_seeded, describe_network
from kumiai.learning.slim import extract_width

GRID = (250_000, 500_000, 1_000_000)
FILES = Path(__file__).parents[1] / "adapters" / "recipes"
BUILT_IN: Mapping[str, tuple[tuple[int, ...], int, dict[str, int | str | bool]]] = {
    "mlp": ((6,), 3, {"hidden": "16,8"}),
    "cnn": ((1, 8, 8), 4, {"channels": "16,16"}),
    "resnet18": ((3, 8, 8), 4, {"base": 8, "group_size": 2}),
    "transformer": ((5,), 7, {"layers": 2, "heads": 4, "head_size": 4}),
}
USER = {"batchnorm.py:build": (10,), "conv.py:build": (1, 6, 6)}
NAMES = (*BUILT_IN, *USER)

# one process for all widths of a recipe: it runs the card's lines, and nothing else, in each folder
ALL_FOLDERS = """\
import os, sys
sys.modules["kumiai"] = None
sys.path.insert(0, "")
import torch
for folder in sys.argv[1:]:
    os.chdir(folder)
    for name in ("model", "recipe"):
        sys.modules.pop(name, None)
    space = {"inputs": torch.load("inputs.pt")}
    exec(open("lines.py").read(), space)
    torch.save(space["outputs"].detach(), "outputs.pt")
    assert not any(name.startswith("kumiai.") for name in sys.modules)
"""


def make_recipe(name: str) -> Recipe:
    if name in USER:
        grid = GRID[-1:] if name.startswith("batchnorm") else GRID
        return load_user_recipe(name, {}, grid, FILES)
    shape, classes, options = BUILT_IN[name]
    return build_recipe(name, options, GRID, shape, classes)


def draw_inputs(name: str, count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if name == "transformer":
        return torch.randint(0, 7, (count, 5), generator=generator).float()
    shape = USER[name] if name in USER else BUILT_IN[name][0]
    return torch.randn(count, *shape, generator=generator)


def draw_tensors(recipe: Recipe, width: float) -> dict[str, torch.Tensor]:
    size = compute_layout(build_seeded(recipe, 1.0, 0)).size
    vector = torch.randn(size, generator=torch.Generator().manual_seed(2)).abs() * 0.3
    return extract_width(recipe, vector, width)


@pytest.mark.parametrize("name", NAMES)
def test_the_lines_alone_say_what_the_engine_says_at_every_width(name: str, tmp_path: Path) -> None:
    recipe, inputs, folders = make_recipe(name), draw_inputs(name), []
    for width in recipe.widths:
        folder = tmp_path / f"{width:g}"
        folder.mkdir()
        write_network(folder, recipe, width, draw_tensors(recipe, width), {}, name)
        torch.save(inputs, folder / "inputs.pt")
        (folder / "lines.py").write_text("\n".join(LINES))
        folders.append(folder)
    command = [sys.executable, "-I", "-c", ALL_FOLDERS, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for width, folder in zip(recipe.widths, folders, strict=True):
        expected = compute_outputs(recipe, width, draw_tensors(recipe, width), inputs)
        assert torch.equal(torch.load(folder / "outputs.pt"), expected)
        shipped = load_file(folder / "model.safetensors")
        shapes = {n: tuple(t.shape) for n, t in build_seeded(recipe, width, 0).state_dict().items()}
        assert {n: tuple(t.shape) for n, t in shipped.items()} == shapes
    if len(folders) > 1:  # the narrow file has the narrow numbers and no byte of the others
        sizes = [(folder / "model.safetensors").stat().st_size for folder in folders]
        assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("name", NAMES)
def test_onnx_says_what_the_engine_says_for_any_number_of_samples(
    name: str, tmp_path: Path
) -> None:
    recipe, width = make_recipe(name), make_recipe(name).widths[0]
    tensors = draw_tensors(recipe, width)
    graph.write_graph(tmp_path, recipe, width, tensors, draw_inputs(name, 3))
    for count in (1, 2, 7):
        inputs = draw_inputs(name, count)
        expected = compute_outputs(recipe, width, tensors, inputs)
        found = graph.run_graph(tmp_path / "model.onnx", inputs)
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    data = (tmp_path / "model.onnx").read_bytes()
    assert b"kumiai" not in data and str(Path.home()).encode() not in data and b".py" not in data


BAD = """\
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(10, 4)
    def forward(self, x):
        y = self.layer(x)
        {line}
def build(width):
    return Net()
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "return torch.linalg.eigvalsh(y[:, :, None] * y[:, None, :])",
            "no operator for aten._linalg_eigh",
        ),
        ("return y if y.sum() > 0 else -y", "depends on the values of its inputs"),
    ],
)
def test_what_onnx_cannot_say_is_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(BAD.format(line=line))
    recipe = load_user_recipe("bad.py:build", {}, GRID[-1:], tmp_path)
    with pytest.raises(InputError, match=message):
        graph.write_graph(tmp_path, recipe, 1.0, draw_tensors(recipe, 1.0), torch.randn(3, 10))
    assert not (tmp_path / "model.onnx").exists()


def test_onnx_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnxruntime not installed.*kumiai\[onnx\]"):
        graph.require_onnx()


@pytest.mark.parametrize(
    ("head", "message"),
    [("import kumiai\n", "kumiai"), ("import neighbour_of_mine\n", "neighbour_of_mine")],
)
def test_a_recipe_that_needs_more_than_its_file_is_refused(
    head: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("")
    (tmp_path / "net.py").write_text(head + BAD.format(line="return y"))
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = load_user_recipe("net.py:build", {}, GRID[-1:], tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    write_network(folder, recipe, 1.0, draw_tensors(recipe, 1.0), {}, "x")
    with pytest.raises(InputError, match=f"does not work alone.*{message}"):
        check_network(folder, recipe, 1.0, torch.randn(2, 10))


def test_a_folder_that_says_something_else_is_refused(tmp_path: Path) -> None:
    recipe = make_recipe("mlp")
    write_network(tmp_path, recipe, 1.0, draw_tensors(recipe, 1.0), {}, "x")
    text = (tmp_path / "model.py").read_text()
    (tmp_path / "model.py").write_text(text.replace(".relu()", ".tanh()"))
    with pytest.raises(InputError, match="says something else"):
        check_network(tmp_path, recipe, 1.0, draw_inputs("mlp"))


def test_a_title_cannot_become_code() -> None:
    source = write_sources(make_recipe("mlp"), 1.0, 'x"""\nimport os\n"""\\')["model.py"].decode()
    names = {node.split()[1] for node in source.splitlines() if node.startswith("import ")}
    assert names == {"json", "torch"}
    compile(source, "model.py", "exec")


def test_source_that_uses_this_package_is_not_shipped() -> None:
    with pytest.raises(InternalError, match="would be missing"):
        collect_source(sys.modules["kumiai.learning.recipes.mlp"], ["read_options"])


def test_only_built_in_networks_are_described() -> None:
    with pytest.raises(ValueError, match="not built in"):
        describe_network(make_recipe("conv.py:build").origin, 1.0)  # type: ignore[arg-type]


# --- whole runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunView, Path]:
    folder = tmp_path_factory.mktemp("export")
    settings = {
        "model_rewards.policy": "aequa",
        "training.rounds": "3",
        "description": "Reads <b>digits</b> | and [links](x)",
    }
    return kumiai.run(write_task(folder), folder / "run", settings), folder / "run"


def find_narrow(view: RunView) -> str:
    return next(m.name for m in view.members if 0 < m.width_ppm < 1_000_000)


def test_a_members_export_is_its_model_and_its_card_is_what_the_run_says(
    run: tuple[RunView, Path], tmp_path: Path
) -> None:
    view, root = run
    member = view.member(find_narrow(view))
    done = kumiai.export(root, member.name, out=tmp_path / "out")
    assert (done.member, done.width_ppm) == (member.name, member.width_ppm)
    assert done.files == ("README.ja.md", "README.md", "model.py", "model.safetensors")
    shipped, earned = (
        load_file(done.folder / "model.safetensors"),
        load_file(root / member.model_path),
    )
    assert shipped.keys() == earned.keys()
    assert all(torch.equal(shipped[name], tensor) for name, tensor in earned.items())
    with safe_open(done.folder / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    receipt = [r for r in view.receipts if r.member == member.name and r.round == 0][-1]
    certificate = view.certificates[-1]
    assert metadata["task"] == view.task_id and metadata["member"] == member.pubkey
    assert metadata["receipt"] == receipt.hash and metadata["certificate"] == certificate.hash
    for page in ("README.md", "README.ja.md"):
        text = (done.folder / page).read_text()
        for value in (view.task_id, receipt.hash, certificate.hash, certificate.model_digest):
            assert f"`{value}`" in text
        assert f"{member.model_accuracy_ppm / 10_000:.2f}%" in text
        assert f"{member.contribution_ppm / 1_000_000:+.4f}".replace("-", "−") in text
        assert "<b>" not in text and "[links](x)" not in text
        assert re.search(r"```python\n(.*?)\n```", text, re.S)[1] == "\n".join(LINES)  # type: ignore[index]


def test_the_holdouts_figures_are_those_of_the_files_on_the_opened_holdouts(
    run: tuple[RunView, Path], tmp_path: Path
) -> None:
    view, root = run
    member = view.member(find_narrow(view))
    done = kumiai.export(root, member.pubkey[:12], out=tmp_path / "out")
    subject = open_subject(root)
    parts = subject.read_holdouts()
    inputs, targets = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    module = subject.recipe.build(member.width_ppm / 1_000_000)
    module.load_state_dict(load_file(done.folder / "model.safetensors"))
    outputs = module.eval()(inputs)
    right = (outputs.argmax(1) == targets).double().mean()
    loss = torch.nn.functional.cross_entropy(outputs, targets)
    head = read_front_matter(done.folder)
    first = head["model-index"][0]["results"][0]
    assert first["dataset"]["split"] == "holdout"
    found = {metric["type"]: metric["value"] for metric in first["metrics"]}
    assert found["accuracy"] == pytest.approx(float(right), abs=2e-6)
    assert found["loss"] == pytest.approx(float(loss.detach()), abs=1e-4)
    assert f"{len(inputs):,}" in (done.folder / "README.md").read_text()


def read_front_matter(folder: Path) -> dict[str, object]:
    text = (folder / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "unknown" and head["pipeline_tag"] == "image-classification"
    return head  # type: ignore[no-any-return]


def test_full_and_width_and_default_folder(
    run: tuple[RunView, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, root = run
    monkeypatch.chdir(tmp_path)
    full = kumiai.export(root)
    assert full.folder == Path("exports/run-full") and full.width_ppm == 1_000_000
    customer = next(m for m in view.members if m.role == "customer")
    whole = load_file(root / customer.model_path)
    assert all(
        torch.equal(whole[n], t) for n, t in load_file(full.folder / "model.safetensors").items()
    )
    assert view.receipts[0].hash not in (full.folder / "README.md").read_text()
    half = kumiai.export(root, width="50%")
    assert half.folder == Path("exports/run-width-0.5") and half.width_ppm == 500_000
    assert sorted(p.name for p in Path("exports").iterdir()) == ["run-full", "run-width-0.5"]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_command_lists_the_files_and_quiet_prints_the_folder(
    run: tuple[RunView, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], language: str
) -> None:
    view, root = run
    words = ["export", str(root), "--member", find_narrow(view), "--lang", language]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    out = capfd.readouterr().out
    assert all(line in out for line in LINES) and "model.safetensors" in out
    assert {"en": "checked in a process without", "ja": "確認済み"}[language] in out
    assert main([*words, "--out", str(tmp_path / "b"), "-q"]) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'b'}\n"


def test_what_cannot_be_exported_says_why(
    run: tuple[RunView, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    view, root = run
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    judge = next(m.name for m in view.members if m.role == "validator")
    cases = (
        (["--member", "Nobody"], "members with a model: trainer-1"),
        (["--member", judge], "it earned no model (it is a validator)"),
        (["--width", "0.3"], "the task's widths are 0.25, 0.5, 0.75, 1"),
        (["--width", "much"], "the task's widths are"),
        (["--width", "0.5", "--full"], "not together with --full"),
        (["--out", str(taken)], "it is there already"),
        (["--out", str(root / "models" / "x")], "the run's folder is sealed"),
    )
    for words, message in cases:
        assert main(["export", str(root), *words]) == 2, words
        assert message in capfd.readouterr().err
    assert [p.name for p in taken.iterdir()] == ["mine.txt"]
    assert main(["export", str(tmp_path / "absent")]) == 2
    assert "not the folder of a run" in capfd.readouterr().err
    assert main(["verify", str(root), "-q", "--scores", "0"]) == 0  # nothing was left in the run


def test_an_interrupted_a_failed_and_a_damaged_run_are_refused(
    run: tuple[RunView, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    copy = tmp_path / "cut"
    shutil.copytree(run[1], copy)
    with sqlite3.connect(copy / "log.db") as log:
        table = log.execute("select name from sqlite_master where type = 'table'").fetchone()[0]
        for (name,) in log.execute(
            "select name from sqlite_master where type = 'trigger'"
        ).fetchall():
            log.execute(f"drop trigger {name}")
        last = log.execute(f"select max(height) from {table}").fetchone()[0]
        log.execute(f"delete from {table} where height > ?", (last // 2,))
    with pytest.raises(InputError, match=r"not finished.*--resume"):
        kumiai.export(copy, out=tmp_path / "out")
    with sqlite3.connect(copy / "log.db") as log:
        log.execute(f"delete from {table} where height = ?", (last // 4,))
    with pytest.raises(StoreError, match="damaged: gap"):
        kumiai.export(copy, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    from kumiai.apps.export import subject as room

    real = room.replay_log

    def failed(*arguments):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        replay = real(*arguments)
        replay.state = replace(replay.state, phase=room.RunPhase.FAILED, reason="quorum lost")
        return replay

    def forged(run_dir, report):  # type: ignore[no-untyped-def]
        report("log record 5", "event of abc: bad signature")
        return real(run_dir, report)

    monkeypatch.setattr(room, "replay_log", forged)
    with pytest.raises(VerificationError, match="bad signature: run `kumiai verify"):
        kumiai.export(run[1], out=tmp_path / "out")
    monkeypatch.setattr(room, "replay_log", failed)
    with pytest.raises(RunFailedError, match="no final model \\(quorum lost\\)"):
        kumiai.export(run[1], out=tmp_path / "out")


def test_a_run_of_a_users_recipe_with_onnx_and_closed_holdouts(tmp_path: Path) -> None:
    text = (FILES / "conv.py").read_text().replace("build(width: float)", "make(width, channels=8)")
    text = text.replace("round(8 * width)", "round(channels * width)")
    text = text.replace("self.conv(x)", "self.conv(x.view(-1, 1, 8, 8))").replace(", 4)", ", 10)")
    task = write_task(tmp_path)
    (tmp_path / "model.py").write_text(text)
    source = task.read_text().replace('recipe = "mlp"', 'recipe = "model.py:make"')
    task.write_text(source.replace("hidden = 16", "channels = 12"))
    settings = {"training.rounds": "1", "data.open_holdout": "false"}
    kumiai.run(task, tmp_path / "run", settings)
    done = kumiai.export(tmp_path / "run", width=0.5, out=tmp_path / "out", onnx=True)
    assert set(done.files) >= {"recipe.py", "model.py", "model.onnx"}
    assert (done.folder / "recipe.py").read_text() == text
    card = (done.folder / "README.md").read_text()
    assert "model.onnx" in card
    assert "no measurement" in card and "opened hold-outs" not in card


def test_a_private_runs_card_says_the_epsilon_that_was_claimed(tmp_path: Path) -> None:
    settings = {"training.rounds": "1", "privacy.mode": "local", "training.learning_rate": "0.05"}
    view = kumiai.run(write_task(tmp_path), tmp_path / "run", settings)
    done = kumiai.export(tmp_path / "run", out=tmp_path / "out")
    card = (done.folder / "README.md").read_text()
    most = max(m.epsilon_milli for m in view.members)
    shown = re.search(r"epsilon of at most ([\d.]+)", card)
    assert shown and float(shown[1]) == pytest.approx(most / 1000, abs=0.01)
    assert "without differential privacy" not in card


def test_peoples_words_are_no_markup() -> None:
    assert escape("a|b\n# `x` <i> [l](u) *s*") == r"a\|b \# \`x\` \<i\> \[l\]\(u\) \*s\*"


def test_a_card_is_made_of_the_same_facts_in_both_languages(
    run: tuple[RunView, Path], tmp_path: Path
) -> None:
    done = kumiai.export(run[1], out=tmp_path / "out")
    english, japanese = ((done.folder / n).read_text() for n in ("README.md", "README.ja.md"))
    english = english.split("---\n", 2)[2]
    for pattern in (r"`[^`\n]+`", r"\d+\.\d+%"):
        assert sorted(re.findall(pattern, english)) == sorted(re.findall(pattern, japanese))
    assert load_view(run[1]) == run[0]
