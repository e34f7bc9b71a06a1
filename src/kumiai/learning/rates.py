"""The learning rate over the rounds of a run, as a share of the task's own: integers only.

    warm-up   r / W                                      for rounds r = 1 .. W
    constant  1
    linear    1 - (1 - e) t
    cosine    e + (1 - e) (1 + cos(pi t)) / 2            Loshchilov and Hutter, "SGDR: Stochastic
                                                         Gradient Descent with Warm Restarts", 2017,
                                                         without restarts
    step      f ** floor(n / k)                          n rounds since the warm-up

t = (r - W - 1) / (R - W - 1): 0 in the first round after the warm-up and 1 in the last one.
r: `round_number` (from 1), R: `rounds`, W: `warmup_rounds`, e: `final_ppm`, f: `step_ppm`,
k: `step_rounds`. Integers because a server rule may need the rate (SCAFFOLD) and every machine must
find the same one; the cosine is its power series in 40 decimal digits. Never 0: at least 1 ppm.
"""

from __future__ import annotations

from dataclasses import dataclass

from kumiai.base.amounts import PPM, divide_half_even

KINDS = ("constant", "linear", "cosine", "step")
SCALE = 10**40
PI = 31415926535897932384626433832795028841972  # pi * SCALE, rounded
TERMS = 24  # pi**48 / 48! < 1e-36


@dataclass(frozen=True)
class RateSchedule:
    """How the rate goes. step_ppm and step_rounds are of `step`, final_ppm of linear and cosine."""

    kind: str = "constant"
    warmup_rounds: int = 0
    final_ppm: int = 0
    step_rounds: int = 1
    step_ppm: int = 100_000

    def __post_init__(self) -> None:
        """Raise ValueError, with the number, for a schedule that cannot be."""
        if self.kind not in KINDS:
            raise ValueError(f"schedule {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.warmup_rounds < 0 or self.step_rounds < 1:
            raise ValueError(
                f"warmup_rounds {self.warmup_rounds} must not be negative and step_rounds "
                f"{self.step_rounds} at least 1"
            )
        if not 0 <= self.final_ppm <= PPM or not 1 <= self.step_ppm <= PPM:
            raise ValueError(
                f"final_ppm {self.final_ppm} and step_ppm {self.step_ppm} must lie within 0..{PPM}"
            )

    @property
    def is_constant(self) -> bool:
        """Whether every round has the task's own rate."""
        return self.kind == "constant" and self.warmup_rounds == 0


def compute_rate_ppm(schedule: RateSchedule, round_number: int, rounds: int) -> int:
    """Return the share of the learning rate in a round, in ppm, from 1 to PPM.

    Rounds beyond `rounds` keep the last one's. ValueError for a round before the first.
    """
    if round_number < 1 or rounds < 1:
        raise ValueError(f"round {round_number} of {rounds}: rounds count from 1")
    warmup = schedule.warmup_rounds
    if round_number <= warmup:
        return max(1, divide_half_even(PPM * round_number, warmup))
    done = min(round_number, rounds) - warmup - 1
    last = rounds - warmup - 1
    return max(1, _decay(schedule, max(0, done), max(1, last)))


def _decay(schedule: RateSchedule, done: int, last: int) -> int:
    """Return the rate `done` rounds after the warm-up's end, where `last` are the most."""
    fall = PPM - schedule.final_ppm
    if schedule.kind == "linear":
        return PPM - divide_half_even(fall * done, last)
    if schedule.kind == "cosine":
        above = SCALE + compute_cosine(done, last)
        return schedule.final_ppm + divide_half_even(fall * above, 2 * SCALE)
    if schedule.kind == "step":
        rate, steps = SCALE, done // schedule.step_rounds
        for _ in range(min(steps, TERMS * PPM.bit_length())):  # by then it is below 1 ppm, or 1
            rate = rate * schedule.step_ppm // PPM
        return divide_half_even(rate * PPM, SCALE)
    return PPM


def compute_cosine(numerator: int, denominator: int) -> int:
    """Return cos(pi * numerator / denominator) * 10**40 for a ratio within 0..1."""
    angle = PI * numerator // denominator
    square = angle * angle // SCALE
    total = term = SCALE
    for k in range(1, TERMS):
        term = -term * square // (SCALE * (2 * k - 1) * (2 * k))
        total += term
    return total
