"""How accurate the model is at each width, measured on held-out data and made monotone.

A wider net should not be worse, but measured accuracies are noisy. The curve is therefore fitted by
the nearest non-decreasing values (isotonic regression by pooling adjacent violators: Barlow,
Bartholomew, Bremner and Brunk, "Statistical Inference under Order Restrictions", 1972),

    minimise  sum_w (f_w - a_w)^2 / e_w^2   with f_1 <= f_2 <= ... <= f_W

a_w = accuracies, e_w = errors (standard errors of the means; where one of them is 0, all widths
count the same). Between widths the fit is linear. Its inverse gives the narrowest width that
reaches an accuracy: on a plateau that is the plateau's left end.

Cost: W evaluations to measure, O(W) to fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from kumiai.learning.fairness import FloatArray, list_floats

Evaluate = Callable[[float], ArrayLike]  # width -> each held-out sample's score in 0..1, [S]


@dataclass(frozen=True, slots=True)
class Curve:
    """W widths, ascending in 0 < width <= 1, with mean accuracy and standard error of each."""

    widths: tuple[float, ...]
    accuracies: tuple[float, ...]
    errors: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raise ValueError, with the numbers, for a curve that cannot be one."""
        if not self.widths or not len(self.widths) == len(self.accuracies) == len(self.errors):
            raise ValueError(
                f"{len(self.widths)} widths, {len(self.accuracies)} accuracies, "
                f"{len(self.errors)} errors"
            )
        _check_widths(self.widths)
        for width, accuracy, error in zip(self.widths, self.accuracies, self.errors, strict=True):
            if not 0 <= accuracy <= 1:
                raise ValueError(f"accuracy {accuracy} at width {width} is outside 0..1")
            if not 0 <= error < math.inf:
                raise ValueError(f"error {error} at width {width} is not a standard error")


def measure_curve(evaluate: Evaluate, widths: Sequence[float]) -> Curve:
    """Evaluate every width on the same held-out samples.

    evaluate(width) returns each sample's score [S], 1 for right and 0 for wrong (for sequences the
    share of right tokens), S >= 2. The error is the sample's deviation over sqrt(S): it holds for
    samples drawn independently, and says nothing of how another training run would have come out.
    """
    _check_widths(tuple(widths))
    scores_WS = [np.asarray(evaluate(width), dtype=np.float64) for width in widths]
    for width, scores_S in zip(widths, scores_WS, strict=True):
        if scores_S.ndim != 1 or len(scores_S) < 2 or len(scores_S) != len(scores_WS[0]):
            raise ValueError(
                f"width {width}: scores of shape {scores_S.shape}, expected one a sample, the same "
                "samples at every width and at least 2"
            )
        if not ((scores_S >= 0) & (scores_S <= 1)).all():
            raise ValueError(f"width {width}: a score is outside 0..1")
    return Curve(
        list_floats(widths),
        list_floats([float(scores_S.mean()) for scores_S in scores_WS]),
        list_floats([float(s.std(ddof=1)) / math.sqrt(len(s)) for s in scores_WS]),
    )


def estimate_curve(
    widths: Sequence[float], accuracies: Sequence[float], sample_count: int
) -> Curve:
    """Return a curve from means alone: the errors are those of right-or-wrong scores.

    For scores between 0 and 1 they are an upper bound (no variable in 0..1 of mean a varies more
    than a (1 - a)).
    """
    if sample_count < 2:
        raise ValueError(f"sample_count {sample_count} is less than 2")
    errors = [math.sqrt(max(0.0, a * (1 - a)) / (sample_count - 1)) for a in accuracies]
    return Curve(list_floats(widths), list_floats(accuracies), tuple(errors))


def fit_curve(curve: Curve) -> Curve:
    """Return the curve with its accuracies made non-decreasing; errors stay those measured."""
    errors_W = np.array(curve.errors)
    weights_W = errors_W.min() ** 2 / errors_W**2 if errors_W.min() > 0 else np.ones(len(errors_W))
    fitted_W = fit_isotonic(np.array(curve.accuracies), weights_W)
    return Curve(curve.widths, list_floats(np.clip(fitted_W, 0.0, 1.0)), curve.errors)


def fit_isotonic(values_W: FloatArray, weights_W: FloatArray) -> FloatArray:
    """Return the non-decreasing vector nearest to `values_W` in weighted squares.

    Raises ValueError for lengths that differ or a weight that is not above 0.
    """
    if len(values_W) != len(weights_W) or not (np.asarray(weights_W) > 0).all():
        raise ValueError(f"{len(values_W)} values need as many weights above 0, got {weights_W}")
    means: list[float] = []
    weights: list[float] = []
    sizes: list[int] = []
    for value, weight in zip(values_W, weights_W, strict=True):
        means.append(float(value))
        weights.append(float(weight))
        sizes.append(1)
        while len(means) > 1 and means[-2] >= means[-1]:
            total = weights[-2] + weights[-1]
            pooled = means[-1] + (means[-2] - means[-1]) * (weights[-2] / total)
            means[-2:], weights[-2:], sizes[-2:] = [pooled], [total], [sizes[-2] + sizes[-1]]
    return np.repeat(np.array(means), sizes)


def get_accuracy(fitted: Curve, width: float) -> float:
    """Return the fitted accuracy at `width`: linear between widths, constant outside them."""
    return float(np.interp(width, fitted.widths, fitted.accuracies))


def get_error(fitted: Curve, width: float) -> float:
    """Return the standard error at `width`, linear between widths."""
    return float(np.interp(width, fitted.widths, fitted.errors))


def find_width(fitted: Curve, accuracy: float) -> float:
    """Return the narrowest width whose fitted accuracy is at least `accuracy`.

    The narrowest width for less than the curve begins with, the widest for more than it reaches.
    Raises ValueError where the curve falls: fit it first.
    """
    values = fitted.accuracies
    if any(a > b for a, b in pairwise(values)):
        raise ValueError(f"accuracies {values} fall: fit the curve first")
    if accuracy > values[-1]:
        return fitted.widths[-1]
    index = int(np.searchsorted(values, accuracy, side="left"))
    if index == 0:
        return fitted.widths[0]
    low, high = values[index - 1], values[index]  # low < accuracy <= high
    share = (accuracy - low) / (high - low)
    return fitted.widths[index - 1] + share * (fitted.widths[index] - fitted.widths[index - 1])


def _check_widths(widths: tuple[float, ...]) -> None:
    if not all(0 < width <= 1 for width in widths) or any(a >= b for a, b in pairwise(widths)):
        raise ValueError(f"widths {widths} must ascend strictly within 0 < width <= 1")
