"""Muon against a singular value decomposition, a step by hand, and torch's AdamW for vectors."""

from __future__ import annotations

import pytest
import torch
from torch.func import vmap

from kumiai.learning.local_rules.muon import muon, orthogonalise, orthogonalise_tensor


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5), (5, 1)])
def test_the_step_has_the_gradients_directions_all_about_equally_long(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalise(matrix)
    lengths = torch.diagonal(u.T @ found @ vh.T)
    assert lengths.min() > 0.6
    assert lengths.max() < 1.3
    torch.testing.assert_close((u * lengths) @ vh, found, rtol=1e-3, atol=1e-3)
    assert s.max() / s.min() >= 1.0
    torch.testing.assert_close(orthogonalise(matrix * 1e3), found, rtol=1e-3, atol=1e-3)


def test_zero_stays_zero_and_members_do_not_mix() -> None:
    assert orthogonalise(torch.zeros(3, 4)).abs().max() == 0.0
    stacked = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(0))
    found = vmap(orthogonalise_tensor)(stacked)
    for one, gradient in zip(found, stacked, strict=True):
        torch.testing.assert_close(one, orthogonalise_tensor(gradient))
    assert orthogonalise_tensor(stacked[0]).shape == (4, 2, 5)


def test_two_iterations_by_hand() -> None:
    generator = torch.Generator().manual_seed(4)
    w, g = torch.randn(6, 3, generator=generator), torch.randn(2, 6, 3, generator=generator)
    b, h = torch.randn(5, generator=generator), torch.randn(2, 5, generator=generator)
    rule, params = muon(0.1, 0.9, 0.2), {"b": b, "w": w}
    slots = rule.init(params)
    for k in range(2):
        params, slots = rule.apply({"b": h[k], "w": g[k]}, slots, params, params)
    assert list(params) == ["b", "w"]
    scale = 2.0**0.5  # of 6 rows and 3 columns
    once = w * 0.98 - 0.1 * scale * orthogonalise(g[0] + 0.9 * g[0])
    velocity = 0.9 * g[0] + g[1]
    twice = once * 0.98 - 0.1 * scale * orthogonalise(g[1] + 0.9 * velocity)
    torch.testing.assert_close(params["w"], twice)
    leaf = b.clone().requires_grad_()
    adam = torch.optim.AdamW([leaf], lr=0.01, weight_decay=0.2)
    for k in range(2):
        leaf.grad = h[k].clone()
        adam.step()
    torch.testing.assert_close(params["b"], leaf.detach())


def test_networks_of_matrices_alone_and_of_vectors_alone() -> None:
    rule = muon(0.1, 0.0, 0.0)
    for name, w in (("w", torch.ones(2, 3)), ("b", torch.ones(3))):
        params = {name: w}
        moved, slots = rule.apply({name: w}, rule.init(params), params, params)
        assert (moved[name] < w).all()
        assert rule.apply({name: w}, slots, moved, params)[0][name].shape == w.shape
