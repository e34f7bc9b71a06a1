"""Every packing against a slow second version in plain Python."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kumiai.learning.codecs import bits, build_codec
from kumiai.learning.codecs.blocks import from_bfloat, to_bfloat
from kumiai.learning.codecs.dct import choose_side, get_basis
from kumiai.learning.codecs.exact import draw_words, multiply_exact, round_to_bits
from kumiai.learning.codecs.powersgd import orthogonalise
from kumiai.learning.codecs.wire import HEADER

FLOATS = st.floats(-100, 100, width=32).filter(lambda x: abs(x) > 2.0**-60 or x == 0)
UPDATES = hnp.arrays(np.float32, st.integers(1, 40), elements=FLOATS)
quick = settings(max_examples=30, deadline=None)


def body(description, update, shapes=None, seed=0):
    codec = build_codec(description, shapes)
    return codec.encode(update, codec.init(len(update)), seed)[0][HEADER.size :]


# bits ---------------------------------------------------------------------------------------------


def pack_twin(stream):
    """Bits, lowest first, to bytes."""
    stream = list(stream) + [0] * (-len(stream) % 8)
    return bytes(
        sum(bit << j for j, bit in enumerate(stream[i : i + 8])) for i in range(0, len(stream), 8)
    )


def spell(number, width):
    return [number >> j & 1 for j in range(width)]


@pytest.mark.parametrize("width", [1, 2, 4])
@quick
@given(data=st.data())
def test_packing(width, data):
    codes = data.draw(st.lists(st.integers(0, 2**width - 1), min_size=1, max_size=40))
    packed = bits.pack(np.array(codes, dtype=np.uint8), width)
    assert packed == pack_twin([bit for code in codes for bit in spell(code, width)])
    assert bits.unpack(packed, len(codes), width).tolist() == codes


def indices_twin(indices, size):
    low_bits = 0
    while 2 ** (low_bits + 1) <= max(1, size * 69 // (100 * len(indices))):
        low_bits += 1
    gaps = [b - a - 1 for a, b in zip([-1, *indices], indices, strict=False)]
    low = [bit for gap in gaps for bit in spell(gap % 2**low_bits, low_bits)]
    unary = [bit for gap in gaps for bit in [0] * (gap // 2**low_bits) + [1]]
    return pack_twin(low) + pack_twin(unary)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 3000).flatmap(
        lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1), min_size=1))
    )
)
@example((1, {0}))
@example((10**12, {0}))
@example((10**12, {10**12 - 1}))
@example((64, set(range(64))))
def test_indices(case):
    size, indices = case[0], sorted(case[1])
    data = bits.encode_indices(np.array(indices, dtype=np.int64), size)
    assert data == indices_twin(indices, size)
    assert bits.decode_indices(data, len(indices), size).tolist() == indices
    least, most = bits.compute_index_bytes(size, len(indices))
    assert least <= len(data) <= most


@pytest.mark.parametrize("density", [0.5, 0.1, 0.01, 0.001])
def test_random_places_cost_little_more_than_their_entropy(density):
    size = 200_000
    chosen = np.flatnonzero(np.random.default_rng(0).random(size) < density)
    entropy = -(density * math.log2(density) + (1 - density) * math.log2(1 - density)) * size
    assert 8 * len(bits.encode_indices(chosen, size)) <= 1.06 * entropy


# blocks -------------------------------------------------------------------------------------------


def blocks_of(update, block):
    numbers = [float(x) for x in update]
    return [numbers[i : i + block] for i in range(0, len(numbers), block)]


def bfloat_twin(value):
    """The nearest number of eight significant bits, ties to even, as its 16 bits."""
    if value == 0:
        return struct.unpack("<I", struct.pack("<f", value))[0] >> 16
    exponent = math.frexp(value)[1] - 8
    rounded = round(Fraction(value) / Fraction(2) ** exponent) * Fraction(2) ** exponent
    return struct.unpack("<I", struct.pack("<f", float(rounded)))[0] >> 16


@quick
@given(UPDATES)
@example(np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 255.5, -0.0], dtype=np.float32))
def test_bfloats(update):
    halves = to_bfloat(update)
    assert halves.tolist() == [bfloat_twin(float(x)) for x in update]
    assert body("bf16", update) == struct.pack(f"<{len(update)}H", *halves)
    assert np.array_equal(to_bfloat(from_bfloat(halves)), halves)


@quick
@given(UPDATES)
def test_dense(update):
    assert body("dense", update) == b"".join(struct.pack("<f", x) for x in update)


@pytest.mark.parametrize(("name", "limit", "width"), [("int8", 127, 8), ("int4", 7, 4)])
@quick
@given(update=UPDATES, block=st.integers(1, 20))
def test_block_integers(name, limit, width, update, block):
    scales, codes = b"", []
    for numbers in blocks_of(update, block):
        scale = np.float32(max(map(abs, numbers))) / np.float32(limit)
        scales += struct.pack("<f", scale)
        inverse = np.float32(1) / scale if scale else np.float32(0)
        codes += [round(float(np.float32(x) * inverse)) for x in numbers]  # ties to even
    stream = [bit for code in codes for bit in spell(code % 2**width, width)]
    assert body(f"{name}:block={block}", update) == scales + pack_twin(stream)


@quick
@given(update=UPDATES, seed=st.integers(0, 99))
def test_stochastic_integers_are_one_of_the_two_neighbours(update, seed):
    codec = build_codec("int8:block=8,stochastic=1")
    decoded = codec.decode(codec.encode(update, (), seed)[0], len(update))
    for i, numbers in enumerate(blocks_of(update, 8)):
        scale = max(map(abs, numbers)) / 127
        for x, y in zip(numbers, decoded[8 * i :], strict=False):
            assert abs(x - y) <= scale * (1 + 1e-5)


def integers_twin(numbers):
    """|x| in units of 2**(exponent of the peak - 24), rounded, and the unit."""
    exponent = math.frexp(max(map(abs, numbers)))[1]
    unit = Fraction(2) ** (exponent - 24)
    return [round(abs(Fraction(x)) / unit) for x in numbers], unit


@quick
@given(update=UPDATES, block=st.integers(1, 20))
def test_signs(update, block):
    scales, stream = b"", []
    for numbers in blocks_of(update, block):
        ints, unit = integers_twin(numbers)
        mean = np.float32(np.float64(sum(ints)) / len(ints) * float(unit))
        scales += struct.pack("<H", bfloat_twin(float(mean)))
        stream += [int(x < 0) for x in numbers]
    assert body(f"sign:block={block}", update) == scales + pack_twin(stream)


@quick
@given(update=UPDATES, block=st.integers(1, 20))
def test_two_bits(update, block):
    lows, highs, stream = b"", b"", []
    for numbers in blocks_of(update, block):
        ints, unit = integers_twin(numbers)
        mean = Fraction(sum(ints), len(ints))
        small, large = [i for i in ints if i <= mean], [i for i in ints if i > mean]
        low = np.float32(np.float64(sum(small)) / len(small) * float(unit))
        high = np.float32(np.float64(sum(large)) / len(large) * float(unit)) if large else low
        lows += struct.pack("<H", bfloat_twin(float(low)))
        highs += struct.pack("<H", bfloat_twin(float(high)))
        for x, i in zip(numbers, ints, strict=True):
            stream += [int(x < 0), int(i > mean)]
    assert body(f"int2:block={block}", update) == lows + highs + pack_twin(stream)


@quick
@given(update=UPDATES, block=st.integers(1, 20))
def test_decoded_signs_and_sizes(update, block):
    """What a receiver makes of the two: the block's means, exactly."""
    for name in ("sign", "int2"):
        codec = build_codec(f"{name}:block={block}")
        decoded = codec.decode(codec.encode(update, (), 0)[0], len(update))
        for i, numbers in enumerate(blocks_of(update, block)):
            got = decoded[i * block : i * block + len(numbers)]
            assert all(x * y >= 0 for x, y in zip(numbers, got, strict=True))
            assert len(set(np.abs(got).tolist())) <= (1 if name == "sign" else 2)
            mean = np.mean(np.abs(numbers))
            assert np.mean(np.abs(got)) == pytest.approx(mean, rel=2**-7)


def test_a_tiny_mean_beside_a_far_larger_peak_is_zero():
    """Its scale would be subnormal, which decoders refuse."""
    update = np.zeros(4096, dtype=np.float32)
    update[7], update[9] = 2.0**-95, -(2.0**-118)
    codec = build_codec("int2:block=4096")
    decoded = codec.decode(codec.encode(update, (), 0)[0], 4096)
    assert decoded[7] == np.float32(2.0**-95)
    assert np.count_nonzero(decoded) == 1


# choices ------------------------------------------------------------------------------------------


def choose_twin(update, density_ppm, chunk):
    chosen, chunk = [], chunk or len(update)
    for start in range(0, len(update), chunk):
        places = range(start, min(start + chunk, len(update)))
        keep = max(1, round(Fraction(len(places) * density_ppm, 10**6)))
        chosen += sorted(places, key=lambda i: (-abs(float(update[i])), i))[:keep]
    return sorted(chosen)


@settings(max_examples=80, deadline=None)
@given(
    update=UPDATES
    | hnp.arrays(
        np.float32, st.integers(1, 40), elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0])
    ),
    density_ppm=st.integers(1, 10**6),
    chunk=st.integers(0, 45),
)
def test_top_k(update, density_ppm, chunk):
    description = f"topk:density_ppm={density_ppm},chunk={chunk}"
    chosen = choose_twin(update, density_ppm, chunk)
    expected = indices_twin(chosen, len(update)) + update[chosen].tobytes()
    assert body(description, update) == expected
    codec = build_codec(description)
    decoded = codec.decode(codec.encode(update, (), 0)[0], len(update))
    assert decoded.tolist() == [x if i in chosen else 0.0 for i, x in enumerate(update.tolist())]


@quick
@given(update=UPDATES)
def test_a_stack_is_its_stages_one_after_the_other(update):
    chosen = choose_twin(update, 300_000, 0)
    assert body("topk:density=0.3|int2:block=4", update) == indices_twin(chosen, len(update)) + (
        body("int2:block=4", update[chosen])
    )


# exact products -----------------------------------------------------------------------------------


@quick
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_products_are_exact_integers_in_any_order(seed, depth):
    generator = np.random.default_rng(seed)
    a = generator.standard_normal((3, depth)) * 10.0 ** generator.integers(-9, 9)
    b = generator.standard_normal((depth, 4)) * 10.0 ** generator.integers(-9, 9)
    product = multiply_exact(a, b)
    assert np.allclose(product, a @ b, atol=np.abs(a).max() * np.abs(b).max() * depth * 2.0**-21)
    order = generator.permutation(depth)
    assert np.array_equal(multiply_exact(a[:, order], b[order]), product)
    budget = 53 - math.ceil(math.log2(depth))
    a_bits = min(24, math.ceil(budget / 2))
    ints = (
        [round_twin(row, a_bits) for row in a],
        [round_twin(column, min(24, budget - a_bits)) for column in b.T],
    )
    for i, row in enumerate(ints[0]):
        for j, column in enumerate(ints[1]):
            assert Fraction(product[i, j]) == sum(x * y for x, y in zip(row, column, strict=True))


def round_twin(numbers, width):
    peak = max(abs(float(x)) for x in numbers)
    unit = Fraction(2) ** (math.frexp(peak)[1] - width)
    return [round(Fraction(float(x)) / unit) * unit for x in numbers]


def test_sums_stay_within_53_bits_at_the_worst():
    for depth in (1, 2, 3, 64, 1000, 4097, 10**6):
        ones = np.ones((1, depth), dtype=np.float32)
        nearly = np.full((1, depth), 1 - 2.0**-24, dtype=np.float32)  # rounds up to 2**bits
        for left in (ones, nearly):
            bits_left = min(24, -(-(53 - (depth - 1).bit_length()) // 2))
            bits_right = min(24, 53 - (depth - 1).bit_length() - bits_left)
            peak = round_to_bits(left, bits_left, 1)[0].max()
            assert peak * round_to_bits(left, bits_right, 1)[0].max() * depth <= 2**53
        assert multiply_exact(ones, ones.T)[0, 0] == depth


def test_random_words_are_philox():
    words = draw_words(5, 1, 7)
    raw = np.random.Philox(key=5 | 1 << 64).random_raw(4)
    expected = [half for word in raw for half in (int(word) & 0xFFFFFFFF, int(word) >> 32)]
    assert words.tolist() == expected[:7]
    assert draw_words(5, 2, 7).tolist() != words.tolist()
    with pytest.raises(ValueError, match="seed -1"):
        draw_words(-1, 1, 1)
    with pytest.raises(ValueError, match="outside"):
        draw_words(2**64, 1, 1)


# cosine transform ---------------------------------------------------------------------------------


def dct_twin(tile):
    """X[k, l] by its definition, term by term."""
    height, width = tile.shape

    def wave(k, i, n):
        return math.sqrt((2 if k else 1) / n) * math.cos(math.pi * (2 * i + 1) * k / (2 * n))

    return np.array(
        [
            [
                sum(
                    float(tile[i, j]) * wave(k, i, height) * wave(m, j, width)
                    for i in range(height)
                    for j in range(width)
                )
                for m in range(width)
            ]
            for k in range(height)
        ]
    )


def test_cosine_transform_by_its_definition():
    """A matrix [6, 10] in tiles of 3 x 5 (the largest divisors), row by row; then a vector [7]."""
    update = np.random.default_rng(3).standard_normal(67).astype(np.float32)
    sent = np.frombuffer(body("dct:chunk=5", update, [(6, 10), (7,)]), dtype="<f4")
    matrix = update[:60].reshape(6, 10)
    tiles = [matrix[i : i + 3, j : j + 5] for i in (0, 3) for j in (0, 5)]
    padded = np.pad(update[60:], (0, 3)).reshape(1, 10)  # 7 has no divisor up to 5 but 1
    tiles += [padded[:, :5], padded[:, 5:]]
    expected = np.concatenate([dct_twin(tile).ravel() for tile in tiles])
    assert np.allclose(sent, expected, atol=1e-5)


def test_sides_of_tiles():
    assert [choose_side(n, 64) for n in (1, 10, 64, 128, 784, 100, 127, 65, 96)] == [
        *(1, 10, 64, 64, 56, 50, 64, 64, 48)
    ]


@pytest.mark.parametrize("length", range(1, 65))
def test_basis_is_the_same_on_every_machine(length):
    """No value can fall to the other side of a tie by an error of cos in its last bits."""
    basis = get_basis(length)
    assert np.allclose(basis @ basis.T, np.eye(length), atol=1e-5)
    units = basis * 2**22
    assert np.array_equal(units, np.rint(units))
    for k in range(length):
        for i in range(length):
            wave = math.sqrt((2 if k else 1) / length) * math.cos(
                math.pi * (2 * i + 1) * k / (2 * length)
            )
            assert abs(wave * 2**22 - units[k, i]) < 0.5 - 1e-6
    for bits_kept in (23, 24):  # what multiply_exact makes of it
        ints, unit = round_to_bits(basis, bits_kept, 0)
        assert np.array_equal(ints * unit, basis)


def test_there_and_back():
    for shapes in (None, [(64, 64)], [(100, 130), (77,)], [(8, 3, 3, 3), (8,), ()]):
        size = 5000 if shapes is None else sum(math.prod(shape) for shape in shapes)
        update = np.random.default_rng(4).standard_normal(size).astype(np.float32)
        codec = build_codec("dct", shapes)
        decoded = codec.decode(codec.encode(update, (), 0)[0], size)
        assert np.linalg.norm(decoded - update) <= 1e-5 * np.linalg.norm(update)


# PowerSGD -----------------------------------------------------------------------------------------


def powersgd_twin(matrix, start):
    """Algorithm 1 in float64 with numpy's QR in place of Gram-Schmidt."""
    left, _ = np.linalg.qr(matrix.astype(np.float64) @ start)
    right = matrix.astype(np.float64).T @ left
    return left @ right.T, right


def test_powersgd_against_the_algorithm():
    codec = build_codec("powersgd:rank=3", [(40, 30), (5,)])
    generator = np.random.default_rng(5)
    state = codec.init(1205)
    payload, state = codec.encode(generator.standard_normal(1205).astype(np.float32), state, 1)
    for seed in range(3):
        update = generator.standard_normal(1205).astype(np.float32)
        expected, right = powersgd_twin(update[:1200].reshape(40, 30), state[0])
        payload, state = codec.encode(update, state, seed)
        decoded = codec.decode(payload, 1205)
        assert np.allclose(decoded[:1200].reshape(40, 30), expected, atol=1e-4)
        assert np.array_equal(decoded[1200:], update[1200:])  # a vector travels whole
        assert np.allclose(np.abs(state[0]), np.abs(right), atol=1e-4)  # up to the columns' signs


def test_powersgd_finds_a_matrix_of_its_rank_at_once():
    generator = np.random.default_rng(6)
    matrix = generator.standard_normal((50, 2)) @ generator.standard_normal((2, 35))
    update = matrix.astype(np.float32).ravel()
    for rank in (2, 4):
        codec = build_codec(f"powersgd:rank={rank}", [(50, 35)])
        payload, state = codec.encode(update, codec.init(1750), 9)
        decoded = codec.decode(payload, 1750)
        assert np.linalg.norm(decoded - update) <= 1e-4 * np.linalg.norm(update)
        # surplus directions are dropped, not filled with rounding, and start anew next round
        assert int(np.abs(state[0]).any(axis=0).sum()) == 2
        assert np.isfinite(codec.encode(update, state, 10)[1][0]).all()


def test_powersgd_warm_start_nears_the_best_approximation():
    generator = np.random.default_rng(7)
    matrix = generator.standard_normal((60, 50)) + 3 * np.outer(
        generator.standard_normal(60), generator.standard_normal(50)
    )
    u, s, v = np.linalg.svd(matrix)
    best = np.linalg.norm(matrix - s[0] * np.outer(u[:, 0], v[0]))
    update = matrix.astype(np.float32).ravel()
    codec = build_codec("powersgd:rank=1", [(60, 50)])
    state, errors = codec.init(3000), []
    for seed in range(6):
        payload, state = codec.encode(update, state, seed)
        errors.append(np.linalg.norm(codec.decode(payload, 3000) - update))
    assert errors[0] > 1.005 * best
    assert errors[-1] <= 1.0001 * best


def test_powersgd_start_depends_on_the_seed_only():
    update = np.random.default_rng(8).standard_normal(600).astype(np.float32)
    codec = build_codec("powersgd:rank=1", [(30, 20)])
    payloads = [codec.encode(update, codec.init(600), seed)[0] for seed in (1, 1, 2)]
    assert payloads[0] == payloads[1] != payloads[2]
    _, warm = codec.encode(update, codec.init(600), 1)
    assert codec.encode(update, warm, 3)[0] == codec.encode(update, warm, 4)[0]


def test_powersgd_ratio_of_the_paper_facts():
    """4096 x 4096 at rank 4: nm / (r (n + m)) = 512."""
    codec = build_codec("powersgd:rank=4", [(4096, 4096)])
    size_bytes = codec.compute_size_bytes(4096 * 4096)
    assert size_bytes is not None
    assert 4 * 4096 * 4096 / (size_bytes - HEADER.size) == 512


def test_demo_keeps_32_of_4096():
    """DeMo's defaults: 32 coefficients of a tile of 64 x 64."""
    codec = build_codec("dct|topk:density=0.007812,chunk=4096", [(128, 64)])
    assert [t.compute_count(8192) for t in codec.transforms] == [8192, 64]


@quick
@given(st.integers(0, 10**6))
def test_orthogonal_columns(seed):
    generator = np.random.default_rng(seed)
    columns = generator.standard_normal((12, 4)) * 10.0 ** generator.integers(-20, 20, 4)
    columns[:, 2] = columns[:, 0] * 3  # explained by the first: becomes zero
    made = orthogonalise(columns)
    expected = np.diag([1.0, 1.0, 0.0, 1.0])
    assert np.allclose(made.T @ made, expected, atol=1e-5)
    assert not orthogonalise(np.zeros((4, 2))).any()
