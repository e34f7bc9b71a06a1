"""Compiled kernels: numpy's integers to the bit, for any shape; numpy's where nothing compiles."""

from __future__ import annotations

import shutil
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kumiai.adapters.compute.native import build, kernels
from kumiai.learning.aggregation import (
    AGGREGATORS,
    NumpyKernels,
    Settings,
    aggregate,
    aggregate_floats,
)
from kumiai.learning.aggregation.networks import PATTERNS, build_gates

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)
NUMPY = NumpyKernels()
INTS = st.one_of(st.integers(-50, 50), st.integers(-(2**31) + 1, 2**31 - 1))
LAW = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module", params=[1, 3])
def native(request, tmp_path_factory):
    loaded = kernels.load_kernels(tmp_path_factory.mktemp("native"), request.param)
    assert isinstance(loaded, kernels.NativeKernels)
    return loaded


@needs_compiler
@LAW
@given(
    rows=hnp.arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 200)), elements=INTS),
    data=st.data(),
)
def test_sums_are_numpys(native, rows, data):
    start = data.draw(st.integers(0, len(rows) - 1))
    stop = data.draw(st.integers(start + 1, len(rows)))
    found = native.reduce_sorted(rows, start, stop)
    assert np.array_equal(found, NUMPY.reduce_sorted(rows, start, stop))
    cap = 2**31 // len(rows)
    weights = data.draw(st.lists(st.integers(-cap, cap), min_size=len(rows), max_size=len(rows)))
    assert np.array_equal(native.sum_weighted(rows, weights), NUMPY.sum_weighted(rows, weights))


@needs_compiler
@settings(max_examples=100, deadline=None)
@given(
    sums=hnp.arrays(
        np.int64,
        st.integers(1, 80),
        elements=st.one_of(
            st.integers(-(2**62), 2**62), st.integers(-40, 40), st.integers(-(2**36), 2**36)
        ),
    ),
    divisor=st.one_of(st.integers(1, 12), st.integers(1, 2**31), st.just(2**31)),
)
def test_quotients_are_pythons(native, sums, divisor):
    for found in (native, NUMPY):
        delta = np.empty(len(sums), dtype=np.int32)
        found.divide_into(delta, sums, divisor)
        for quotient, total in zip(delta.tolist(), sums.tolist(), strict=True):
            exact = round(Fraction(total, divisor))  # half to even
            assert quotient == max(-(2**31) + 1, min(2**31 - 1, exact))


@needs_compiler
@pytest.mark.parametrize(("count", "divisor"), [(3, 1), (4, 0), (4, 2**31 + 1)])
def test_quotients_that_do_not_fit_are_refused(native, count, divisor):
    with pytest.raises(ValueError, match=f"4 sums over {divisor} into {count} numbers"):
        native.divide_into(np.empty(count, np.int32), np.zeros(4, np.int64), divisor)


@needs_compiler
@LAW
@given(
    rows=hnp.arrays(np.int32, st.tuples(st.integers(1, 5), st.integers(1, 60)), elements=INTS),
    bits=st.integers(1, 15),
    data=st.data(),
)
def test_peaks_and_products_are_pythons(native, rows, bits, data):
    """Numpy's and the compiled ones against integers without a size."""
    peaks = [max(map(abs, row)) for row in rows.tolist()]
    shifts = data.draw(st.lists(st.integers(0, 20), min_size=len(rows), max_size=len(rows)))
    rounded = [
        [round_half_up(value, shift, bits) for value in row]
        for row, shift in zip(rows.tolist(), shifts, strict=True)
    ]
    products = [[sum(map(int.__mul__, a, b)) for b in rounded] for a in rounded]
    for found in (native, NUMPY):
        assert found.compute_peaks(rows) == peaks
        assert found.multiply_pairs(rows, shifts, bits).tolist() == products


def round_half_up(value, shift, bits):
    largest = min((2**bits - 1) << shift, 2**31 - 1 - (2**shift >> 1))
    return (max(-largest, min(largest, value)) + (2**shift >> 1)) >> shift


@needs_compiler
@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 9_999])
def test_products_are_exact_where_sums_are_the_largest(native, count, size):
    """All numbers at either end: what a block's 32-bit sums just hold, and sums beyond 2**40."""
    for low, high in ((-(2**15) + 1, 2**15 - 1), (31, 2**15 - 1), (-(2**15) + 1, -(2**15) + 32)):
        signs = np.random.default_rng(size).integers(0, 2, (count, size)).astype(bool)
        for is_high in (signs, signs | True, signs & False):
            rows = np.where(is_high, high, low).astype(np.int32)
            found = native.multiply_pairs(rows, [0] * count, 15)
            assert np.array_equal(found, rows.astype(np.int64) @ rows.T.astype(np.int64))


@needs_compiler
@pytest.mark.parametrize("bits", [0, 16])
def test_more_bits_than_the_sums_hold_are_refused(native, bits):
    for found in (native, NUMPY):
        with pytest.raises(ValueError, match=rf"{bits} bits of a number are not within 1\.\.15"):
            found.multiply_pairs(np.ones((2, 3), dtype=np.int32), [0, 0], bits)


@needs_compiler
@pytest.mark.parametrize("name", list(AGGREGATORS))
@pytest.mark.parametrize("bucket_size", [1, 2])
def test_rules_do_not_see_the_kernels(native, name, bucket_size, monkeypatch):
    generator = np.random.default_rng(4)
    rows = generator.integers(-(2**31) + 1, 2**31 - 1, (13, 30_011), dtype=np.int32)
    rows[:, ::3] //= 2**12
    weights = [int(w) for w in generator.integers(1, 2**20, 13)]
    options = Settings(byzantine_count=2, bucket_size=bucket_size)
    expected = aggregate(name, rows, weights, options, reference_P=rows[2])
    monkeypatch.setattr(kernels, "BLOCK", 20_000)
    for given_rows in (rows, list(rows), np.asfortranarray(rows)):
        found = aggregate(name, given_rows, weights, options, reference_P=rows[2], kernels=native)
        assert np.array_equal(found, expected)


@needs_compiler
@pytest.mark.parametrize("name", ["mean", "median", "krum", "geometric_median"])
def test_rules_take_less_than_a_tenth_of_the_rows_beside_them(native, name):
    rows = np.random.default_rng(2).integers(-(2**28), 2**28, (100, 300_000), dtype=np.int32)
    for used in (native, NUMPY) if name == "krum" else (native,):
        tracemalloc.start()
        try:
            aggregate(
                name,
                rows,
                [1] * 100,
                Settings(byzantine_count=9),
                reference_P=rows[1],
                kernels=used,
            )
            assert tracemalloc.get_traced_memory()[1] < rows.nbytes / 10
        finally:
            tracemalloc.stop()


@needs_compiler
@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
def test_floats_are_numpys_and_nan_is_refused(native, name):
    generator = np.random.default_rng(6)
    rows = generator.normal(0, 1, (20, 9_001)).astype(np.float32)
    expected = aggregate_floats(name, rows, [1] * 20)
    assert np.allclose(
        aggregate_floats(name, rows, [1] * 20, kernels=native), expected, rtol=1e-6, atol=1e-7
    )
    rows[7, 9_000] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        aggregate_floats(name, rows, [1] * 20, kernels=native)


@needs_compiler
def test_every_pattern_of_gates_is_compiled_as_it_is_meant(native):
    generator = np.random.default_rng(3)
    seen = set()
    for count in (2, 3, 5, 9, 17, 33, 64, 99, 100):
        for start, stop in ((0, count), (count // 2, count // 2 + 1), (count // 5, count - 1)):
            rows = generator.integers(-9, 9, (count, 70), dtype=np.int32)
            found = native.reduce_sorted(rows, start, stop)
            assert (found == np.sort(rows, 0)[start:stop].sum(0)).all(), (count, start, stop)
            seen |= {gate[0] for gate in build_gates(count, start, stop)}
    assert seen == set(range(len(PATTERNS)))


def test_very_many_rows_are_sorted_by_numpy(native):
    rows = np.arange(1030 * 3, dtype=np.int32).reshape(1030, 3)
    found = native.reduce_sorted(rows, 0, 1)
    assert found.tolist() == [0, 1, 2]


@needs_compiler
def test_a_library_is_compiled_once(tmp_path, monkeypatch):
    build.load_library(tmp_path)
    (made,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(build, "_compile", None)
        build.load_library(tmp_path)
    other = tmp_path / "other"  # a process never loads a second library of one name
    other.mkdir()
    (other / made.name).write_bytes(b"cut short")
    build.load_library(other)
    assert (other / made.name).stat().st_size > 1000


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_write_to_is_not_read(tmp_path, mode):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(build.BuildError, match=f"mode {mode:o}: it must be yours"):
        build.load_library(folder)
    assert isinstance(kernels.load_kernels(folder), NumpyKernels)
    assert list(folder.iterdir()) == []
    folder.chmod(0o755)
    assert isinstance(kernels.load_kernels(folder), kernels.NativeKernels)


def test_without_a_compiler_numpy_computes(monkeypatch, tmp_path):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.BuildError, match="no C compiler"):
        build.load_library(tmp_path)
    assert isinstance(kernels.load_kernels(tmp_path), NumpyKernels)


@needs_compiler
def test_source_that_does_not_compile_is_reported(monkeypatch, tmp_path):
    wrong = tmp_path / "wrong.c"
    wrong.write_text("int x = ;")
    monkeypatch.setattr(build, "SOURCE", wrong)
    with pytest.raises(build.BuildError, match="wrong"):
        build.load_library(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("int32_t low = v##I < v##J ? v##I : v##J;", "int32_t low = v##I;"),
        ("SWAP(2, 1) SWAP(3, 0)", "SWAP(2, 1)"),
        ("SWAP(1, 3) SWAP(2, 1)", "SWAP(1, 3)"),
        ("sums[l] += rows[i][block + l] * weights[i]", "sums[l] += rows[i][block + l]"),
        ("(int64_t)a[l] * p", "a[l] * p"),
        ("(int64_t)a[l] + b[l]", "a[l] + b[l]"),
        ("value > limit ? limit : value", "value"),
        ("(bits >> 31) & INT32_MAX", "(bits >> 30) & INT32_MAX"),
        ("-(int64_t)low > high", "-(int64_t)low < high"),
        ("rest == gap", "rest > gap"),
        ("- (rest < 0)", "- 0"),
        ("#define PAIR_WIDE 1024", "#define PAIR_WIDE 2048"),
        ("i + k < n; k++", "i + k + 1 < n; k++"),
        ("high[k][m] << 2 * COARSE_BITS", "high[k][m] << COARSE_BITS"),
        ("memset(fine + width, 0,", "memset(fine + width, 1,"),
    ],
)
def test_a_compiler_that_computes_wrongly_is_not_trusted(monkeypatch, tmp_path, right, wrong):
    source = build.SOURCE.read_text()
    assert right in source
    changed = tmp_path / "changed.c"
    changed.write_text(source.replace(right, wrong))
    monkeypatch.setattr(build, "SOURCE", changed)
    assert isinstance(kernels.load_kernels(tmp_path / "cache"), NumpyKernels)


@needs_compiler
def test_threads_are_counted(tmp_path):
    with pytest.raises(ValueError, match="threads 0"):
        kernels.load_kernels(tmp_path, 0)
