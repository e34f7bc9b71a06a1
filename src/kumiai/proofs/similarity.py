"""Find copies, replays, empty updates and noise among a round's updates, from their bytes alone.

A customer's view: nobody is paid for sending what somebody else computed, what everybody already
has, nothing, or random numbers. Anybody who holds the updates reaches the same verdicts.

For updates u_i (rows of `updates_NP`) and g, the previous global step (`previous_P`)::

    ZERO       |u_i| = 0, or |u_i| < median_j |u_j| / 1000
    DUPLICATE  |cos(u_i, u_j)| >= duplicate_cosine for a j committed earlier (scaled and
               sign-flipped copies are copies), and almost as much without the part that both
               share with everybody (with most, where most agree that far); or |cos| >= 0.99999.
               Names the first of its kind
    REPLAY     |cos(u_i, g)| >= replay_cosine
    NO_WORK    |cos| * sqrt(P) < work_z against *every* reference: each other update, the mean of
               the others' directions, and both again after the part along g is taken out

Why so many references: an update of a strongly skewed shard is often at a right angle to the mean
of the others (seen on the digits data: |z| below 0.5 in a tenth of honest updates), but never to
each of them; near the end of training the part along g hides what honest updates share in skewed
federations, and carries it in even ones. Independent noise has z ~ N(0, 1) against any fixed
reference. Opposite signs are no lack of work: a poisoner works, and is left to the test of value.

The test of work is silent, rather than unjust, where it cannot know: fewer than 5 usable updates;
fewer than 64 * work_z^2 numbers other than 0 in the middle one (a sparse codec leaves honest
members nothing in common); or no majority of updates that pass. It does not catch colluders that
share their noise, nor a mixture of a replay and noise: their value is measured.

Guarantee: the same flags on every machine, from integers only. Each row is scaled by a power of
two so that its greatest entry has 15 bits, which changes a cosine by less than sqrt(P) * 2^-16;
dot products of 15-bit integers are exact in float64 while partial sums stay below 2^53; every
comparison is one of squares in Python integers. Cost O(N^2 P), one BLAS call a block of columns.

The rules are this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kumiai.proofs.flags import DUPLICATE, NO_WORK, REPLAY, ZERO

PPM = 1_000_000
ENTRY_BITS = 15  # a product has 30 bits: 2^22 of them are summed exactly in a float64
BLOCK_COLUMNS = 16_384  # columns a BLAS call; bounded by 2^22, chosen for the cache
ZERO_NORM_RATIO = 1_000  # a norm this many times below the median counts as nothing
EXACT_COPY_PPM = 999_990  # above this no common direction explains the likeness
RESIDUAL_TOLERANCE = 4  # a copy's noise weighs more once the common part is gone
WORK_UPDATES_MIN = 5  # with fewer, honest updates were seen that resemble no other
WORK_COSINE_INVERSE = 8  # the test of work needs work_z / sqrt(P) <= 1/8

IntegerArray: TypeAlias = NDArray[Any]  # any integer dtype, or Python integers (dtype object)


@dataclass(frozen=True, slots=True)
class SimilarityLimits:
    """Thresholds of the task's validation section, in millionths and thousandths."""

    duplicate_cosine_ppm: int = 990_000
    replay_cosine_ppm: int = 980_000
    work_z_milli: int = 4_000


@dataclass(frozen=True, slots=True)
class Finding:
    """What one update's bytes show: `flags` (see `flags.py`) and the row it copies, if any."""

    flags: int
    duplicate_of: int | None


def find_flags(
    updates_NP: IntegerArray,
    commit_heights: Sequence[int],
    previous_P: IntegerArray | None,
    limits: SimilarityLimits,
    is_copy_NN: NDArray[np.bool_] | None = None,
) -> list[Finding]:
    """Return one finding an update, in the order of the rows.

    `commit_heights`: N different integers, the order of commitments. `previous_P`: the previous
    global step, or None in the first round. `is_copy_NN`: which row (first) copies which (second),
    where that was found otherwise (`stale`). ValueError if shapes, dtypes or heights do not fit.
    """
    _check_arguments(updates_NP, commit_heights, previous_P)
    count = len(updates_NP)
    if count == 0:
        return []
    rows = updates_NP if previous_P is None else np.vstack([updates_NP, previous_P[None, :]])
    gram, shifts = compute_gram(rows)
    flags = _find_zeros(gram, shifts, count)
    has_previous = previous_P is not None and gram[count, count] > 0
    if has_previous:
        is_replay_N = reaches(gram, limits.replay_cosine_ppm**2, PPM**2)[:count, count]
        flags = [
            flag | (REPLAY if yes else 0) for flag, yes in zip(flags, is_replay_N, strict=True)
        ]
    if is_copy_NN is None:
        core_N = find_core(gram[:count, :count], np.ones(count, bool), limits.duplicate_cosine_ppm)
        is_copy_NN = find_copies(gram, count, limits.duplicate_cosine_ppm, core_N)
    originals = _find_originals(is_copy_NN, commit_heights)
    for copy in originals:
        flags[copy] |= DUPLICATE
    usable = [i for i in range(count) if not flags[i]]
    previous = count if has_previous else None
    if _can_see_work(updates_NP, usable, limits.work_z_milli):
        for i in _find_idle(gram, usable, previous, rows.shape[1], limits.work_z_milli):
            flags[i] |= NO_WORK
    return [Finding(flags[i], originals.get(i)) for i in range(count)]


def compute_gram(rows_NP: IntegerArray) -> tuple[IntegerArray, list[int]]:
    """Return (gram_NN, shifts): exact dot products of the rows, each scaled by 2^-shift.

    gram_NN holds Python integers (dtype object). A row's entries are rounded to 15 bits plus sign
    (half to even); rows that fit already have shift 0.
    """
    count, size = rows_NP.shape
    if size == 0:
        return np.zeros((count, count), dtype=object), [0] * count
    ranges = zip(rows_NP.max(axis=1), rows_NP.min(axis=1), strict=True)
    greatest = [max(int(high), -int(low)) for high, low in ranges]
    shifts = [max(0, value.bit_length() - ENTRY_BITS) for value in greatest]
    scale_N1 = np.array([[2.0**-shift] for shift in shifts])
    gram = np.zeros((count, count), dtype=object)
    for start in range(0, size, BLOCK_COLUMNS):
        block = np.multiply(rows_NP[:, start : start + BLOCK_COLUMNS], scale_N1, dtype=np.float64)
        np.rint(block, out=block)
        gram += (block @ block.T).astype(np.int64).astype(object)
    return gram, shifts


def _check_arguments(
    updates_NP: IntegerArray, commit_heights: Sequence[int], previous_P: IntegerArray | None
) -> None:
    if updates_NP.ndim != 2 or updates_NP.dtype.kind != "i":
        raise ValueError(f"updates are {updates_NP.dtype} {updates_NP.shape}, not integers [N, P]")
    if len(commit_heights) != len(updates_NP):
        raise ValueError(f"{len(commit_heights)} heights for {len(updates_NP)} updates")
    if len(set(commit_heights)) != len(commit_heights):
        raise ValueError(f"commit heights {list(commit_heights)} are not all different")
    if previous_P is None:
        return
    if previous_P.shape != updates_NP.shape[1:] or previous_P.dtype.kind != "i":
        raise ValueError(
            f"previous step is {previous_P.dtype} {previous_P.shape}, not integers [P]"
        )


def _find_zeros(gram: IntegerArray, shifts: Sequence[int], count: int) -> list[int]:
    """Flag rows of (almost) no length; lengths are compared in the updates' own unit."""
    squares = [gram[i, i] << (2 * shifts[i]) for i in range(count)]
    median = sorted(squares)[(count - 1) // 2]  # the lower one: in doubt for the member
    return [
        ZERO if square == 0 or square * ZERO_NORM_RATIO**2 < median else 0 for square in squares
    ]


def reaches(gram: IntegerArray, numerator: int, denominator: int) -> NDArray[np.bool_]:
    """Tell for each two rows whether cos^2 >= numerator / denominator, both rows being non-zero.

    Exact: floats decide only where they cannot be wrong (they agree with the integers to 1e-14),
    integers decide the close calls.
    """
    close_NN = gram.astype(np.float64)
    own = close_NN.diagonal()
    lengths = np.outer(own, own)
    excess = close_NN * close_NN - lengths * (numerator / denominator)
    reaches: NDArray[np.bool_] = excess >= 0
    for i, j in np.argwhere(np.abs(excess) <= 1e-9 * lengths):
        length = gram[i, i] * gram[j, j]
        reaches[i, j] = length > 0 and gram[i, j] ** 2 * denominator >= length * numerator
    return reaches


def find_copies(
    gram: IntegerArray,
    count: int,
    cosine_ppm: int,
    core_N: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Tell for each two updates whether one is a copy of the other.

    core_N: whose directions make up what is common.

    Honest members with alike data agree on the way everybody goes, on small models to more than
    0.99; what is left of a copy without that common part still equals what is left of the original.
    With r = sum over k of u_k / |u_k| the residuals' products are, times |r|^2,
    G_ij |r|^2 - (u_i . r)(u_j . r), in integers.
    """
    own = gram[:count, :count]
    alike_NN = reaches(own, cosine_ppm**2, PPM**2)
    np.fill_diagonal(alike_NN, False)
    if not alike_NN.any():
        return alike_NN
    bits = 20 + max(int(square).bit_length() for square in own.diagonal()) // 2
    weights = np.array(
        [(1 << bits) // isqrt(s) if s > 0 else 0 for s in own.diagonal()], dtype=object
    )
    weights = np.where(core_N, weights, 0)
    along_N = own @ weights
    residual = own * int(weights @ along_N) - np.outer(along_N, along_N)
    scale = max(0, max((int(v).bit_length() for v in residual.diagonal()), default=0) - 400)
    rest_ppm = max(0, PPM - RESIDUAL_TOLERANCE * (PPM - cosine_ppm))
    same_NN = reaches(residual // (1 << scale), rest_ppm**2, PPM**2)
    same_NN &= np.sign(residual.astype(np.float64)) == np.sign(own.astype(np.float64))
    exact_NN = reaches(own, EXACT_COPY_PPM**2, PPM**2)
    return (alike_NN & same_NN) | exact_NN


def find_core(gram: IntegerArray, group: NDArray[np.bool_], cosine_ppm: int) -> NDArray[np.bool_]:
    """Return the rows of the group that most of it are like, if they are most; else all of it.

    A row that is unlike all others (noise, a poisoner's) would turn the common direction, and what
    is left of honest rows that agree to more than `cosine_ppm` would be nothing but that turn: the
    same in all of them, as in copies.
    """
    alike_NN = reaches(gram, cosine_ppm**2, PPM**2)
    size = int(group.sum())
    core: NDArray[np.bool_] = group & (2 * alike_NN[:, group].sum(axis=1) > size)
    return core if 2 * int(core.sum()) > size else group


def _find_originals(is_copy_NN: NDArray[np.bool_], commit_heights: Sequence[int]) -> dict[int, int]:
    """Map each copy to the first of its kind: the original of the earliest row it resembles."""
    order = sorted(range(len(commit_heights)), key=commit_heights.__getitem__)
    is_copy = is_copy_NN[np.ix_(order, order)]
    originals: dict[int, int] = {}
    for place, later in enumerate(order):
        earlier_places = np.flatnonzero(is_copy[place, :place])
        if len(earlier_places):
            earliest = order[int(earlier_places[0])]
            originals[later] = originals.get(earliest, earliest)
    return originals


def _can_see_work(updates_NP: IntegerArray, usable: Sequence[int], z_milli: int) -> bool:
    """Tell whether there are enough updates, and enough numbers in the one in the middle."""
    if len(usable) < WORK_UPDATES_MIN:
        return False
    lengths = sorted(int(np.count_nonzero(updates_NP[i])) for i in usable)
    return lengths[len(lengths) // 2] * 1_000**2 >= (WORK_COSINE_INVERSE * z_milli) ** 2


def _find_idle(
    gram: IntegerArray, usable: Sequence[int], previous: int | None, size: int, z_milli: int
) -> list[int]:
    """Return the rows that resemble nothing, or none where most do."""
    chosen = gram[np.ix_(usable, usable)]
    has_work = _resemble(chosen, size, z_milli)
    if previous is not None and not has_work.all():
        along = gram[usable, previous]
        rest = chosen * gram[previous, previous] - np.outer(along, along)
        has_work |= _resemble(rest, size, z_milli)
    idle = [row for row, works in zip(usable, has_work, strict=True) if not works]
    return idle if 2 * len(idle) < len(usable) else []


def _resemble(gram: IntegerArray, size: int, z_milli: int) -> NDArray[np.bool_]:
    """Tell for each row whether |cos| * sqrt(P) >= z against another row or the others' mean."""
    own = gram.diagonal()
    bits = 20 + max(int(square).bit_length() for square in own) // 2
    # a row's weight is the inverse of its length, so that no update drowns the others in the mean
    weights = np.array([(1 << bits) // isqrt(s) if s > 0 else 0 for s in own], dtype=object)
    weighted = gram * weights
    dot_all = weighted.sum(axis=1)  # row i with the sum of all directions
    dot_others = dot_all - weighted.diagonal()
    square_all = (dot_all * weights).sum()
    square_others = square_all - 2 * dot_all * weights + own * weights * weights
    scale, needed = size * 1_000**2, z_milli**2
    mean = (dot_others * dot_others * scale >= own * square_others * needed) & (square_others > 0)
    pairs = reaches(gram, needed, scale)
    np.fill_diagonal(pairs, False)
    has_work = pairs.any(axis=1) | mean.astype(np.bool_)
    return np.asarray(has_work, dtype=np.bool_)
