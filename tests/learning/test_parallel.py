"""How a recipe says in how many processes a member trains it, and who takes which samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kumiai.learning.parallel import Parallel, choose_parallel, compute_share, divide_options
from kumiai.learning.recipe import build_recipe, describe_network, wrap_recipe


@given(st.integers(1, 500), st.integers(2, 64))
def test_shares_are_the_batch_in_order_and_differ_by_one_at_most(size: int, count: int) -> None:
    shares = [compute_share(size, place, count) for place in range(count)]
    assert [row for first, end in shares for row in range(first, end)] == list(range(size))
    sizes = [end - first for first, end in shares]
    assert max(sizes) - min(sizes) <= 1


def test_a_place_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="place 2 is none of 2"):
        compute_share(8, 2, 2)


@given(st.integers(1, 40), st.integers(2, 7), st.integers(0, 99))
def test_weighted_shares_give_the_whole_batchs_gradient(size: int, count: int, seed: int) -> None:
    """The formula of the module's docstring, on a least squares loss in float64."""
    generator = torch.Generator().manual_seed(seed)
    x_BD = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    w_D = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)

    def compute_gradient(rows: slice) -> torch.Tensor:
        (gradient,) = torch.autograd.grad((x_BD[rows] @ w_D).square().mean(), w_D)
        return gradient

    total = torch.zeros(3, dtype=torch.float64)
    for place in range(count):
        first, end = compute_share(size, place, count)
        if first < end:
            total += (end - first) / size * compute_gradient(slice(first, end))
    torch.testing.assert_close(total, compute_gradient(slice(None)))


def test_what_a_recipe_declares() -> None:
    assert choose_parallel("r", None, None) is None
    assert choose_parallel("r", "none", None) is None
    assert choose_parallel("r", "ddp", None) == Parallel("ddp", 2)
    assert choose_parallel("r", "fsdp", 4) == Parallel("fsdp", 4)


@pytest.mark.parametrize(
    ("mode", "count", "message"),
    [
        ("zero", None, r"recipe 'r': parallel = 'zero' is not one of none, ddp, fsdp"),
        (7, None, r"parallel = 7 is not one of"),
        ("ddp", 1, r"parallel_processes = 1 is not an integer of 2 to 64"),
        ("ddp", 65, r"parallel_processes = 65"),
        ("ddp", True, r"parallel_processes = True"),
        ("ddp", "2", r"parallel_processes = '2'"),
        (None, 2, r"parallel_processes = 2 needs parallel = 'ddp' or 'fsdp'"),
        ("none", 2, r"parallel_processes = 2 needs parallel"),
    ],
)
def test_what_cannot_be_declared(mode: object, count: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_parallel("r", mode, count)


def test_built_in_recipes_take_it_as_options() -> None:
    options = {"hidden": 16, "parallel": "fsdp", "parallel_processes": 3}
    assert divide_options("mlp", options) == (Parallel("fsdp", 3), {"hidden": 16})
    recipe = build_recipe("mlp", options, [1_000_000], (8,), 4)
    assert recipe.parallel == Parallel("fsdp", 3)
    assert recipe.origin is not None
    network, arguments = describe_network(recipe.origin, 1.0)  # an exported model knows no such
    plain = build_recipe("mlp", {"hidden": 16}, [1_000_000], (8,), 4)
    assert plain.origin is not None
    assert (network, arguments) == describe_network(plain.origin, 1.0)
    assert plain.parallel is None
    with pytest.raises(ValueError, match="parallel = 'both'"):
        build_recipe("mlp", {"parallel": "both"}, [1_000_000], (8,), 4)


def test_a_function_may_declare_it_too() -> None:
    build = lambda width: torch.nn.Linear(2, 2)  # noqa: E731
    assert wrap_recipe("r", build, [1_000_000], parallel=Parallel("ddp", 2)).parallel is not None
