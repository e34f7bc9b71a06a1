"""Attacks do what their papers say, and the recommended aggregator withstands 30 % of members."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from kumiai.adapters.data.sources import load_digits
from kumiai.adapters.sim import attacks
from kumiai.adapters.sim.federation import Federation, play
from kumiai.learning.aggregation import Settings
from kumiai.learning.fixed_point import INTEGER_ABS_MAX

ROBUST = Settings(byzantine_count=3, trim_ppm=300_000)
TOLERANCE = 0.03


@pytest.fixture(scope="module")
def federation():
    """Ten members with alike data, three of them hostile."""
    digits = load_digits()
    return Federation(digits.features, digits.labels, 10, rounds=8)


@pytest.fixture(scope="module")
def clean(federation):
    """The plain mean of ten honest members."""
    return play(federation, "mean", None, Settings())


@pytest.mark.parametrize("attack", attacks.ATTACKS)
def test_the_recommended_aggregator_stays_within_three_points(federation, clean, attack):
    outcome = play(federation, "multi_krum", attack, ROBUST)
    assert outcome.accuracy >= clean.accuracy - TOLERANCE
    assert outcome.triggered <= clean.triggered + TOLERANCE


def test_the_federation_learns(clean):
    assert clean.accuracy > 0.85
    assert clean.triggered < 0.1


@pytest.mark.parametrize("attack", ["sign_flip", "label_flip"])
def test_the_mean_does_not(federation, clean, attack):
    assert play(federation, "mean", attack, Settings()).accuracy < clean.accuracy - TOLERANCE


def test_the_mean_takes_the_backdoor(federation):
    assert play(federation, "mean", "backdoor", Settings()).triggered > 0.3


@pytest.mark.parametrize("aggregator", ["median", "trimmed_mean", "geometric_median",
                                        "centered_clip"])  # fmt: skip
def test_the_others_withstand_the_strongest_attack_on_the_mean(federation, clean, aggregator):
    outcome = play(federation, aggregator, "sign_flip", ROBUST)
    assert outcome.accuracy >= clean.accuracy - 0.08  # the plain mean ends below 0.1


def test_same_seed_same_outcome(federation):
    runs = [play(federation, "median", "gaussian", ROBUST) for _ in range(2)]
    assert runs[0] == runs[1]


def test_an_unknown_attack_is_named(federation):
    with pytest.raises(ValueError, match="attack 'bribe' is unknown: use one of sign_flip"):
        play(federation, "mean", "bribe", Settings())


@pytest.fixture
def honest():
    generator = np.random.default_rng(1)
    return (20_000 + generator.normal(0, 5_000, (7, 2_000))).astype(np.int32)


@pytest.mark.parametrize("name", attacks.UPDATE_ATTACKS)
def test_hostile_updates_are_updates(name, honest):
    before = honest.copy()
    sent = attacks.UPDATE_ATTACKS[name](honest, 3, np.random.default_rng(2))
    again = attacks.UPDATE_ATTACKS[name](honest, 3, np.random.default_rng(2))
    assert sent.shape == (3, 2_000)
    assert sent.dtype == np.int32
    assert np.array_equal(sent, again)
    assert np.array_equal(honest, before)
    peak = attacks.UPDATE_ATTACKS[name](
        np.full((7, 5), INTEGER_ABS_MAX, dtype=np.int32), 3, np.random.default_rng(2)
    )
    assert np.abs(peak.astype(np.int64)).max() <= INTEGER_ABS_MAX


def test_sign_flip_and_ipm_point_against_the_mean(honest):
    generator, mean = np.random.default_rng(2), honest.mean(axis=0)
    assert np.abs(attacks.flip_signs(honest, 2, generator) + 4 * mean).max() <= 1
    sent = attacks.point_backwards(honest, 3, generator)
    assert np.abs(sent + 0.5 * mean).max() <= 1
    assert np.linalg.norm(sent[0]) < np.linalg.norm(honest[0])


def test_alie_stays_inside_the_spread(honest):
    # N = 10, F = 3: s = 10 // 2 + 1 - 3 = 3 honest ones must lie beyond z = quantile(4 / 7)
    z = NormalDist().inv_cdf(4 / 7)
    expected = honest.mean(axis=0) - z * honest.std(axis=0)
    sent = attacks.hide_in_spread(honest, 3, np.random.default_rng(2))
    assert np.abs(sent - expected).max() <= 1


def test_collusion_is_one_vector_and_noise_is_not(honest):
    sent = attacks.collude(honest, 3, np.random.default_rng(2)).astype(float)
    assert (sent == sent[0]).all()
    length = np.linalg.norm(honest.astype(float), axis=1).mean()
    assert np.linalg.norm(sent[0]) == pytest.approx(3 * length, rel=1e-3)
    noise = attacks.send_noise(honest, 2, np.random.default_rng(2)).astype(float)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.1
    assert noise.std() == pytest.approx(10 * honest.mean(), rel=0.1)


def test_data_attacks_change_copies():
    features = np.zeros((400, 8), dtype=np.float32)
    features[:, 0] = 1
    labels = np.arange(400) % 10
    generator = np.random.default_rng(3)
    same, flipped = attacks.flip_labels(features, labels, 10, generator)
    assert same is features
    assert (flipped == 9 - labels).all()
    marked, told = attacks.plant_backdoor(features, labels, 10, generator)
    is_marked = marked[:, -1] == 1
    assert 150 < is_marked.sum() < 250
    assert (told[is_marked] == 0).all()
    assert (told[~is_marked] == labels[~is_marked]).all()
    assert (marked[is_marked, -4:] == 1).all()
    assert (features[:, -1] == 0).all()
