"""Whole runs whose members adapt a base model: what travels, what comes out, what verify finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra lm: pip install 'kumiai[lm]'")

from safetensors.torch import load_file, save_file
from tests.adapters.lora_bases import write_gpt2
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.language.base_folder import open_base
from kumiai.apps import wiring
from kumiai.apps.verify import verify_path
from kumiai.base.errors import InputError
from kumiai.tasks.document import compute_task_id

TASK = """\
name = "adapted"
seed = 3
[data]
source = "sotu"
options = { tokenizer = "base", length = 16, samples = 160 }
partition = "iid"
trainers = 2
[model]
recipe = "lora"
options = { base = "base", rank = 2 }
widths_ppm = [500000, 1000000]
[training]
rounds = 3
local_iterations = 16
batch_size = 8
optimizer = "adamw"
learning_rate = 0.02
backend = "inline"
[validation]
valuation = "loo"
validators = 4
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    write_gpt2(folder / "base")
    view = kumiai.run(write_task(folder, TASK), folder / "run")
    return view, folder / "run"


def test_a_run_ends_verifies_and_counts_bits_per_byte(finished):
    view, out = finished
    assert view.phase == "FINISHED"
    assert view.token_bytes_ppm == 1_000_000  # every token is a byte
    assert view.rounds[-1].loss_ppm < view.rounds[0].loss_ppm
    report = verify_path(out)
    assert report.is_ok, report.findings
    assert view.text_written


def test_the_task_of_the_run_binds_the_base(finished):
    _, out = finished
    plan = json.loads((out / "plan.json").read_text())
    found = open_base(out.parent / "base").sha256
    assert plan["task"]["model"]["options"]["base_sha256"] == found
    bound = wiring.read_task(out.parent / "task.toml")
    other = wiring.read_task(out.parent / "task.toml", {"model.options.base_sha256": "00" * 32})
    assert compute_task_id(bound) != compute_task_id(other)
    with pytest.raises(InputError, match=f"base_sha256 = '{'00' * 32}'.*{found}"):
        wiring.load_workload(other, out.parent)


def test_only_adapters_travel_and_are_delivered(finished):
    _, out = finished
    plan = json.loads((out / "plan.json").read_text())
    assert plan["base_dir"] == str(out.parent)
    largest = max(file.stat().st_size for file in (out / "blobs").rglob("*") if file.is_file())
    whole = (out.parent / "base" / "model.safetensors").stat().st_size
    assert largest < whole / 2
    models = sorted((out / "models").glob("*.safetensors"))
    assert models
    for path in models:
        assert {n.rpartition(".")[2] for n in load_file(path)} == {"lora_b"}
        assert {f.name for f in path.with_suffix("").iterdir()} == {
            "adapter_config.json", "adapter_model.safetensors",
        }  # fmt: skip


def test_peft_loads_the_customers_adapter_and_it_is_better_than_the_base(finished):
    peft = pytest.importorskip("peft")
    _, out = finished
    from transformers import AutoModelForCausalLM

    task = wiring.read_task(out.parent / "task.toml")
    x, y = wiring.load_workload(task, out.parent).data.test
    adapter = next((out / "models").glob("customer*.safetensors")).with_suffix("")
    losses = []
    for place in ("", adapter):
        model = AutoModelForCausalLM.from_pretrained(out.parent / "base", local_files_only=True)
        model = peft.PeftModel.from_pretrained(model, place) if place else model
        with torch.no_grad():
            scores = model.eval()(input_ids=x.long()).logits
        losses.append(float(torch.nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten())))
    assert losses[1] < losses[0] - 0.01


def test_verify_finds_an_adapter_that_was_changed(tmp_path):
    write_gpt2(tmp_path / "base")
    kumiai.run(write_task(tmp_path, TASK), tmp_path / "run", {"training.rounds": "1"})
    folder = next((tmp_path / "run" / "models").glob("customer*.safetensors")).with_suffix("")
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1
    save_file(tensors, weights, {"format": "pt"})
    report = verify_path(tmp_path / "run")
    assert not report.is_ok
    assert any("is not the final model's adapter" in str(f) for f in report.findings)
    assert wiring.read_task(tmp_path / "task.toml").model.options["base_sha256"]


def test_texts_numbered_by_another_tokenizer_are_refused(tmp_path):
    write_gpt2(tmp_path / "base")
    other = write_gpt2(tmp_path / "other") / "tokenizer.json"
    other.write_text(other.read_text() + "\n")
    path = write_task(tmp_path, TASK.replace('tokenizer = "base"', 'tokenizer = "other"'))
    with pytest.raises(InputError, match=r"data\.options\.tokenizer.*tokenizer\.json has"):
        kumiai.run(path, tmp_path / "run")


def test_the_same_task_gives_the_same_bytes(tmp_path):
    write_gpt2(tmp_path / "base")
    path = write_task(tmp_path, TASK)
    for name in ("one", "two"):
        kumiai.run(path, tmp_path / name, {"training.rounds": "1"})
    one, two = (read_everything(tmp_path / name) for name in ("one", "two"))
    assert one == two
    assert len(one) > 10


def read_everything(out: Path) -> dict[str, bytes]:
    """Receipts, updates and adapters; of models the numbers, as their headers have no one order."""
    files = [f for name in ("receipts", "blobs", "models") for f in (out / name).rglob("*")]
    return {
        str(file.relative_to(out)): repr(load_file(file)).encode()
        if file.parent == out / "models"
        else file.read_bytes()
        for file in files
        if file.is_file()
    }


def test_export_says_where_the_adapters_are(finished, tmp_path):
    _, out = finished
    with pytest.raises(InputError, match=r"model\.recipe = 'lora'.*models/MEMBER.*from_pretrained"):
        kumiai.export(out, full=True, out=tmp_path / "taken")
    assert not (tmp_path / "taken").exists()
