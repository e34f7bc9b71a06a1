"""A small causal transformer for next-token prediction, pre-LayerNorm, learned positions.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (pre-norm); the width
slices heads of a fixed head size, and with them the residual stream and the feed-forward layer.
Query, key and value have their own matrices: a fused one would not have leading blocks. LayerNorm
acts on the narrow stream itself, so a narrow net of the initial model has the same signal size as
the full one; the two matrices that write into the stream start smaller by 1/sqrt(2 * layers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kumiai.learning.recipes.options import OptionValue, check_names, get_count, scale_size

LAYERS_DEFAULT = 2
HEADS_DEFAULT = 4
HEAD_SIZE_DEFAULT = 16
FEED_FORWARD_FACTOR = 4
INIT_STD = 0.02


class Layer(nn.Module):
    """Attention and feed-forward, each added to the stream [B, T, D]."""

    def __init__(self, heads: int, head_size: int) -> None:
        super().__init__()
        stream = heads * head_size
        self.heads = heads
        self.attention_norm = nn.LayerNorm(stream)
        self.query = nn.Linear(stream, stream)
        self.key = nn.Linear(stream, stream)
        self.value = nn.Linear(stream, stream)
        self.attention_out = nn.Linear(stream, stream)
        self.feed_norm = nn.LayerNorm(stream)
        self.feed_in = nn.Linear(stream, FEED_FORWARD_FACTOR * stream)
        self.feed_out = nn.Linear(FEED_FORWARD_FACTOR * stream, stream)

    def forward(self, stream_BTD: Tensor, mask_TT: Tensor) -> Tensor:
        stream_BTD = stream_BTD + self.attend(self.attention_norm(stream_BTD), mask_TT)
        hidden = functional.gelu(self.feed_in(self.feed_norm(stream_BTD)))
        fed: Tensor = stream_BTD + self.feed_out(hidden)
        return fed

    def attend(self, values_BTD: Tensor, mask_TT: Tensor) -> Tensor:
        # Written out: the fused kernels have no rule for being stacked over clients.
        query = self.split_heads(self.query(values_BTD))
        key = self.split_heads(self.key(values_BTD))
        value = self.split_heads(self.value(values_BTD))
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        weights = scores.masked_fill(mask_TT, -math.inf).softmax(dim=-1)
        mixed: Tensor = self.attention_out((weights @ value).transpose(1, 2).flatten(2))
        return mixed

    def split_heads(self, values_BTD: Tensor) -> Tensor:
        """[B, T, heads * size] -> [B, heads, T, size]; head k is the same block at every width."""
        batch, length, stream = values_BTD.shape
        heads = values_BTD.view(batch, length, self.heads, stream // self.heads)
        return heads.transpose(1, 2)


class Transformer(nn.Module):
    """Token numbers [B, T] (integers, or floats holding integers) to scores [B, T, V]."""

    mask: Tensor

    def __init__(
        self, vocabulary: int, length: int, layers: int, heads: int, head_size: int
    ) -> None:
        super().__init__()
        stream = heads * head_size
        self.token = nn.Embedding(vocabulary, stream)
        self.position = nn.Parameter(torch.empty(length, stream))
        self.layers = nn.ModuleList(Layer(heads, head_size) for _ in range(layers))
        self.norm = nn.LayerNorm(stream)
        self.head = nn.Linear(stream, vocabulary)
        future = torch.ones(length, length, dtype=torch.bool).triu(diagonal=1)
        self.register_buffer("mask", future, persistent=False)
        self.reset(layers)

    def reset(self, layers: int) -> None:
        """Draw the weights: normal with deviation 0.02, biases 0, writers into the stream less."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                is_writer = "attention_out" in name or "feed_out" in name
                nn.init.normal_(parameter, 0.0, INIT_STD / (math.sqrt(2 * layers) ** is_writer))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        length = tokens_BT.shape[1]
        stream = self.token(tokens_BT.long()) + self.position[:length]
        mask = self.mask[:length, :length]
        for layer in self.layers:
            stream = layer(stream, mask)
        scores: Tensor = self.head(self.norm(stream))
        return scores


@dataclass(frozen=True)
class TransformerBuilder:
    """`build(width)` keeps the first heads of each layer; vocabulary and length stay whole."""

    vocabulary: int
    length: int
    layers: int
    heads: int
    head_size: int

    def list_arguments(self, width: float) -> tuple[int, int, int, int, int]:
        """Return what `Transformer` of this width is made with."""
        heads = scale_size(self.heads, width)
        return self.vocabulary, self.length, self.layers, heads, self.head_size

    def build(self, width: float) -> nn.Module:
        return Transformer(*self.list_arguments(width))


def read_options(
    options: Mapping[str, OptionValue], input_shape: tuple[int, ...], class_count: int
) -> TransformerBuilder:
    """Options `layers` (2), `heads` (4) and `head_size` (16); `class_count` is the vocabulary."""
    check_names("transformer", options, ("layers", "heads", "head_size"))
    if len(input_shape) != 1:
        raise ValueError(f"recipe 'transformer' needs samples of shape [tokens], not {input_shape}")
    return TransformerBuilder(
        vocabulary=class_count,
        length=input_shape[0],
        layers=get_count("transformer", options, "layers", LAYERS_DEFAULT),
        heads=get_count("transformer", options, "heads", HEADS_DEFAULT),
        head_size=get_count("transformer", options, "head_size", HEAD_SIZE_DEFAULT),
    )
