"""A small convolutional network for images: blocks of convolution, GroupNorm, ReLU and pooling.

GroupNorm (Wu and He, "Group Normalization", 2018) and not BatchNorm: its numbers do not mix the
samples of a batch, and it has no running statistics that break when clients or widths differ. The
group SIZE is fixed, not the group count, so that group k covers the same channels at every width
and narrow nets are leading blocks. Since each group is normalised, the smaller fan-in of a narrow
net changes nothing in its signal after a block: PyTorch's default initialisation is kept, and the
narrow net of the initial model is as sensible as one drawn at its own width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from kumiai.learning.recipes.options import (
    OptionValue,
    check_names,
    get_count,
    get_sizes,
    scale_size,
)

CHANNELS_DEFAULT = "16,32"
GROUP_SIZE_DEFAULT = 4  # channels normalised together


class Block(nn.Module):
    """[B, C_in, H, W] -> [B, C_out, H // 2, W // 2]."""

    def __init__(self, channels_in: int, channels_out: int, group_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)
        self.norm = nn.GroupNorm(channels_out // group_size, channels_out)

    def forward(self, inputs: Tensor) -> Tensor:
        # ReLU after pooling gives the same numbers as before it, on a quarter of the values.
        return functional.max_pool2d(self.norm(self.conv(inputs)), 2).relu()


class Cnn(nn.Module):
    """Images [B, C, H, W] to class scores [B, classes]."""

    def __init__(
        self, channels: tuple[int, ...], pixels_out: int, group_size: int, class_count: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(a, b, group_size) for a, b in pairwise(channels))
        # Flattening is channel-major: the leading channels are the leading inputs of the head.
        self.head = nn.Linear(channels[-1] * pixels_out, class_count)

    def forward(self, inputs: Tensor) -> Tensor:
        values = inputs
        for block in self.blocks:
            values = block(values)
        scores: Tensor = self.head(values.flatten(1))
        return scores


@dataclass(frozen=True)
class CnnBuilder:
    """`build(width)` narrows the channels in whole groups; image channels and classes stay."""

    image_channels: int
    channels: tuple[int, ...]
    pixels_out: int
    group_size: int
    class_count: int

    def list_arguments(self, width: float) -> tuple[tuple[int, ...], int, int, int]:
        """Return what `Cnn` of this width is made with."""
        channels = tuple(scale_size(size, width, self.group_size) for size in self.channels)
        sizes = (self.image_channels, *channels)
        return sizes, self.pixels_out, self.group_size, self.class_count

    def build(self, width: float) -> nn.Module:
        return Cnn(*self.list_arguments(width))


def read_options(
    options: Mapping[str, OptionValue], input_shape: tuple[int, ...], class_count: int
) -> CnnBuilder:
    """Options `channels` ("16,32": one block each) and `group_size` (4)."""
    check_names("cnn", options, ("channels", "group_size"))
    channels = get_sizes("cnn", options, "channels", CHANNELS_DEFAULT)
    group_size = get_count("cnn", options, "group_size", GROUP_SIZE_DEFAULT)
    for size in channels:
        if size % group_size:
            raise ValueError(
                f"recipe 'cnn': {size} channels do not split in groups of {group_size}"
            )
    if len(input_shape) != 3:
        raise ValueError(
            f"recipe 'cnn' needs samples of shape [channels, height, width], not {input_shape}"
        )
    pixels_out = (input_shape[1] >> len(channels)) * (input_shape[2] >> len(channels))
    if pixels_out == 0:
        raise ValueError(
            f"recipe 'cnn': {len(channels)} blocks halve an image of {input_shape[1]} x "
            f"{input_shape[2]} to nothing: use fewer channels entries"
        )
    return CnnBuilder(input_shape[0], channels, pixels_out, group_size, class_count)
