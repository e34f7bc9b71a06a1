"""One model, several sizes: the network of width p is the leading block of every full tensor.

Slimmable networks (Yu et al., "Slimmable Neural Networks", 2019) as used by Aequa for rewards in
models (Tastan et al., 2025; reconstruction: the paper's text was not available). The nesting lets
the committee hand a member exactly the leading blocks it earned, and nothing of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from kumiai.learning.fixed_point import IntVector
from kumiai.learning.layout import Layout, compute_layout, unflatten
from kumiai.learning.recipe import Recipe, build_seeded

Shapes = Mapping[str, tuple[int, ...]]

FIX = (
    "at every width each tensor must be the leading block of the full one: scale hidden sizes, "
    "keep inputs, outputs and group sizes"
)


def check_nested(recipe: Recipe) -> None:
    """Raise ValueError, naming the tensor, both shapes and the fix, unless all widths nest."""
    full = compute_layout(build_seeded(recipe, 1.0, seed=0))
    for width in recipe.widths:
        narrow = compute_layout(build_seeded(recipe, width, seed=0))
        _check_names(recipe, width, full, narrow)
        full_shapes = dict(zip(full.names, full.shapes, strict=True))
        for name, shape in zip(narrow.names, narrow.shapes, strict=True):
            if not _is_leading(shape, full_shapes[name]):
                raise ValueError(
                    f"recipe {recipe.name!r}: tensor {name!r} has shape {shape} at width {width} "
                    f"and {full_shapes[name]} at full width: {FIX}"
                )
        if width == 1.0 and narrow != full:
            raise ValueError(f"recipe {recipe.name!r}: build(1.0) differs from call to call")


def compute_shapes(recipe: Recipe, width: float) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the tensors of the network of `width`."""
    layout = compute_layout(build_seeded(recipe, width, seed=0))
    return dict(zip(layout.names, layout.shapes, strict=True))


def slice_state(full_state: Mapping[str, Tensor], shapes_p: Shapes) -> dict[str, Tensor]:
    """Return the leading blocks of `full_state` with `shapes_p`: differentiable views.

    Gradients of a narrow loss flow into the leading blocks of the full tensors, zero elsewhere.
    Works under torch.func.vmap and grad. Raises ValueError where there is no such block.
    """
    blocks = {}
    for name, shape in shapes_p.items():
        tensor = full_state[name]
        if not _is_leading(shape, tuple(tensor.shape)):
            raise ValueError(
                f"tensor {name!r} of shape {tuple(tensor.shape)} has no leading block {shape}"
            )
        for dimension, size in enumerate(shape):
            if size != tensor.shape[dimension]:
                tensor = tensor.narrow(dimension, 0, size)
        blocks[name] = tensor
    return blocks


def extract_width(recipe: Recipe, vector_P: Tensor, width: float) -> dict[str, Tensor]:
    """Return the tensors of the network of `width` out of the full vector: copies for export.

    The copies own their memory: writing them to a file ships the narrow net alone.
    """
    full = compute_layout(build_seeded(recipe, 1.0, seed=0))
    blocks = slice_state(unflatten(full, vector_P.detach()), compute_shapes(recipe, width))
    return {name: block.clone().contiguous() for name, block in blocks.items()}


def compute_levels(recipe: Recipe) -> IntVector:
    """Return for each of the model's P numbers the place in `widths` of the narrowest that has it.

    Number i belongs to width w exactly where levels_P[i] <= the place of w: the blocks nest.
    """
    full = compute_layout(build_seeded(recipe, 1.0, seed=0))
    levels_P = torch.full((full.size,), len(recipe.widths) - 1, dtype=torch.int32)
    tensors = unflatten(full, levels_P)
    for place in reversed(range(len(recipe.widths) - 1)):
        for block in slice_state(tensors, compute_shapes(recipe, recipe.widths[place])).values():
            block.fill_(place)
    return levels_P.numpy()


def narrow_recipe(recipe: Recipe, place: int) -> Recipe:
    """Return the recipe of the network of widths[place] alone: no wider one can be built from it.

    Its widths are the narrower ones as shares of its own, so that it trains by the sandwich rule
    too. It has no origin: another process cannot make it again.
    """
    own = recipe.widths[place]
    widths = {width / own: width for width in recipe.widths[: place + 1]}  # its share -> the full's

    def build(share: float) -> nn.Module:
        return recipe.build(widths[share])

    return replace(recipe, build=build, widths=tuple(widths), origin=None)


def _check_names(recipe: Recipe, width: float, full: Layout, narrow: Layout) -> None:
    missing = [name for name in full.names if name not in set(narrow.names)]
    extra = [name for name in narrow.names if name not in set(full.names)]
    if missing or extra:
        name = (missing or extra)[0]
        fault = "missing" if missing else "not at full width"
        raise ValueError(
            f"recipe {recipe.name!r}: tensor {name!r} at width {width} is {fault}: {FIX}"
        )
    if full.names != narrow.names:
        raise ValueError(f"recipe {recipe.name!r}: the order of tensors changes at width {width}")


def _is_leading(shape: tuple[int, ...], full_shape: tuple[int, ...]) -> bool:
    return len(shape) == len(full_shape) and all(
        0 < size <= full for size, full in zip(shape, full_shape, strict=True)
    )
