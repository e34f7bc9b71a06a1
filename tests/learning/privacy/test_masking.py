"""Secure aggregation (Bonawitz et al., 2017): exact sums, uniform masks, lies found out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.learning.privacy.masking import (
    MaskCard,
    derive_mask_secrets,
    make_card,
    mask_update,
    unmask_sum,
)
from kumiai.learning.privacy.sharing import SHARE_BYTES, deal, join
from kumiai.learning.privacy.stream import SecretStream, derive_stream_key

ROOT = bytes(range(32))
TASK = "ab" * 32


def enrol(count, round_index=1):
    names = [f"m{i}" for i in range(count)]
    secrets = {
        name: derive_mask_secrets(derive_stream_key(ROOT, name), TASK, round_index, 1)
        for name in names
    }
    return names, secrets, {name: make_card(each) for name, each in secrets.items()}


def draw_updates(names, size, seed):
    rng = np.random.default_rng(seed)
    most = 2**31 - 1
    return {n: rng.integers(-most, most, size, endpoint=True, dtype=np.int32) for n in names}


@given(data=st.data(), count=st.integers(2, 6), size=st.integers(1, 9), seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_the_sum_of_masked_updates_is_that_of_any_survivors(data, count, size, seed):
    """The whole protocol: deal, mask, drop out, recover from any threshold of shares, unmask."""
    names, secrets, cards = enrol(count)
    updates = draw_updates(names, size, seed)
    threshold = data.draw(st.integers(count // 2 + 1, count))
    dealt = {
        n: (
            deal(
                secrets[n].own_seed, names, threshold, SecretStream(derive_stream_key(ROOT, n, 1))
            ),
            deal(
                secrets[n].agreement, names, threshold, SecretStream(derive_stream_key(ROOT, n, 2))
            ),
        )
        for n in names
    }
    survivors = data.draw(
        st.lists(st.sampled_from(names), min_size=threshold, max_size=count, unique=True)
    )
    masked = {n: mask_update(updates[n], n, secrets[n], cards) for n in survivors}

    def recover(dealing):
        helpers = data.draw(st.permutations(survivors))[:threshold]
        shares = {h: dealing.shares[h] for h in helpers}
        return join(shares, names, threshold, dealing.hashes)

    own_seeds = {n: recover(dealt[n][0]) for n in survivors}
    agreements = {n: recover(dealt[n][1]) for n in names if n not in survivors}
    found = unmask_sum(masked, cards, own_seeds, agreements)
    expected = sum(updates[n].astype(np.int64) for n in survivors)
    np.testing.assert_array_equal(found, expected)


def test_a_masked_update_is_uniform_whatever_the_update():
    _names, secrets, cards = enrol(3)
    for update in (np.zeros(8192, np.int32), np.full(8192, -(2**31) + 1, np.int32)):
        masked = mask_update(update, "m1", secrets["m1"], cards)
        counts = np.bincount(masked.view(np.uint8), minlength=256)
        expected = masked.nbytes / 256
        chi_square = ((counts - expected) ** 2 / expected).sum()
        assert 160 < chi_square < 370  # 255 degrees of freedom, seven standard deviations or so
        correlation = np.corrcoef(masked[:-1].astype(float), masked[1:].astype(float))[0, 1]
        assert abs(correlation) < 0.06


@pytest.mark.parametrize("kept", ["own", "pairs"])
def test_each_of_the_two_masks_hides_alone(kept):
    """Whoever opens one kind of secret of a member still sees a uniform vector."""
    _names, secrets, cards = enrol(3)
    update = np.zeros(4096, np.int32)
    masked = mask_update(update, "m0", secrets["m0"], cards)
    own = SecretStream(secrets["m0"].own_seed).draw_words(4096)
    left = own if kept == "own" else masked - own
    counts = np.bincount(left.view(np.uint8), minlength=256)
    expected = left.nbytes / 256
    assert ((counts - expected) ** 2 / expected).sum() < 370
    assert not np.array_equal(left, np.zeros_like(left))


def test_rounds_have_masks_of_their_own():
    update = np.zeros(16, np.int32)
    masked = []
    for number in (1, 2):
        _, secrets, cards = enrol(3, number)
        masked.append(mask_update(update, "m0", secrets["m0"], cards))
    assert not np.array_equal(*masked)


@pytest.mark.parametrize(("count", "threshold"), [(2, 2), (5, 3), (7, 4), (6, 6)])
def test_any_threshold_of_shares_gives_the_secret_and_fewer_are_refused(count, threshold):
    names = [f"h{i}" for i in range(count)]
    dealing = deal(ROOT, names, threshold, SecretStream(bytes(32)))
    for chosen in itertools.islice(itertools.combinations(names, threshold), 20):
        shares = {h: dealing.shares[h] for h in chosen}
        assert join(shares, names, threshold, dealing.hashes) == ROOT
        shares.popitem()
        with pytest.raises(ValueError, match=f"{threshold} are needed"):
            join(shares, names, threshold, dealing.hashes)
    # one share fewer fits every secret: through t - 1 points and any f(0) goes one polynomial,
    # so two dealings of different secrets look alike
    other = deal(bytes(32), names, threshold, SecretStream(bytes(32)))
    assert all(len(s) == SHARE_BYTES for s in other.shares.values())
    assert not set(other.shares.values()) & set(dealing.shares.values())


def test_a_tampered_share_names_its_holder():
    names = ["a", "b", "c"]
    dealing = deal(ROOT, names, 2, SecretStream(bytes(32)))
    shares = {"a": dealing.shares["a"], "b": dealing.shares["b"][:-1] + b"\x00"}
    assert shares["b"] != dealing.shares["b"]
    with pytest.raises(ValueError, match="share of b is not the one that was dealt"):
        join(shares, names, 2, dealing.hashes)
    with pytest.raises(ValueError, match="z holds no share"):
        join({**dealing.shares, "z": b""}, names, 2, dealing.hashes)


def test_a_dealer_who_dealt_something_else_is_found_by_its_card():
    names, secrets, cards = enrol(3)
    masked = {
        n: mask_update(np.ones(4, np.int32), n, secrets[n], cards) for n in names if n != "m2"
    }
    seeds = {n: secrets[n].own_seed for n in masked}
    with pytest.raises(ValueError, match="agreement secret of m2 is not the one"):
        unmask_sum(masked, cards, seeds, {"m2": secrets["m1"].agreement})
    with pytest.raises(ValueError, match="own seed of m1 is not the one"):
        unmask_sum(masked, cards, {**seeds, "m1": ROOT}, {"m2": secrets["m2"].agreement})


def test_both_secrets_of_one_member_are_never_used_together():
    names, secrets, cards = enrol(2)
    masked = {n: mask_update(np.ones(4, np.int32), n, secrets[n], cards) for n in names}
    seeds = {n: secrets[n].own_seed for n in names}
    with pytest.raises(ValueError, match=r"agreement secrets: .* not expected of \['m0'\]"):
        unmask_sum(masked, cards, seeds, {"m0": secrets["m0"].agreement})
    with pytest.raises(ValueError, match=r"own seeds: missing of \['m1'\]"):
        unmask_sum(masked, cards, {"m0": seeds["m0"]}, {})


def test_bad_input_is_refused_with_its_numbers():
    names, secrets, cards = enrol(2)
    update = np.ones(4, np.int32)
    with pytest.raises(ValueError, match=r"1 member\(s\): .* at least 2"):
        mask_update(update, "m0", secrets["m0"], {"m0": cards["m0"]})
    with pytest.raises(ValueError, match="card of m0 does not belong"):
        mask_update(update, "m0", secrets["m1"], cards)
    broken = {**cards, "m1": MaskCard("02" + "ff" * 32, cards["m1"].own_seed_hash)}
    with pytest.raises(ValueError, match="card of m1 holds no public key"):
        mask_update(update, "m0", secrets["m0"], broken)
    masked = {n: mask_update(update, n, secrets[n], cards) for n in names}
    seeds = {n: secrets[n].own_seed for n in names}
    with pytest.raises(ValueError, match=r"lengths \[3, 4\]"):
        unmask_sum({**masked, "m1": masked["m1"][:3]}, cards, seeds, {})
    for threshold in (0, 1, 4):
        with pytest.raises(ValueError, match=f"threshold {threshold} of 3 holders: choose 2 to 3"):
            deal(ROOT, ["a", "b", "c"], threshold, SecretStream(bytes(32)))
    with pytest.raises(ValueError, match="at least two are needed"):
        deal(ROOT, ["a"], 1, SecretStream(bytes(32)))
    assert repr(replace(secrets["m0"])) == "MaskSecrets(...)"
