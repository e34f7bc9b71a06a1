"""Tiny random base models in folders, as transformers and tokenizers write them."""

from __future__ import annotations

from pathlib import Path

import torch

from kumiai.adapters.language.library import require_transformers

VOCABULARY = 256


def write_tokenizer(folder: Path) -> None:
    """The tokenizer whose tokens are the 256 bytes, in the order of their letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_gpt2(folder: Path, seed: int = 0) -> Path:
    """One layer of GPT-2 with Conv1D layers, tied embeddings and dropout switched on."""
    transformers = require_transformers()
    write_tokenizer(folder)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=1, n_head=2,
        bos_token_id=None, eos_token_id=None,
        initializer_range=0.5,  # at the usual 0.02 a random base has nothing for adapters to use
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def write_llama(folder: Path, seed: int = 0) -> Path:
    """One layer of Llama: plain linear layers, grouped heads, rotary positions, bfloat16."""
    transformers = require_transformers()
    write_tokenizer(folder)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=32, hidden_size=16, intermediate_size=24,
        num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    return folder


BASES = {"gpt2": write_gpt2, "llama": write_llama}
