"""How private a training was: (epsilon, delta) of many steps on secret samples with Gaussian noise.

Renyi differential privacy (I. Mironov, 2017): a step has a divergence rdp(a) at every order a > 1,
steps add up. For Poisson sampling with rate q and noise multiplier z, neighbours differing by one
sample more or less (I. Mironov, K. Talwar and L. Zhang, "Renyi Differential Privacy of the Sampled
Gaussian Mechanism", 2019, section 3.3; for integer orders also Y.-X. Wang, B. Balle and S.
Kasiviswanathan, 2019):

    rdp(a) = log A / (a - 1)
    A = sum_k binomial(a, k) (1 - q)^(a - k) q^k exp(k (k - 1) / (2 z^2))       for integer a

and two infinite series with complementary error functions for other a; rdp(a) = a / (2 z^2) for
q = 1. To epsilon (B. Balle et al., "Hypothesis Testing Interpretations and Renyi Differential
Privacy", 2020, theorem 21; C. Canonne, G. Kamath and T. Steinke, 2020, proposition 12):

    epsilon = min over a of  steps rdp(a) + log((a - 1) / a) - (log delta + log a) / (a - 1)

Pure float64 of the standard library, no array: a receipt's reader needs nothing else to recompute.
"""

from __future__ import annotations

import math
from functools import lru_cache

ORDER_MAX = 256
TENTHS = tuple(x / 10 for x in range(-9, 10))  # tried around the best integer order
SERIES_END_LOG = -30.0  # a term below exp(-30) of the largest ends a series
SERIES_LENGTH_MAX = 400
ERFC_ASYMPTOTIC = 20.0  # math.erfc underflows near 27
EPSILON_MILLI_MAX = 2**52  # "as good as none": an exact integer in any reader's JSON


def compute_epsilon(
    steps: int, sampling_rate: float, noise_multiplier: float, delta: float
) -> float:
    """Return epsilon after `steps` steps; ValueError for numbers outside their range."""
    _check(steps, sampling_rate, noise_multiplier, delta)
    if steps == 0:
        return 0.0

    def convert(order: float) -> float:
        rdp = steps * compute_rdp(sampling_rate, noise_multiplier, order)
        ratio = math.log((order - 1) / order)
        return rdp + ratio - (math.log(delta) + math.log(order)) / (order - 1)

    # every order gives a valid epsilon, so not trying some costs tightness at most
    whole = 2.0
    while whole < ORDER_MAX and convert(whole + 1) < convert(whole):
        whole += 1
    near = (whole + tenth for tenth in TENTHS if whole + tenth > 1)
    return max(0.0, min(map(convert, near)))


def compute_epsilon_milli(
    steps: int, batch_size: int, sample_count: int, noise_multiplier: float, delta: float
) -> int:
    """Return epsilon in thousandths, rounded up, of DP-SGD with Poisson batches."""
    rate = min(1.0, batch_size / sample_count)
    epsilon = compute_epsilon(steps, rate, noise_multiplier, delta)
    return EPSILON_MILLI_MAX if epsilon > 2**40 else math.ceil(1000 * epsilon)


@lru_cache(maxsize=65_536)
def compute_rdp(sampling_rate: float, noise_multiplier: float, order: float) -> float:
    """Return one step's Renyi divergence at `order` > 1."""
    if sampling_rate == 0.0:
        return 0.0
    if sampling_rate == 1.0:
        return order / (2 * noise_multiplier**2)
    if order == int(order):
        log_moment = _compute_log_moment(sampling_rate, noise_multiplier, int(order))
    else:
        log_moment = _compute_log_moment_between(sampling_rate, noise_multiplier, order)
    return log_moment / (order - 1)


def _compute_log_moment(q: float, z: float, order: int) -> float:
    terms = [
        _log_binomial(order, k)
        + k * math.log(q)
        + (order - k) * math.log1p(-q)
        + k * (k - 1) / (2 * z * z)
        for k in range(order + 1)
    ]
    return _log_sum(terms)


def _compute_log_moment_between(q: float, z: float, order: float) -> float:
    """The series for orders that are no integers; binomials alternate in sign beyond the order.

    The integral is cut at the point z0 where both densities' parts are equal, so that each side
    has a convergent series.
    """
    z0 = z * z * math.log(1 / q - 1) + 0.5
    root = math.sqrt(2) * z
    positive, negative = [-math.inf], [-math.inf]
    log_coefficient, sign, term = 0.0, 1, 0.0
    for i in range(SERIES_LENGTH_MAX):
        j = order - i
        left = i * math.log(q) + j * math.log1p(-q) + i * (i - 1) / (2 * z * z)
        left += _log_erfc((i - z0) / root)
        right = j * math.log(q) + i * math.log1p(-q) + j * (j - 1) / (2 * z * z)
        right += _log_erfc((z0 - j) / root)
        term = log_coefficient - math.log(2) + _log_sum([left, right])
        (positive if sign > 0 else negative).append(term)
        if i > order and term < SERIES_END_LOG + max(positive):
            break
        ratio = j / (i + 1)  # binomial(order, i + 1) / binomial(order, i)
        log_coefficient += math.log(abs(ratio))
        sign = sign if ratio > 0 else -sign
    positive.append(term)  # beyond the order terms alternate and fall: this one bounds the rest
    total, taken = _log_sum(positive), _log_sum(negative)
    return total + math.log1p(-math.exp(taken - total)) if taken < total else math.inf


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_sum(terms: list[float]) -> float:
    """Return log(sum(exp(term))), without overflow."""
    most = max(terms)
    if most == -math.inf:
        return most
    return most + math.log(math.fsum(math.exp(term - most) for term in terms))


def _log_erfc(x: float) -> float:
    if x < ERFC_ASYMPTOTIC:
        return math.log(math.erfc(x))
    inverse = 1 / (2 * x * x)
    series = -inverse + 3 * inverse**2 - 15 * inverse**3
    return -x * x - math.log(x * math.sqrt(math.pi)) + math.log1p(series)


def _check(steps: int, sampling_rate: float, noise_multiplier: float, delta: float) -> None:
    if steps < 0:
        raise ValueError(f"{steps} steps: the number must not be negative")
    if not 0.0 <= sampling_rate <= 1.0:
        raise ValueError(f"sampling rate {sampling_rate} must lie within 0..1")
    if not 0.0 < noise_multiplier < math.inf:
        raise ValueError(f"noise multiplier {noise_multiplier} must be above 0 and finite")
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta {delta} must lie between 0 and 1, both excluded")
