"""A recipe says which network a task trains, at every width, and how its outputs are judged.

A recipe is slimmable when the network of width p is the leading block of every tensor of the full
one (see `slim`). User recipes are a callable `build(width) -> nn.Module`; the built-in ones are
reached by name. Building is seeded by an argument and leaves the global random state alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kumiai.base.amounts import PPM
from kumiai.learning.parallel import Parallel, divide_options
from kumiai.learning.recipes import cnn, mlp, resnet18, transformer

OptionValue = int | str | bool
Build = Callable[[float], nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]

Net = mlp.MlpBuilder | cnn.CnnBuilder | resnet18.ResNet18Builder | transformer.TransformerBuilder

_NETWORKS: Mapping[str, tuple[type[nn.Module], Callable[..., Net]]] = {
    "mlp": (mlp.Mlp, mlp.read_options),
    "cnn": (cnn.Cnn, cnn.read_options),
    "resnet18": (resnet18.ResNet18, resnet18.read_options),
    "transformer": (transformer.Transformer, transformer.read_options),
}
RECIPES_BUILT_IN = tuple(_NETWORKS)


@dataclass(frozen=True)
class RecipeOrigin:
    """Where a recipe comes from, in plain data: enough to make it again in another process.

    name: a built-in's name or the user's "FILE.py:function". options: sorted by name. input_shape
    and class_count: of a built-in recipe. folder and file_sha256: of a user's, else empty.
    """

    name: str
    options: tuple[tuple[str, OptionValue], ...]
    widths_ppm: tuple[int, ...]
    input_shape: tuple[int, ...] = ()
    class_count: int = 0
    folder: str = ""
    file_sha256: str = ""


@dataclass(frozen=True)
class Recipe:
    """A network at every width, with its loss and its measure of success.

    build(width): that width's module, 0 < width <= 1, drawn from torch's global generator.
    compute_loss(outputs, targets): scalar, the batch's mean (in nats where it is a likelihood).
    compute_correct(outputs, targets): float per sample, 1 for right and 0 for wrong (for sequences:
    the share of right tokens).
    widths: ascending, the last is 1.0.
    origin: how to make it again, None for functions that only this process knows. parallel: in how
    many processes a member trains it, None for one.
    """

    name: str
    build: Build
    compute_loss: Loss
    compute_correct: Loss
    widths: tuple[float, ...]
    origin: RecipeOrigin | None = field(default=None, compare=False)
    parallel: Parallel | None = None


def build_recipe(
    name: str,
    options: Mapping[str, OptionValue],
    widths_ppm: Sequence[int],
    input_shape: Sequence[int],
    class_count: int,
) -> Recipe:
    """Return the built-in recipe `name` for samples of `input_shape` and `class_count` classes.

    Every recipe has the options `parallel` and `parallel_processes` (see `learning.parallel`)
    beside its own. Raises ValueError for an unknown name, unknown or ill-typed options, or shapes
    that do not fit.
    """
    if name not in RECIPES_BUILT_IN:
        raise ValueError(f"recipe {name!r} is unknown: use one of {', '.join(RECIPES_BUILT_IN)}")
    if class_count < 1:
        raise ValueError(f"class_count {class_count} is less than 1")
    shape = tuple(int(size) for size in input_shape)
    widths = convert_widths(widths_ppm)
    given = tuple(sorted(options.items()))
    origin = RecipeOrigin(name, given, tuple(widths_ppm), shape, class_count)
    parallel, own = divide_options(name, options)
    net = _NETWORKS[name][1](own, shape, class_count)
    judges: tuple[Loss, Loss] = (compute_class_loss, compute_class_correct)
    if name == "transformer":
        judges = (compute_token_loss, compute_token_correct)
    return Recipe(name, net.build, *judges, widths, origin, parallel)


def describe_network(origin: RecipeOrigin, width: float) -> tuple[type[nn.Module], tuple[Any, ...]]:
    """Return the class of a built-in recipe's network and what it is made with at `width`.

    class(*arguments) is `build(width)`: enough to write the network down without this package.
    Raises ValueError for a recipe that is not built in.
    """
    if origin.name not in _NETWORKS:
        raise ValueError(f"recipe {origin.name!r} is not built in: its file says what it is")
    network, read_options = _NETWORKS[origin.name]
    _, options = divide_options(origin.name, dict(origin.options))
    net = read_options(options, origin.input_shape, origin.class_count)
    return network, net.list_arguments(width)


def wrap_recipe(
    name: str,
    build: Build,
    widths_ppm: Sequence[int],
    loss: Loss | None = None,
    correct: Loss | None = None,
    parallel: Parallel | None = None,
) -> Recipe:
    """Return a user's recipe; without `loss` and `correct` its targets are class numbers."""
    if not callable(build):
        raise ValueError(f"recipe {name!r}: build is {type(build).__name__}, not a function")
    return Recipe(
        name=name,
        build=build,
        compute_loss=loss or compute_class_loss,
        compute_correct=correct or compute_class_correct,
        widths=convert_widths(widths_ppm),
        parallel=parallel,
    )


def build_seeded(recipe: Recipe, width: float, seed: int) -> nn.Module:
    """Build the module of `width` from `seed` (0 <= seed < 2**63) on the CPU.

    Same seed, same bytes; the caller's random state is untouched. Raises ValueError when the
    recipe's `build` raises or returns something that is not a module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            module = recipe.build(width)
        except Exception as error:
            # The recipe is the user's code: whatever it raises is one fault with one address.
            raise ValueError(
                f"recipe {recipe.name!r}: build({width}) raised {type(error).__name__}: {error}"
            ) from error
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"recipe {recipe.name!r}: build({width}) returned {type(module).__name__}, "
            "not a torch.nn.Module"
        )
    return module


def convert_widths(widths_ppm: Sequence[int]) -> tuple[float, ...]:
    """Return widths as fractions; raises ValueError unless ascending, above 0 and ending at 1."""
    widths = list(widths_ppm)
    if not widths or widths[-1] != PPM:
        raise ValueError(f"widths_ppm {widths} must end with {PPM} (the full width)")
    if widths[0] <= 0 or any(a >= b for a, b in pairwise(widths)):
        raise ValueError(f"widths_ppm {widths} must be positive and strictly ascending")
    return tuple(width / PPM for width in widths)


def compute_class_loss(outputs_BC: Tensor, targets_B: Tensor) -> Tensor:
    """Return the mean cross entropy in nats of B samples over C classes."""
    return functional.cross_entropy(outputs_BC, targets_B)


def compute_class_correct(outputs_BC: Tensor, targets_B: Tensor) -> Tensor:
    """Return 1.0 where the largest output is the target's class, else 0.0."""
    return (outputs_BC.argmax(dim=-1) == targets_B).float()


def compute_token_loss(outputs_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the mean cross entropy in nats of the next token (targets already shifted by one)."""
    return functional.cross_entropy(outputs_BTV.flatten(0, -2), targets_BT.flatten())


def compute_token_correct(outputs_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Return each sequence's share of tokens whose largest output is the target."""
    return (outputs_BTV.argmax(dim=-1) == targets_BT).float().mean(dim=-1)
