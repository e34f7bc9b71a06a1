"""A line chart with a logarithmic abscissa as one SVG text, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 900, 560
LEFT, RIGHT, TOP, BOTTOM = 70, 210, 50, 60  # margins; the right one holds the names
COLOURS = (
    "#1b6ca8", "#d1495b", "#2e933c", "#e39e21", "#6d4ca3", "#12908e",
    "#a3532f", "#7a7a7a", "#c2559d", "#4059ad", "#7f9f1f", "#000000",
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """points: (x > 0, y), in ascending x."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_log_chart(
    curves: Sequence[Curve],
    title: str,
    x_label: str,
    y_label: str,
    level: tuple[str, float] | None = None,
    name_power: Callable[[int], str] | None = None,
) -> str:
    """Return the chart; each curve is named at the right, in its colour.

    level: a name and a y at which a dashed line goes across. name_power: the abscissa's labels,
    by power of ten; bytes without it.
    """
    xs = [math.log10(x) for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    x_low, x_high = math.floor(min(xs)), math.ceil(max(xs))
    y_low, y_high = math.floor(min(ys) * 5) / 5, math.ceil(max(ys) * 5) / 5

    def place(x_log: float, y: float) -> tuple[float, float]:
        across = (x_log - x_low) / max(x_high - x_low, 1e-9)
        up = (y - y_low) / max(y_high - y_low, 1e-9)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (
            HEIGHT - TOP - BOTTOM
        )

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="13"><rect width="{WIDTH}" height="{HEIGHT}" '
            f'fill="#fff"/><text x="{LEFT}" y="28" font-size="17">{escape(title)}</text>'
        )
    ]
    for power in range(x_low, x_high + 1):
        x, bottom = place(power, y_low)
        parts.append(_line(x, TOP, x, bottom, "#ddd"))
        parts.append(_text(x, bottom + 18, (name_power or _name_power)(power), "middle"))
    steps = 8
    for step in range(steps + 1):
        value = y_low + (y_high - y_low) * step / steps
        left, y = place(x_low, value)
        parts.append(_line(left, y, WIDTH - RIGHT, y, "#eee"))
        parts.append(_text(left - 8, y + 4, f"{value:.2f}", "end"))
    if level is not None:
        left, y = place(x_low, level[1])
        dashed = _line(left, y, WIDTH - RIGHT, y, "#333").replace("/>", ' stroke-dasharray="5 4"/>')
        parts += [dashed, _text(left + 6, y - 5, level[0], "start")]
    for index, curve in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        places = [place(math.log10(x), y) for x, y in curve.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        x, y = places[-1]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
        row = TOP + 14 + 22 * index
        parts.append(_line(WIDTH - RIGHT + 16, row - 4, WIDTH - RIGHT + 36, row - 4, colour, 3))
        parts.append(_text(WIDTH - RIGHT + 42, row, curve.name, "start"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, x_label, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="18" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 18 {middle})">{escape(y_label)}</text></svg>'
    )
    return "\n".join(parts) + "\n"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _name_power(power: int) -> str:
    names = {0: "1 B", 3: "1 kB", 6: "1 MB", 9: "1 GB"}
    if power in names:
        return names[power]
    unit = 3 * (power // 3)
    return f"{10 ** (power - unit)} {names.get(unit, 'B')[2:]}"
