"""ResNet-18 with GroupNorm, at every width the leading channels of the full one.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2016, table 1 (18 layers):
four stages of two blocks, channels doubling and pixels halving from stage to stage. Shortcuts that
change the shape are 1x1 convolutions (the paper's option B). Deviations: GroupNorm instead of
BatchNorm, of a fixed group SIZE, for the reasons given in `cnn`; PyTorch's default initialisation
instead of He's, as each convolution is normalised.

stem "cifar": one 3x3 convolution, for images of about 32 pixels; "imagenet": 7x7 with stride 2,
then 3x3 max pooling with stride 2, as in the paper. At base 64 the full network of the paper's
shape (1,000 classes) has 11,689,512 numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from kumiai.learning.recipes.options import (
    OptionValue,
    check_names,
    get_choice,
    get_count,
    scale_size,
)

BASE_DEFAULT = 64  # channels of the first stage
GROUP_SIZE_DEFAULT = 16  # channels normalised together: 4 groups in the first stage, 32 in the last
STAGES = 4
STEMS = ("cifar", "imagenet")
STEM_SHRINKS = {"cifar": 0, "imagenet": 2}  # halvings of the image before the first stage


class Block(nn.Module):
    """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride], rounded up."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, group_size: int) -> None:
        super().__init__()
        groups = channels_out // group_size
        self.first = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(groups, channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(groups, channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:  # decided by the stage, not by the channels: the same tensors at all widths
            project = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.GroupNorm(groups, channels_out))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first_norm(self.first(inputs)).relu()
        change = self.second_norm(self.second(hidden))
        outputs: Tensor = (self.shortcut(inputs) + change).relu()
        return outputs


class ResNet18(nn.Module):
    """Images [B, C, H, W] to class scores [B, classes]."""

    def __init__(
        self,
        image_channels: int,
        channels: tuple[int, ...],
        stem: str,
        group_size: int,
        class_count: int,
    ) -> None:
        super().__init__()
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.stem = nn.Conv2d(
            image_channels, channels[0], kernel, stride, padding=kernel // 2, bias=False
        )
        self.stem_norm = nn.GroupNorm(channels[0] // group_size, channels[0])
        self.is_pooled = stem == "imagenet"
        blocks: list[nn.Module] = []
        before = channels[0]
        for stage, size in enumerate(channels):
            blocks.append(Block(before, size, 1 if stage == 0 else 2, group_size))
            blocks.append(Block(size, size, 1, group_size))
            before = size
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(before, class_count)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.stem_norm(self.stem(inputs)).relu()
        if self.is_pooled:
            values = functional.max_pool2d(values, 3, stride=2, padding=1)
        for block in self.blocks:
            values = block(values)
        scores: Tensor = self.head(values.mean(dim=(-2, -1)))
        return scores


@dataclass(frozen=True)
class ResNet18Builder:
    """`build(width)` narrows every stage in whole groups; image channels and classes stay."""

    image_channels: int
    base: int
    stem: str
    group_size: int
    class_count: int

    def list_arguments(self, width: float) -> tuple[int, tuple[int, ...], str, int, int]:
        """Return what `ResNet18` of this width is made with."""
        sizes = (self.base << stage for stage in range(STAGES))
        channels = tuple(scale_size(size, width, self.group_size) for size in sizes)
        return self.image_channels, channels, self.stem, self.group_size, self.class_count

    def build(self, width: float) -> nn.Module:
        return ResNet18(*self.list_arguments(width))


def read_options(
    options: Mapping[str, OptionValue], input_shape: tuple[int, ...], class_count: int
) -> ResNet18Builder:
    """Options `base` (64 channels in the first stage), `group_size` (16), `stem` ("cifar")."""
    check_names("resnet18", options, ("base", "group_size", "stem"))
    base = get_count("resnet18", options, "base", BASE_DEFAULT)
    group_size = get_count("resnet18", options, "group_size", GROUP_SIZE_DEFAULT)
    stem = get_choice("resnet18", options, "stem", STEMS)
    if base % group_size:
        raise ValueError(
            f"recipe 'resnet18': {base} channels do not split in groups of {group_size}"
        )
    if len(input_shape) != 3:
        raise ValueError(
            f"recipe 'resnet18' needs samples of shape [channels, height, width], not {input_shape}"
        )
    shrink = 1 << (STAGES - 1 + STEM_SHRINKS[stem])
    pixels_out = -(-input_shape[1] // shrink) * -(-input_shape[2] // shrink)
    if pixels_out * group_size < 2:
        raise ValueError(
            f"recipe 'resnet18': an image of {input_shape[1]} x {input_shape[2]} ends at 1 pixel: "
            f"a group_size of {group_size} leaves nothing to normalise over, use 2 or more"
        )
    return ResNet18Builder(input_shape[0], base, stem, group_size, class_count)
