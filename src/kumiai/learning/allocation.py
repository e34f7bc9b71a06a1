"""Which width of the model each member receives, so that who gave more receives a better one.

Aequa's allocation (Tastan, Horváth and Nandakumar, "Aequa: Fair Model Rewards in Collaborative
Learning via Slimmable Networks", 2025; reconstruction, the paper's text was not available), in four
exact steps instead of a search:

1. owed accuracy  A_n from the contributions c_n (see `targets`: shift or affine, or another rule);
2. no member below what it reaches alone: A_n >= min(B_n, u), B_n = standalone;
3. width          the narrowest with fitted accuracy A_n (see `curve`), rounded to the grid of the
                  trained widths, never below the floor; who is owed u gets the full model;
4. check          where rounding, or doubt of `caution` standard errors, leaves a member below its
                  B_n, the next wider width that holds; where none does, the full model, and the
                  member is listed with what it lacks.

Guarantees: a larger contribution never gets a narrower model as long as standalone accuracies are
in the same order; every member not listed in `shortfalls` is predicted at least its B_n. Widths are
nested: members who pool their models have the widest of them and no more, and one who splits into
two identities gains nothing by it.

Step 2 raises single members and leaves `nu` as it is; the paper's order is not known to us.
Cost: O(N log N + N W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kumiai.learning.curve import Curve, find_width, fit_curve, get_accuracy, get_error
from kumiai.learning.fairness import FloatArray, check_members, compute_pearson, list_floats
from kumiai.learning.targets import Targets, compute_targets, convert_scores, solve_targets

ROUNDING_SLACK = 1e-9  # of a width: interpolating must not cost a member a whole step of the grid


@dataclass(frozen=True, slots=True)
class AllocationSettings:
    """rule: "fair" is shift or, where the range is too small, affine; "clip" and "trade" as in
    `targets`; "score" for contributions that are no accuracies.

    penalty: of "trade". exponent: of "score". width_least: floor, in widths. rounding: to the grid,
    "nearest" ties go down. caution: standard errors that a promise B_n is checked with.
    """

    rule: Literal["fair", "clip", "trade", "score"] = "fair"
    penalty: float = 2.0
    exponent: float = 1.0
    width_least: float = 0.0
    rounding: Literal["down", "nearest"] = "down"
    caution: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError, with the value, for settings that mean nothing."""
        if self.rule not in ("fair", "clip", "trade", "score"):
            raise ValueError(f"rule {self.rule!r} is not fair, clip, trade or score")
        if self.rounding not in ("down", "nearest"):
            raise ValueError(f"rounding {self.rounding!r} is not down or nearest")
        if not 0 <= self.width_least <= 1:
            raise ValueError(f"width_least {self.width_least} is outside 0..1")
        if not 0 <= self.caution < np.inf:
            raise ValueError(f"caution {self.caution} is not a number of standard errors")


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A member for whom no width keeps the promise: lacking = standalone - promised > 0."""

    member: int
    standalone: float
    promised: float
    lacking: float
    reason: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """What N members receive.

    widths: of the grid. owed: accuracies after step 2. predicted: the fitted curve at the widths.
    pearson: of contribution and predicted accuracy, None where one of them does not vary. rule:
    shift, affine, clip, trade, score, or flat (no width differs from another). nu: see `targets`.
    """

    widths: tuple[float, ...]
    owed: tuple[float, ...]
    predicted: tuple[float, ...]
    pearson: float | None
    shortfalls: tuple[Shortfall, ...]
    rule: str
    nu: float | None


def allocate_widths(
    contributions_N: ArrayLike,
    curve: Curve,
    standalone_N: ArrayLike | None = None,
    settings: AllocationSettings | None = None,
) -> Allocation:
    """Return one width of `curve` for each of N members.

    contributions_N: float64, in units of accuracy unless the rule is "score". standalone_N: what
    each reaches without the others; None promises nothing. Raises ValueError for no member, lengths
    that differ, a number that is not finite (naming the member), a curve that does not end at
    width 1, or a penalty or exponent that is not above 0.
    """
    settings = settings or AllocationSettings()
    (c_N,) = check_members(("contribution", contributions_N))
    alone_N = np.full(len(c_N), -np.inf)
    if standalone_N is not None:
        _, alone_N = check_members(("contribution", c_N), ("standalone", standalone_N))
    if curve.widths[-1] != 1.0:
        raise ValueError(f"the curve ends at width {curve.widths[-1]}, not at the full model")
    fitted = fit_curve(curve)
    targets = _compute_owed(c_N, fitted, settings)
    owed_N = np.maximum(targets.accuracies_N, np.minimum(alone_N, fitted.accuracies[-1]))
    widths: list[float] = []
    shortfalls: list[Shortfall] = []
    for member, (owed, alone) in enumerate(zip(owed_N, alone_N, strict=True)):
        is_idle = settings.rule == "score" and c_N[member] <= 0
        width = _choose_width(float(owed), is_idle, fitted, settings)
        width = _widen(width, float(alone), fitted, settings.caution)
        widths.append(width)
        promised = _promise(fitted, width, settings.caution)
        if promised < alone:
            reason = _explain(float(alone), fitted, settings.caution)
            lacking = float(alone - promised)
            shortfalls.append(Shortfall(member, float(alone), promised, lacking, reason))
    predicted = tuple(get_accuracy(fitted, width) for width in widths)
    return Allocation(
        widths=tuple(widths),
        owed=list_floats(owed_N),
        predicted=predicted,
        pearson=compute_pearson(c_N, predicted),
        shortfalls=tuple(shortfalls),
        rule=targets.rule,
        nu=targets.nu,
    )


def _compute_owed(c_N: FloatArray, fitted: Curve, settings: AllocationSettings) -> Targets:
    low, high = fitted.accuracies[0], fitted.accuracies[-1]
    if settings.rule == "score":
        owed_N = convert_scores(c_N, low, high, settings.exponent)
        return Targets(owed_N, "flat" if low == high else "score", None)
    if low == high:  # nothing can be held back by width: everybody is owed the same
        return Targets(np.full(len(c_N), high), "flat", None)
    if settings.rule == "fair":
        return compute_targets(c_N, low, high)
    penalty = settings.penalty if settings.rule == "trade" else np.inf
    return solve_targets(c_N, low, high, penalty)


def _choose_width(owed: float, is_idle: bool, fitted: Curve, settings: AllocationSettings) -> float:
    """Return the grid's width for an owed accuracy; the full one for who is owed the most.

    is_idle: a score of nothing gets the least, even where the narrowest net is as good as the full.
    """
    grid = [width for width in fitted.widths if width >= settings.width_least]
    if is_idle and owed <= fitted.accuracies[0]:
        return grid[0]
    if owed >= fitted.accuracies[-1] - ROUNDING_SLACK:  # a last bit must not cost the full model
        return 1.0
    exact = find_width(fitted, owed)
    lower = max((w for w in grid if w <= exact + ROUNDING_SLACK), default=grid[0])
    upper = min((w for w in grid if w >= lower and w >= exact - ROUNDING_SLACK), default=1.0)
    is_upper = settings.rounding == "nearest" and upper - exact < exact - lower
    return upper if is_upper else lower


def _widen(width: float, alone: float, fitted: Curve, caution: float) -> float:
    """Return the narrowest width from `width` on that promises `alone`, else the full one."""
    wider = (w for w in fitted.widths if w >= width)
    return next((w for w in wider if _promise(fitted, w, caution) >= alone), 1.0)


def _promise(fitted: Curve, width: float, caution: float) -> float:
    return get_accuracy(fitted, width) - caution * get_error(fitted, width)


def _explain(alone: float, fitted: Curve, caution: float) -> str:
    full = fitted.accuracies[-1]
    if alone > full:
        return f"alone it reaches {alone:.4f}, the full model {full:.4f}"
    return (
        f"alone it reaches {alone:.4f}, the full model {full:.4f} less {caution:g} standard errors "
        f"of {fitted.errors[-1]:.4f}"
    )
