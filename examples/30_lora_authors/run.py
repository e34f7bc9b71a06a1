"""Train a small base model, let four authors adapt it with LoRA, see what it gave and what it cost.

    python examples/30_lora_authors/run.py [FOLDER]

Needs `pip install 'kumiai[lm]'`; opens no connection. The base is written to `base/` beside this
file (it is kept for the next time), the run to FOLDER (default: runs/lora-authors). About a minute.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from texts import LENGTH, load_public  # noqa: E402

from kumiai import run  # noqa: E402
from kumiai.adapters.language.library import require_transformers  # noqa: E402
from kumiai.apps.wiring import read_task  # noqa: E402
from kumiai.apps.workload import load_workload  # noqa: E402
from kumiai.learning.text_loss import compute_bits_per_byte  # noqa: E402

BASE = HERE / "base"
BASE_ITERATIONS = 250
BASE_BATCH = 16
BASE_RATE = 6e-3
BYTES = 256  # the vocabulary: a token is a byte


def main(out: Path) -> None:
    """Do all of it and print the figures."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    if not (BASE / "config.json").exists():
        loss = make_base()
        print(f"base trained in {time.perf_counter() - start:.0f} s, last loss {loss:.2f} nats")
    task = read_task(HERE / "task.toml")
    workload = load_workload(task, HERE)
    inputs, targets = workload.data.test
    before = measure(load_model(), inputs, targets)
    view = run(HERE / "task.toml", out)
    after = measure(load_model(out / "models" / f"{find_customer(out)}"), inputs, targets)
    print(f"bits per byte on the members' own kind of text: {before:.3f} before, {after:.3f} after")
    report_traffic(out, workload.engine.layout.size)
    for member in view.members:
        if member.role == "trainer":
            print(f"  {member.name} ({member.reward} units)")
    print(f"{time.perf_counter() - start:.0f} s in all; see {out}/report.html")


def make_base() -> float:
    """Train a GPT-2 of two layers on the public texts; save it with its tokenizer."""
    transformers = require_transformers()
    save_tokenizer()
    config = transformers.GPT2Config(
        vocab_size=BYTES, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).train()
    data = load_public(BASE)
    features, labels = torch.from_numpy(data.features).long(), torch.from_numpy(data.labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=BASE_RATE)
    mean = 0.0
    for _ in range(BASE_ITERATIONS):
        rows = torch.randint(len(features), (BASE_BATCH,))
        scores = model(input_ids=features[rows]).logits
        loss = functional.cross_entropy(scores.flatten(0, 1), labels[rows].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = 0.95 * (mean or loss.item()) + 0.05 * loss.item()
    model.save_pretrained(BASE)
    return mean


def save_tokenizer() -> None:
    """Write the tokenizer whose tokens are the 256 bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    BASE.mkdir(exist_ok=True)
    tokenizer.save(str(BASE / "tokenizer.json"))


def load_model(adapter: Path | None = None) -> torch.nn.Module:
    """Load the base, with an adapter that a run delivered as any user of peft would."""
    transformers = require_transformers()
    base = transformers.AutoModelForCausalLM.from_pretrained(BASE, local_files_only=True)
    if adapter is None:
        return base.eval()
    from peft import PeftModel

    return PeftModel.from_pretrained(base, adapter).eval()


def measure(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Bits per byte of the next byte; every token is one byte."""
    losses = []
    with torch.no_grad():
        for x, y in zip(inputs.split(64), targets.split(64), strict=True):
            scores = model(input_ids=x.long()).logits.flatten(0, 1)
            losses.append(functional.cross_entropy(scores, y.flatten(), reduction="none"))
    return compute_bits_per_byte(float(torch.cat(losses).mean()), 1.0)


def find_customer(out: Path) -> str:
    """The customer's folder: it is owed the whole adapter."""
    return next(path.stem for path in (out / "models").glob("customer*.safetensors"))


def report_traffic(out: Path, adapter_size: int) -> None:
    """Bytes that travelled, and what the same rounds would take with all weights."""
    travelled = sum(json.loads((out / "telemetry.json").read_text())["round_bytes"].values())
    from safetensors import safe_open

    with safe_open(BASE / "model.safetensors", framework="pt") as content:
        base_size = sum(content.get_tensor(name).numel() for name in content.offset_keys())
    times = base_size / adapter_size
    print(f"trained numbers: {adapter_size} of {base_size}")
    print(
        f"travelled: {travelled / 1e6:.2f} MB; with all weights, by proportion, "
        f"{travelled * times / 1e6:.1f} MB ({times:.0f} times as much)"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/lora-authors"))
