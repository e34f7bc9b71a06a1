"""The first layer computed once for all widths: the results of computing it for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from kumiai.learning import client
from kumiai.learning.client import Carry, LocalWork, TrainSettings, build_local_work, expand
from kumiai.learning.layout import flatten, unflatten
from kumiai.learning.recipe import Recipe, build_recipe, build_seeded, wrap_recipe

WIDTHS_PPM = (250_000, 500_000, 750_000, 1_000_000)
MEMBERS, BATCH_SIZE, CLASSES, FEATURES = 3, 5, 4, 6


class Off:
    """Stands for `SharedFirstLayer` and shares nothing."""

    def __init__(self, inputs: Tensor, state: Mapping[str, Tensor]) -> None:
        pass

    def register(self, blocks: Mapping[str, Tensor]) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class Count(TorchDispatchMode):
    """Counts the products of two matrices and the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        self.calls[str(func.overloadpacket)] += 1
        return func(*args, **(kwargs or {}))

    @property
    def products(self) -> int:
        names = ("aten.mm", "aten.addmm", "aten.bmm", "aten.convolution")
        return sum(self.calls[name] for name in names)


class Net(nn.Module):
    """Two layers, and what is done to the samples and to the first layer's outputs between."""

    def __init__(
        self, width: float, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        hidden = round(8 * width)
        self.first, self.last = nn.Linear(FEATURES, hidden), nn.Linear(hidden, CLASSES)
        self.before, self.after = before, after

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.after(self.first(self.before(inputs))))
        return outputs


def keep(tensor: Tensor) -> Tensor:
    return tensor


def mix(tensor: Tensor) -> Tensor:
    """A rearrangement that cannot be a view."""
    return tensor.view(len(tensor), 2, FEATURES // 2).transpose(1, 2).flatten(1)


BEFORE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "as they are": keep,
    "flat": lambda x: x.flatten(1),
    "turned twice": lambda x: x.unsqueeze(1).squeeze(1).view(len(x), -1),
    "mixed": mix,
    "scaled": lambda x: x * 2 - 1,
    "a copy scaled in place": lambda x: mix(x).mul_(0.5),
    "a copy rectified in place": lambda x: functional.relu(mix(x), inplace=True),
}
AFTER: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu in place": torch.relu_,
    "sum in place": lambda h: h.add_(1.0),
    "view in place": lambda h: h.view_as(h).mul_(3.0),
}


def make_net(before: str, after: str) -> Recipe:
    return wrap_recipe("net", lambda width: Net(width, BEFORE[before], AFTER[after]), WIDTHS_PPM)


def make_built_in(name: str) -> tuple[Recipe, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = {"mlp": (8, 8), "cnn": (1, 12, 12), "resnet18": (3, 16, 16), "transformer": (12,)}[name]
    options: dict[str, int | str | bool] = {}
    classes = 7
    if name == "resnet18":
        options = {"base": 8, "group_size": 2}
    recipe = build_recipe(name, options, WIDTHS_PPM, shape, classes)
    sizes = (MEMBERS, BATCH_SIZE, *shape)
    if name == "transformer":
        inputs = torch.randint(0, classes, sizes, generator=generator)
        return recipe, inputs, torch.randint(0, classes, sizes, generator=generator)
    inputs = torch.randn(sizes, generator=generator)
    return recipe, inputs, torch.randint(0, classes, sizes[:2], generator=generator)


def run(recipe: Recipe, inputs: Tensor, targets: Tensor, *, is_stacked: bool) -> tuple[Any, int]:
    """One iteration; what it gives, and how many products it took."""
    settings = TrainSettings(learning_rate=0.1, batch_size=BATCH_SIZE, slim_widths=recipe.widths)
    work: LocalWork = build_local_work(recipe, settings)
    start_P = flatten(work.layout, build_seeded(recipe, 1.0, seed=2).state_dict())
    carry: Carry = work.init(unflatten(work.layout, start_P))
    with Count() as count:
        if is_stacked:
            stacked = expand(carry, MEMBERS)
            moved, loss = work.step_stacked(stacked, carry.params, inputs, targets, None)
        else:
            moved, loss = work.step(carry, carry.params, inputs[0], targets[0], None)
    return (moved.params, moved.rest, loss), count.products


def run_both(
    monkeypatch: pytest.MonkeyPatch, recipe: Recipe, inputs: Tensor, targets: Tensor, stacked: bool
) -> tuple[int, int]:
    """Compare with the plain way; return the products of both."""
    found, few = run(recipe, inputs.clone(), targets, is_stacked=stacked)
    with monkeypatch.context() as patched:
        patched.setattr(client, "SharedFirstLayer", Off)
        wanted, many = run(recipe, inputs.clone(), targets, is_stacked=stacked)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    return few, many


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet18", "transformer"])
def test_every_recipe_learns_the_same(
    monkeypatch: pytest.MonkeyPatch, name: str, stacked: bool
) -> None:
    recipe, inputs, targets = make_built_in(name)
    few, many = run_both(monkeypatch, recipe, inputs, targets, stacked)
    # a transformer's first layer looks its rows up
    assert few == many if name == "transformer" else few < many


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("before", BEFORE)
def test_whatever_a_network_does_around_its_first_layer(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str, stacked: bool
) -> None:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(MEMBERS, BATCH_SIZE, FEATURES, generator=generator)
    targets = torch.randint(0, CLASSES, (MEMBERS, BATCH_SIZE), generator=generator)

    few, many = run_both(monkeypatch, make_net(before, after), inputs, targets, stacked)

    # of three narrow first layers neither the product nor its gradient is computed
    assert many - few == (6 if before in ("as they are", "flat", "turned twice", "mixed") else 0)


def test_groups_are_computed_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    class Grouped(nn.Module):
        def __init__(self, width: float) -> None:
            super().__init__()
            self.first = nn.Conv1d(2, round(8 * width), 3, groups=2)
            self.last = nn.Linear(round(8 * width), CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.last(self.first(inputs).mean(-1))
            return outputs

    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(MEMBERS, BATCH_SIZE, 2, FEATURES, generator=generator)
    targets = torch.randint(0, CLASSES, (MEMBERS, BATCH_SIZE), generator=generator)
    recipe = wrap_recipe("grouped", Grouped, WIDTHS_PPM)
    few, many = run_both(monkeypatch, recipe, inputs, targets, False)
    assert few == many


def test_a_layer_with_fewer_inputs_is_computed_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(nn.Module):
        def __init__(self, width: float) -> None:
            super().__init__()
            self.taken = round(4 * width)
            self.first = nn.Linear(self.taken, CLASSES)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.first(inputs[:, : self.taken])
            return outputs

    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(MEMBERS, BATCH_SIZE, FEATURES, generator=generator)
    targets = torch.randint(0, CLASSES, (MEMBERS, BATCH_SIZE), generator=generator)
    few, many = run_both(monkeypatch, wrap_recipe("cut", Cut, WIDTHS_PPM), inputs, targets, False)
    assert few == many


def test_one_width_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> nullcontext[None]:
        raise AssertionError("nothing is shared by one width")

    monkeypatch.setattr(client, "SharedFirstLayer", refuse)
    recipe, inputs, targets = make_built_in("mlp")
    settings = TrainSettings(learning_rate=0.1, batch_size=BATCH_SIZE)
    work = build_local_work(recipe, settings)
    start_P = flatten(work.layout, build_seeded(recipe, 1.0, seed=2).state_dict())
    carry = work.init(unflatten(work.layout, start_P))
    work.step(carry, carry.params, inputs[0], targets[0], None)
