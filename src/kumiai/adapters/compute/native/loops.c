/* The loops over all numbers of an aggregation, for kernels.py. Plain C, no library.

   rows[i] points to member i's numbers; columns begin..end-1 are worked on, so that threads can
   share a block. Columns go through in two sizes: WIDE of every row are copied to where the second
   cache holds them (long enough for the memory's read-ahead), LANES of these are then sorted where
   the first cache holds them. */

#include <stdint.h>
#include <string.h>

#define WIDE 1024
#define LANES 64
#define SUM_LANES 1024
#define TILE 4         /* rows that go through together */
#define PAIR_WIDE 1024 /* columns: at most what the sums of multiply_pairs can hold */
#define COARSE_BITS 5
#define INFINITY_BITS 0x7f800000 /* of a float; what lies above is NaN */

/* Bytes of scratch for n rows; 4 bytes a number in both types. */
int64_t scratch_bytes(int64_t n) { return n * (WIDE + LANES) * 4; }

/* Gates: a few comparators of a sorting network on two to four places, so that each is read and
   written once. A place holds LANES columns. The numbers are those of networks.PATTERNS. */
#define PLACE(I) int32_t *restrict p##I = narrow + (int64_t)gate[I + 1] * LANES;
#define READ(I) int32_t v##I = p##I[l];
#define WRITE(I) p##I[l] = v##I;
#define SWAP(I, J)                                                                                 \
    {                                                                                              \
        int32_t low = v##I < v##J ? v##I : v##J;                                                   \
        v##J = v##I > v##J ? v##I : v##J;                                                          \
        v##I = low;                                                                                \
    }
#define TWO(DO) DO(0) DO(1)
#define THREE(DO) DO(0) DO(1) DO(2)
#define FOUR(DO) DO(0) DO(1) DO(2) DO(3)
#define GATE(NUMBER, PLACES, ...)                                                                  \
    case NUMBER: {                                                                                 \
        PLACES(PLACE)                                                                              \
        for (int l = 0; l < LANES; l++) {                                                          \
            PLACES(READ)                                                                           \
            __VA_ARGS__                                                                            \
            PLACES(WRITE)                                                                          \
        }                                                                                          \
        break;                                                                                     \
    }

/* Puts the columns' values in order at the places that the gates serve. */
static void sort_lanes(int32_t *narrow, const int32_t *gates, int64_t gate_count) {
    for (int64_t k = 0; k < gate_count; k++) {
        const int32_t *gate = gates + 5 * k;
        switch (gate[0]) {
            GATE(0, TWO, SWAP(0, 1))
            GATE(1, THREE, SWAP(0, 1) SWAP(0, 2))
            GATE(2, THREE, SWAP(0, 1) SWAP(1, 2))
            GATE(3, THREE, SWAP(0, 1) SWAP(0, 2) SWAP(2, 1))
            GATE(4, FOUR, SWAP(0, 1) SWAP(0, 2) SWAP(3, 1))
            GATE(5, FOUR, SWAP(0, 1) SWAP(0, 2) SWAP(1, 3))
            GATE(6, FOUR, SWAP(0, 1) SWAP(1, 2) SWAP(1, 3))
            GATE(7, FOUR, SWAP(0, 1) SWAP(2, 0) SWAP(2, 3))
            GATE(8, FOUR, SWAP(0, 1) SWAP(2, 3) SWAP(1, 2))
            GATE(9, FOUR, SWAP(0, 1) SWAP(2, 3) SWAP(0, 2) SWAP(1, 3))
            GATE(10, FOUR, SWAP(0, 1) SWAP(2, 3) SWAP(0, 2) SWAP(3, 1))
            GATE(11, FOUR, SWAP(0, 1) SWAP(0, 2) SWAP(2, 1) SWAP(0, 3))
            GATE(12, FOUR, SWAP(0, 1) SWAP(0, 2) SWAP(2, 1) SWAP(3, 0))
            GATE(13, FOUR, SWAP(0, 1) SWAP(2, 3) SWAP(0, 2) SWAP(1, 3) SWAP(2, 1))
        }
    }
}

/* A float's bits as an integer of the same order, and back: negative numbers count backwards. */
static int32_t turn_bits(int32_t bits) { return bits ^ ((bits >> 31) & INT32_MAX); }

static double as_float(int32_t key) {
    int32_t bits = turn_bits(key);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t as_int(int32_t key) { return key; }

/* Copies a row and returns 0: every integer has its place. */
static int copy_ints(int32_t *restrict row, const int32_t *restrict from, int64_t width) {
    memcpy(row, from, (size_t)width * sizeof(int32_t));
    return 0;
}

/* Copies a row of floats' bits as integers of the same order; returns whether a value is NaN. */
static int copy_floats(int32_t *restrict row, const int32_t *restrict from, int64_t width) {
    int32_t has_nan = 0;
    for (int64_t l = 0; l < width; l++) {
        has_nan |= (from[l] & INT32_MAX) > INFINITY_BITS;
        row[l] = turn_bits(from[l]);
    }
    return has_nan;
}

/* out[c] = sum of the sorted values first..last-1 of column c. The gates put these places in order.
   Returns 1 where a value is NaN, which has no place in an order, else 0. */
#define DEFINE_REDUCE_SORTED(NAME, COPY, VALUE, TOTAL)                                             \
    int NAME(const int32_t *const *rows, int64_t n, int64_t begin, int64_t end,                    \
             const int32_t *gates, int64_t gate_count, int64_t first, int64_t last,                \
             int32_t *scratch, TOTAL *out) {                                                       \
        int32_t *narrow = scratch, *wide = scratch + n * LANES;                                    \
        int has_nan = 0;                                                                           \
        memset(wide, 0, (size_t)(n * WIDE) * sizeof(int32_t));                                     \
        for (int64_t block = begin; block < end; block += WIDE) {                                  \
            int64_t width = end - block < WIDE ? end - block : WIDE;                               \
            for (int64_t i = 0; i < n; i++)                                                        \
                has_nan |= COPY(wide + i * WIDE, rows[i] + block, width);                          \
            for (int64_t c = 0; c < width; c += LANES) {                                           \
                TOTAL sums[LANES] = {0};                                                           \
                for (int64_t i = 0; i < n; i++)                                                    \
                    memcpy(narrow + i * LANES, wide + i * WIDE + c, LANES * sizeof(int32_t));      \
                sort_lanes(narrow, gates, gate_count);                                             \
                for (int64_t i = first; i < last; i++)                                             \
                    for (int l = 0; l < LANES; l++) sums[l] += VALUE(narrow[i * LANES + l]);       \
                for (int64_t l = 0; l < LANES && c + l < width; l++) out[block + c + l] = sums[l]; \
            }                                                                                      \
        }                                                                                          \
        return has_nan;                                                                            \
    }

DEFINE_REDUCE_SORTED(reduce_sorted_int32, copy_ints, as_int, int64_t)
DEFINE_REDUCE_SORTED(reduce_sorted_float32, copy_floats, as_float, double)

/* sums[l] += sum_i weights[i] rows[i][block + l] over count <= TILE rows: together, so that the sums
   are read and written once, where the weights allow 32-bit factors. */
static void add_rows(const int32_t *const *rows, const int64_t *weights, int64_t count,
                     int64_t block, int64_t width, int64_t *restrict sums) {
    int is_one = count == TILE, is_short = count == TILE;
    for (int64_t i = 0; i < count; i++) {
        is_one &= weights[i] == 1;
        is_short &= weights[i] == (int32_t)weights[i];
    }
    if (!is_short) {
        for (int64_t i = 0; i < count; i++)
            for (int64_t l = 0; l < width; l++)
                sums[l] += rows[i][block + l] * weights[i];
        return;
    }
    const int32_t *restrict a = rows[0] + block, *restrict b = rows[1] + block;
    const int32_t *restrict c = rows[2] + block, *restrict d = rows[3] + block;
    int32_t p = (int32_t)weights[0], q = (int32_t)weights[1];
    int32_t r = (int32_t)weights[2], t = (int32_t)weights[3];
    if (is_one)
        for (int64_t l = 0; l < width; l++)
            sums[l] += ((int64_t)a[l] + b[l]) + ((int64_t)c[l] + d[l]);
    else
        for (int64_t l = 0; l < width; l++)
            sums[l] += ((int64_t)a[l] * p + (int64_t)b[l] * q) +
                       ((int64_t)c[l] * r + (int64_t)d[l] * t);
}

/* out[c] = sum_i weights[i] rows[i][c]; the caller knows that it fits. Weights lie within
   -2**31..2**31; 2**31 itself does not fit int32. */
void sum_weighted(const int32_t *const *rows, int64_t n, int64_t begin, int64_t end,
                  const int64_t *weights, int64_t *out) {
    for (int64_t block = begin; block < end; block += SUM_LANES) {
        int64_t width = end - block < SUM_LANES ? end - block : SUM_LANES;
        int64_t sums[SUM_LANES] = {0};
        for (int64_t i = 0; i < n; i += TILE) {
            int64_t count = n - i < TILE ? n - i : TILE;
            add_rows(rows + i, weights + i, count, block, width, sums);
        }
        memcpy(out + block, sums, (size_t)width * sizeof(int64_t));
    }
}

/* out[c] = sums[c] / divisor, rounded half to even, saturated at +-INT32_MAX. The quotient of
   doubles is off by less than 1 where it fits 32 bits; the rest in integers puts it right. */
void divide_sums(const int64_t *restrict sums, int64_t begin, int64_t end, int64_t divisor,
                 int32_t *restrict out) {
    const double limit = 2147483648.0;
    for (int64_t c = begin; c < end; c++) {
        double guess = (double)sums[c] / (double)divisor;
        guess = guess < -limit ? -limit : guess;
        int64_t quotient = (int64_t)(guess > limit ? limit : guess);
        int64_t rest = sums[c] - quotient * divisor;
        int64_t step = (int64_t)(rest >= divisor) - (rest < 0); /* to the floor */
        quotient += step;
        rest -= step * divisor;
        int64_t gap = divisor - rest;
        quotient += (rest > gap) | ((rest == gap) & (quotient & 1));
        quotient = quotient < -INT32_MAX ? -INT32_MAX : quotient;
        out[c] = (int32_t)(quotient > INT32_MAX ? INT32_MAX : quotient);
    }
}

/* The largest absolute value of size numbers, 0 for none. */
int64_t compute_peak(const int32_t *row, int64_t size) {
    int32_t low = 0, high = 0;
    for (int64_t l = 0; l < size; l++) {
        low = row[l] < low ? row[l] : low;
        high = row[l] > high ? row[l] : high;
    }
    return -(int64_t)low > high ? -(int64_t)low : high;
}

/* Bytes of scratch of multiply_pairs for n rows. */
int64_t pair_scratch_bytes(int64_t n) { return 4 * (n + TILE) * PAIR_WIDE; }

/* Copies columns of a row, saturated at +-limit, + half, >> shift, to `fine`, these >> 5 to
   `coarse`, and zeros up to PAIR_WIDE; a limit and its half together fit 31 bits. */
static void round_row(const int32_t *restrict row, int64_t width, int32_t limit, int32_t half,
                      int shift, int16_t *restrict fine, int16_t *restrict coarse) {
    for (int64_t l = 0; l < width; l++) {
        int32_t value = row[l] < -limit ? -limit : row[l];
        value = ((value > limit ? limit : value) + half) >> shift;
        fine[l] = (int16_t)value;
        coarse[l] = (int16_t)(value >> COARSE_BITS);
    }
    memset(fine + width, 0, (size_t)(PAIR_WIDE - width) * sizeof(int16_t));
    memset(coarse + width, 0, (size_t)(PAIR_WIDE - width) * sizeof(int16_t));
}

/* sums[i][j] = inner product of rows i of a and j of b, the low 32 bits. Sixteen sums at once: what
   is loaded serves four products, and compilers see the processor's product of 16-bit pairs. */
static void multiply_tile(const int16_t *restrict a, const int16_t *restrict b,
                          uint32_t sums[TILE][TILE]) {
#define DECLARE(I) uint32_t I##0 = 0, I##1 = 0, I##2 = 0, I##3 = 0;
#define PRODUCT(I, J) (uint32_t)((int32_t)a[I * PAIR_WIDE + l] * (int32_t)b[J * PAIR_WIDE + l])
#define ADD(NAME, I)                                                                               \
    NAME##0 += PRODUCT(I, 0), NAME##1 += PRODUCT(I, 1);                                            \
    NAME##2 += PRODUCT(I, 2), NAME##3 += PRODUCT(I, 3);
#define STORE(NAME, I)                                                                             \
    sums[I][0] = NAME##0, sums[I][1] = NAME##1, sums[I][2] = NAME##2, sums[I][3] = NAME##3;
    DECLARE(s) DECLARE(t) DECLARE(u) DECLARE(v)
    for (int l = 0; l < PAIR_WIDE; l++) {
        ADD(s, 0) ADD(t, 1) ADD(u, 2) ADD(v, 3)
    }
    STORE(s, 0) STORE(t, 1) STORE(u, 2) STORE(v, 3)
}

/* out[i * n + j] += inner product of rows i and j, rounded as in round_row to at most 15 bits, for
   i <= j. Exact in 32-bit sums, although a sum takes 40 bits: with r = 32 h + l, 0 <= l < 32,

       sum r r' = 1024 sum h h' + rest,   |rest| <= 1024 columns (64 * 1024 * 31 + 31^2) < 2^31

   so `coarse` h gives sum h h', below 2^31 too, and the low 32 bits of `fine` r give the rest. */
void multiply_pairs(const int32_t *const *rows, int64_t n, int64_t begin, int64_t end,
                    const int32_t *limits, const int32_t *halves, const int32_t *shifts,
                    int16_t *scratch, int64_t *out) {
    int64_t padded = (n + TILE - 1) / TILE * TILE;
    int16_t *fine = scratch, *coarse = scratch + padded * PAIR_WIDE;
    memset(scratch, 0, (size_t)(2 * padded * PAIR_WIDE) * sizeof(int16_t));
    for (int64_t block = begin; block < end; block += PAIR_WIDE) {
        int64_t width = end - block < PAIR_WIDE ? end - block : PAIR_WIDE;
        for (int64_t i = 0; i < n; i++)
            round_row(rows[i] + block, width, limits[i], halves[i], shifts[i],
                      fine + i * PAIR_WIDE, coarse + i * PAIR_WIDE);
        for (int64_t i = 0; i < n; i += TILE)
            for (int64_t j = i; j < n; j += TILE) {
                uint32_t low[TILE][TILE], high[TILE][TILE];
                multiply_tile(fine + i * PAIR_WIDE, fine + j * PAIR_WIDE, low);
                multiply_tile(coarse + i * PAIR_WIDE, coarse + j * PAIR_WIDE, high);
                for (int64_t k = 0; k < TILE && i + k < n; k++)
                    for (int64_t m = 0; m < TILE && j + m < n; m++) {
                        int32_t rest = (int32_t)(low[k][m] - (high[k][m] << 2 * COARSE_BITS));
                        out[(i + k) * n + j + m] +=
                            (int64_t)(int32_t)high[k][m] * (1 << 2 * COARSE_BITS) + rest;
                    }
            }
    }
}
