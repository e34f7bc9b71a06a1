"""DP-SGD: clipping per sample, the noise that was promised, secret batches; Abadi et al., 2016."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kumiai.learning.client import TrainSettings, build_local_work
from kumiai.learning.privacy import sgd
from kumiai.learning.privacy.sgd import (
    PrivacySettings,
    check_private,
    compute_clipped_sum,
    step_private,
)
from kumiai.learning.privacy.stream import SecretStream, derive_stream_key
from kumiai.learning.recipe import (
    Recipe,
    build_recipe,
    compute_class_correct,
    compute_class_loss,
)

KEY = bytes(range(32))


def make_work(name="mlp", **training):
    options = {"mlp": {"hidden": 8}, "cnn": {"channels": 4}}.get(name, {})
    shape = (12,) if name == "mlp" else (1, 8, 8)
    recipe = build_recipe(name, options, (500_000, 1_000_000), shape, 3)
    return build_local_work(recipe, TrainSettings(**training)), shape


def make_carry(work, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = zip(work.layout.names, work.layout.shapes, strict=True)
    return work.init({n: 0.3 * torch.randn(*s, generator=generator) for n, s in shapes})


def make_samples(shape, count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *shape, generator=generator)
    return x, torch.randint(0, 3, (count,), generator=generator)


def clip_one_by_one(work, carry, inputs, targets, clip_norm):
    """The dumb twin: one backward pass a sample."""
    sums = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in carry.params.items()}
    for x, y in zip(inputs, targets, strict=True):
        leaves = {n: w.clone().requires_grad_() for n, w in carry.params.items()}
        loss, _ = work.compute_loss(leaves, carry.rest, x[None], y[None], None)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        norm = float(torch.cat([g.flatten() for g in grads]).double().norm())
        for name, g in zip(leaves, grads, strict=True):
            sums[name] += g.double() * min(1.0, clip_norm / norm)
    return sums


def norm_of(tensors):
    return float(torch.cat([t.flatten().double() for t in tensors.values()]).norm())


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("slim", [(), (0.5,)])
@pytest.mark.parametrize("clip_norm", [0.05, 1.0, 1e6])
def test_clipped_sum_is_that_of_single_samples(name, slim, clip_norm):
    work, shape = make_work(name, slim_widths=slim)
    carry, (x, y) = make_carry(work), make_samples(shape, 7)
    fast = compute_clipped_sum(work, carry, x, y, clip_norm)
    slow = clip_one_by_one(work, carry, x, y, clip_norm)
    for key, value in slow.items():
        torch.testing.assert_close(fast[key], value, rtol=1e-4, atol=1e-5)


@given(scale=st.floats(1e-3, 1e4), clip=st.floats(1e-3, 10), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_no_sample_moves_the_sum_by_more_than_the_norm(scale, clip, seed):
    work, shape = make_work()
    carry, (x, y) = make_carry(work), make_samples(shape, 5, seed)
    x[-1] *= scale
    with_it = compute_clipped_sum(work, carry, x, y, clip)
    without = compute_clipped_sum(work, carry, x[:-1], y[:-1], clip)
    assert norm_of({n: with_it[n] - without[n] for n in with_it}) <= clip


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_sample_without_a_finite_gradient_counts_as_zero(poison):
    work, shape = make_work()
    carry, (x, y) = make_carry(work), make_samples(shape, 4)
    x[2] = poison
    found = compute_clipped_sum(work, carry, x, y, 1.0)
    rest = compute_clipped_sum(work, carry, x[[0, 1, 3]], y[[0, 1, 3]], 1.0)
    for name in rest:
        torch.testing.assert_close(found[name], rest[name])


def test_chunks_do_not_change_the_sum(monkeypatch):
    work, shape = make_work()
    carry, (x, y) = make_carry(work), make_samples(shape, 9)
    whole = compute_clipped_sum(work, carry, x, y, 0.5)
    monkeypatch.setattr(sgd, "CHUNK_MAX", 2)
    pieces = compute_clipped_sum(work, carry, x, y, 0.5)
    for name in whole:
        torch.testing.assert_close(whole[name], pieces[name])


def test_the_noise_has_the_deviation_that_is_accounted_for():
    """An empty batch leaves the noise alone: z C / (q N) times the learning rate, normal."""
    work, shape = make_work(learning_rate=1.0)
    carry = make_carry(work)
    empty = make_samples(shape, 0)
    private = PrivacySettings(noise_multiplier=1.5, clip_norm=2.0, delta=1e-5)
    stream = SecretStream(KEY)
    moves = []
    for _ in range(80):
        after = step_private(work, carry, carry.params, empty, 10, stream, private)
        moves += [(after.params[n] - w).flatten() for n, w in carry.params.items()]
    noise = torch.cat(moves).double() / (1.5 * 2.0 / 10)
    assert len(noise) > 10_000
    assert abs(float(noise.mean())) < 5 / len(noise) ** 0.5
    assert float(noise.std()) == pytest.approx(1.0, abs=5 / (2 * len(noise)) ** 0.5)
    assert float((noise.abs() > 1.96).double().mean()) == pytest.approx(0.05, abs=0.01)


def test_same_key_same_step_and_another_key_another():
    work, shape = make_work()
    carry, batch = make_carry(work), make_samples(shape, 4)
    private = PrivacySettings(1.0, 1.0, 1e-5)

    def run(key):
        after = step_private(work, carry, carry.params, batch, 4, SecretStream(key), private)
        return torch.cat([w.flatten() for w in after.params.values()])

    assert torch.equal(run(KEY), run(KEY))
    assert not torch.equal(run(KEY), run(KEY[::-1]))


@given(
    count=st.integers(1, 2000),
    expected=st.integers(1, 2500),
    key=st.binary(min_size=32, max_size=32),
)
@settings(max_examples=40, deadline=None)
def test_a_poisson_sample_takes_each_row_with_the_same_probability(count, expected, key):
    rows = SecretStream(key).draw_subset(count, expected)
    assert np.all(np.diff(rows) > 0) and (len(rows) == 0 or (rows[0] >= 0 and rows[-1] < count))
    if expected >= count:
        assert len(rows) == count
    else:
        deviation = (expected * (1 - expected / count)) ** 0.5
        assert abs(len(rows) - expected) <= 7 * deviation + 3


def test_normal_numbers_are_normal():
    z = SecretStream(KEY).draw_normal(200_001)
    assert len(z) == 200_001
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 5 * (spread / len(z)) ** 0.5
    # one Box-Muller pair lies len/2 apart: it must not be correlated
    half = len(z) // 2
    assert abs(np.mean(z[:half] * z[half + 1 :])) < 5 / half**0.5


def test_a_stream_is_chacha20_and_its_keys_depend_on_every_part():
    # RFC 8439, appendix A.1, test vector 1: key and nonce zero
    words = SecretStream(bytes(32)).draw_words(2)
    assert words.astype("<u8").tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"
    keys = {derive_stream_key(KEY, *parts) for parts in (("a", 1), ("a", 2), ("a1",), ("a", "1"))}
    assert len(keys) == 4
    with pytest.raises(ValueError, match="32 bytes, not 3"):
        derive_stream_key(b"abc", 1)
    with pytest.raises(ValueError, match="32 bytes, not 3"):
        SecretStream(b"abc")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((0.0, 1.0, 1e-5), "noise_multiplier 0.0"),
        ((1.0, 0.0, 1e-5), "clip_norm 0.0"),
        ((1.0, float("nan"), 1e-5), "clip_norm nan"),
        ((1.0, 1.0, 0.0), "delta 0.0"),
        ((1.0, 1.0, 1.0), "delta 1.0"),
    ],
)
def test_settings_that_protect_nobody_are_refused(values, named):
    with pytest.raises(ValueError, match=named):
        PrivacySettings(*values)


def test_batch_normalisation_is_refused_by_its_layer():
    def build(width):
        return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    recipe = Recipe("mine", build, compute_class_loss, compute_class_correct, (1.0,))
    with pytest.raises(ValueError, match="layer '1' is BatchNorm1d"):
        check_private(build_local_work(recipe, TrainSettings()))
    check_private(make_work()[0])
