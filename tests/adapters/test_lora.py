"""LoRA on a base in a folder: the base is bound and stays still, and peft reads what comes out."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra lm: pip install 'kumiai[lm]'")

from tests.adapters.lora_bases import BASES, VOCABULARY, write_gpt2
from torch.func import functional_call

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.language import base_folder, base_model, library
from kumiai.adapters.language.base_folder import open_base
from kumiai.adapters.language.base_model import load_base
from kumiai.adapters.language.lora import bind_base, load_lora_recipe, remake_lora_recipe
from kumiai.adapters.language.peft_format import make_adapter_files
from kumiai.adapters.language.tokens import cut_token_texts
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import compute_layout, flatten, unflatten
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.learning.recipes.lora import Adapted
from kumiai.learning.slim import check_nested, extract_width

WIDTHS_PPM = [250_000, 500_000, 1_000_000]
LENGTH = 8


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"a connection was opened: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module", params=BASES)
def home(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    BASES[request.param](folder / "base")
    return folder


@pytest.fixture
def mine(tmp_path) -> Path:
    """A base that a test may spoil."""
    write_gpt2(tmp_path / "base")
    return tmp_path


def load(folder: Path, seed: int = 3, classes: int = VOCABULARY, **options) -> Recipe:
    given = bind_base({"base": "base", "rank": 4, **options}, folder)
    return load_lora_recipe(given, WIDTHS_PPM, folder, (LENGTH,), classes, seed)


def draw_batch(samples: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(VOCABULARY, (samples, LENGTH + 1), generator=generator)
    return tokens[:, :-1].float(), tokens[:, 1:]


def draw_vector(recipe: Recipe) -> torch.Tensor:
    size = compute_layout(build_seeded(recipe, 1.0, 0)).size
    return 0.3 * torch.randn(size, generator=torch.Generator().manual_seed(8))


def read_base(folder: Path) -> torch.nn.Module:
    transformers = library.require_transformers()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "base", local_files_only=True, dtype=torch.float32
    )
    return model.eval()


@pytest.mark.parametrize("train_a", [False, True])
def test_only_adapters_are_in_the_layout_and_the_start_is_the_base_itself(home, train_a):
    recipe = load(home, train_a=train_a)
    check_nested(recipe)
    module = build_seeded(recipe, 1.0, 1)
    layout = compute_layout(module)
    kinds = {name.rpartition(".")[2] for name in layout.names}
    assert kinds == ({"lora_a", "lora_b"} if train_a else {"lora_b"})
    assert all(layout.is_parameter)
    layers = [m for m in module.modules() if isinstance(m, Adapted)]
    sizes = [m.lora_b.numel() + train_a * m.lora_a.numel() for m in layers]
    assert layout.size == sum(sizes)
    inputs, _ = draw_batch()
    with torch.no_grad():
        expected = read_base(home)(input_ids=inputs.long()).logits
        assert torch.allclose(module.train()(inputs), expected, atol=1e-5)  # dropout stays off


def test_a_narrow_model_is_the_full_one_with_its_other_ranks_at_nought(home):
    recipe = load(home, train_a=True)
    full = build_seeded(recipe, 1.0, 1)
    vector_P = draw_vector(recipe)
    state = unflatten(compute_layout(full), vector_P)
    inputs, _ = draw_batch()
    for width, rank in ((0.25, 1), (0.5, 2), (1.0, 4)):
        cut = {
            n: t * (torch.arange(t.shape[-1]) < rank) if n.endswith("lora_b") else t
            for n, t in state.items()
        }
        narrow = build_seeded(recipe, width, 2)
        outputs = functional_call(narrow, extract_width(recipe, vector_P, width), (inputs,))
        assert torch.allclose(outputs, functional_call(full, cut, (inputs,)), atol=1e-4)


def test_frozen_a_is_everybodys_and_averaging_b_averages_the_products(home):
    recipe, again, other = load(home), load(home), load(home, seed=4)
    inputs, _ = draw_batch()
    modules = [build_seeded(r, 1.0, seed) for r, seed in ((recipe, 1), (again, 2), (other, 1))]
    firsts = [next(m for m in net.modules() if isinstance(m, Adapted)) for net in modules]
    assert torch.equal(firsts[0].lora_a, firsts[1].lora_a)
    assert not torch.equal(firsts[0].lora_a, firsts[2].lora_a)
    narrow = build_seeded(recipe, 0.5, 0)
    first = next(m for m in narrow.modules() if isinstance(m, Adapted))
    assert torch.equal(first.lora_a, firsts[0].lora_a[:2])
    b_NOR = torch.randn(3, *firsts[0].lora_b.shape)
    products = torch.stack([b @ firsts[0].lora_a for b in b_NOR])
    assert torch.allclose(b_NOR.mean(0) @ firsts[0].lora_a, products.mean(0), atol=1e-5)
    assert inputs.shape == (6, LENGTH)


def test_the_base_is_in_memory_once_whatever_the_number_of_modules(home):
    recipe = load(home)
    base = load_base(open_base((home / "base").resolve()))
    held = {t.data_ptr() for t in base.buffers()}
    for width in recipe.widths:
        module = build_seeded(recipe, width, 0)
        assert module.base is not base
        frozen = [b for n, b in module.named_buffers() if not n.endswith("lora_a")]
        assert {b.data_ptr() for b in frozen} <= held and frozen
    assert load_base(open_base((home / "base").resolve())) is base


@pytest.mark.parametrize("train_a", [False, True])
def test_all_backends_give_the_same_updates_and_leave_the_base_alone(home, train_a):
    recipe = load(home, train_a=train_a)
    before = [t.clone() for t in load_base(open_base((home / "base").resolve())).buffers()]
    settings = TrainSettings(optimizer="adamw", learning_rate=0.01, batch_size=4, local_epochs=2)
    shards = [draw_batch(n) for n in (6, 8, 5)]
    results = []
    for backend, tier in (
        ("inline", "eager"), ("inline", "traced"), ("vectorised", "eager"), ("process", "eager"),
    ):  # fmt: skip
        with Engine(recipe, settings, backend, tier=tier, worker_count=2) as engine:
            module = build_seeded(recipe, 1.0, 3)
            start = flatten(engine.layout, module.state_dict()).detach()
            done = engine.train(start, shards, [1, 2, 3])
            assert torch.equal(engine.train(start, shards, [1, 2, 3]).updates_NP, done.updates_NP)
            results.append(done.updates_NP)
    assert results[0].abs().max() > 1e-3
    for other in results[1:]:
        assert torch.allclose(other, results[0], atol=2e-4)
    after = load_base(open_base((home / "base").resolve())).buffers()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("train_a", [False, True])
def test_peft_loads_what_is_delivered_and_gives_the_same_scores(home, tmp_path, train_a):
    peft = pytest.importorskip("peft")
    recipe = load(home, train_a=train_a, alpha=5)
    vector_P = draw_vector(recipe)
    inputs, _ = draw_batch()
    for width in recipe.widths:
        files = make_adapter_files(recipe, vector_P, width)
        assert files == make_adapter_files(recipe, vector_P, width)
        folder = tmp_path / f"{width}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        loaded = peft.PeftModel.from_pretrained(read_base(home), folder).eval()
        module = build_seeded(recipe, width, 0)
        with torch.no_grad():
            ours = functional_call(module, extract_width(recipe, vector_P, width), (inputs,))
            theirs = loaded(input_ids=inputs.long()).logits
            bare = build_seeded(recipe, width, 0)(inputs)
        assert torch.allclose(ours, theirs, atol=1e-4)
        assert not torch.allclose(ours, bare, atol=1e-2)


def test_a_recipe_is_made_again_from_its_origin(home):
    recipe = load(home, train_a=True, alpha=7)
    again = remake_lora_recipe(recipe.origin)
    assert again.origin == recipe.origin
    vector_P, (inputs, _) = draw_vector(recipe), draw_batch()
    state = unflatten(compute_layout(build_seeded(recipe, 1.0, 0)), vector_P)
    one, other = (
        functional_call(build_seeded(r, 1.0, 0), state, (inputs,)) for r in (recipe, again)
    )
    assert torch.equal(one, other)


def test_a_changed_base_is_refused_with_both_hashes(mine):
    options = bind_base({"base": "base"}, mine)
    wanted = options["base_sha256"]
    write_gpt2(mine / "base", seed=1)
    found = open_base(mine / "base").sha256
    assert found != wanted
    with pytest.raises(InputError, match=f"base_sha256 = '{wanted}'.*{found}"):
        load_lora_recipe(options, WIDTHS_PPM, mine, (LENGTH,), VOCABULARY, 0)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_every_file_that_is_read_is_in_the_hash_and_no_other(mine, name):
    before = open_base(mine / "base").sha256
    (mine / "base" / "README.md").write_text("anything")
    assert open_base(mine / "base").sha256 == before
    with (mine / "base" / name).open("ab") as file:
        file.write(b"\n")
    assert open_base(mine / "base").sha256 != before


def test_a_task_without_the_hash_is_told_what_to_write(mine):
    found = open_base(mine / "base").sha256
    with pytest.raises(InputError, match=f'write base_sha256 = "{found}"'):
        load_lora_recipe({"base": "base"}, WIDTHS_PPM, mine, (LENGTH,), VOCABULARY, 0)


FORBIDDEN = {
    "code": {"auto_map": {"AutoModelForCausalLM": "own.Own"}},
    "quantised": {"quantization_config": {"quant_method": "bitsandbytes"}},
    "typeless": {"model_type": None},
    "strange": {"model_type": "no_such_model"},
    "huge": {"n_layer": 40},
    "partial": {"tie_word_embeddings": False},
    "long": {"note": "x" * base_folder.CONFIG_BYTES_MAX},
}


def spoil(base: Path, kind: str) -> None:
    config, weights = base / "config.json", base / "model.safetensors"
    if kind in FORBIDDEN:
        config.write_text(json.dumps({**json.loads(config.read_text()), **FORBIDDEN[kind]}))
    if kind == "code":
        (base / "own.py").write_text("raise SystemExit('code of a model was run')")
    elif kind == "pickle":
        weights.rename(base / "pytorch_model.bin")
    elif kind == "empty":
        weights.unlink()
    elif kind == "adapter":
        (base / "adapter_config.json").write_text("{}")
    elif kind == "gone":
        shutil.rmtree(base)
    elif kind == "torn":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickle", "pytorch_model.bin but no .*pickles can run code"),
        ("empty", "no .*safetensors"),
        ("adapter", "an adapter is no base"),
        ("gone", "is no folder"),
        ("code", "auto_map.*never run"),
        ("quantised", "quantization_config"),
        ("typeless", "no model_type"),
        ("strange", "transformers refuses it.*no_such_model"),
        ("huge", r"asks for \d+ numbers, the .*hold \d+"),
        ("partial", "asks for|missing weights"),
        ("torn", "transformers refuses it|cannot be read"),
        ("long", r"has \d+ bytes, at most 1048576"),
    ],
)
def test_a_base_that_must_not_be_read_is_refused(mine, kind, message):
    spoil(mine / "base", kind)
    with pytest.raises(InputError, match=message):
        load(mine)


def test_weights_beyond_the_cap_are_refused_before_they_are_read(mine, monkeypatch):
    monkeypatch.setattr(base_folder, "WEIGHTS_BYTES_MAX", 100)
    monkeypatch.setattr(base_folder, "hash_file", lambda file: pytest.fail("it was read"))
    with pytest.raises(InputError, match="at most 100 are read"):
        load(mine)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": "query"}, "'query'.*it has c_attn, c_fc, c_proj, lm_head"),
        ({"rank": 17}, "rank = 17 is more than layer"),
        ({"rank": 0}, "rank = 0 is not a positive"),
        ({"alpha": True}, "alpha = True is not a positive"),
        ({"train_a": 1}, "train_a = 1 is not true or false"),
        ({"dropout": 1}, "no option 'dropout'"),
        ({"target_modules": 3}, "is not a text"),
    ],
)
def test_options_that_do_not_hold_are_named(mine, options, message):
    with pytest.raises(ValueError, match=message):
        load(mine, **options)


def test_targets_are_chosen_by_the_end_of_their_names(mine):
    names = {
        n.split(".")[-2] for n in layout_names(load(mine, target_modules="c_attn, mlp.c_proj"))
    }
    assert names == {"c_attn", "c_proj"}
    assert len(layout_names(load(mine, target_modules="mlp.c_proj"))) == 1
    assert not any("lm_head" in n for n in layout_names(load(mine)))


def layout_names(recipe: Recipe) -> tuple[str, ...]:
    return compute_layout(build_seeded(recipe, 1.0, 0)).names


def test_data_of_other_tokens_or_too_long_are_refused(mine):
    with pytest.raises(InputError, match=r"256 tokens, the data have 52.*data\.options\.tokenizer"):
        load(mine, classes=52)
    given = bind_base({"base": "base"}, mine)
    with pytest.raises(InputError, match="reads 32 tokens, samples have 33"):
        load_lora_recipe(given, WIDTHS_PPM, mine, (33,), VOCABULARY, 0)


def test_without_transformers_the_error_names_the_extra(mine, monkeypatch):
    base_model._kept.clear()
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'kumiai\[lm\]'"):
        load(mine)


def test_tokens_stand_for_the_bytes_of_the_text(mine):
    text = "Grüße, 世界!\n" + "".join(map(chr, range(1, 0x800)))  # nearly every byte
    data = cut_token_texts([text], ("one",), mine / "base", LENGTH)
    assert data.class_count == VOCABULARY == len(data.spellings)
    written = b"".join(data.spellings[int(token)] for token in data.features.flatten())
    assert written == text.encode()[: len(written)] and len(written) == data.features.size
    assert np.array_equal(data.features[0, 1:], data.labels[0, :-1].astype(np.float32))


def test_a_tokenizer_with_merges_counts_the_bytes_of_its_tokens(mine):
    file = mine / "base" / "tokenizer.json"
    table = json.loads(file.read_text())
    table["model"]["vocab"]["th"] = 256
    table["model"]["merges"] = [["t", "h"]]
    file.write_text(json.dumps(table))
    data = cut_token_texts(["the thin thing " * 10], ("one",), mine / "base", LENGTH)
    assert data.class_count == 257
    assert sum(len(data.spellings[int(t)]) for t in data.features.flatten()) > data.features.size


@pytest.mark.parametrize(
    ("field", "value"), [("decoder", None), ("normalizer", {"type": "Lowercase"}), ("model", {})]
)
def test_a_tokenizer_that_changes_texts_is_refused(mine, field, value):
    file = mine / "base" / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(InputError, match=r"byte-level|refused"):
        cut_token_texts(["text " * 10], ("one",), mine / "base", LENGTH)
