"""The comparison as one picture: contribution against received accuracy, and the measures.

Above, for each split, every member of one number of members and one data set: a fair method's
points lie on a rising line. Below, for each method, the mean of a measure over all cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from kumiai.adapters.sim.rewards.compare import METHODS, Score
from kumiai.apps.bench.aequa import OURS, Results, Row

WIDTH, PANEL, GAP = 1120, 230, 40
COLOURS = dict(
    zip(
        METHODS,
        ("#0b7a75", "#8a8f98", "#c9a227", "#b4532a", "#7b5ea7", "#3b6fb6", "#a34d6d", "#6c8c3c"),
        strict=True,
    )
)
SHOWN = ("aequa", "fedavg", "fedavg-ft", "cgsv", "iafl", "heterofl")


def draw(results: Results, rows: Sequence[Row], words: dict[str, str]) -> str:
    """Return an SVG. words: title, contribution, received, and the measures' names."""
    parts = [_text(24, 34, words["title"], 20, "600")]
    parts += _draw_legend(24, 58)
    source, members = results[0][0].source, max(c.members for c, _ in results)
    members = 10 if any(c.members == 10 for c, _ in results) else members
    splits = list(dict.fromkeys(cell.split for cell, _ in results))
    for place, split in enumerate(splits):
        left = 60 + place * (PANEL + GAP)
        chosen = [
            scores
            for cell, scores in results
            if (cell.source, cell.split, cell.members) == (source, split, members)
        ]
        title = f"{split}: {source}, {members}"
        parts += _draw_scatter(left, 90, title, chosen, words, is_first=not place)
    for place, measure in enumerate(("pearson", "best", "gain_spread", "gain_least")):
        left = 60 + place * (PANEL + GAP)
        parts += _draw_bars(left, 400, words[measure], measure, rows)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 660" width="{WIDTH}" '
        f'height="660" font-family="system-ui, sans-serif"><rect width="100%" height="100%" '
        f'fill="#fff"/>\n{body}\n</svg>\n'
    )


def _draw_legend(left: int, top: int) -> list[str]:
    parts = []
    for method, colour in COLOURS.items():
        parts.append(f'<circle cx="{left + 5}" cy="{top - 4}" r="5" fill="{colour}"/>')
        parts.append(_text(left + 15, top, method, 13))
        left += 40 + 8 * len(method)
    return parts


def _draw_scatter(
    left: int,
    top: int,
    title: str,
    seeds: Sequence[Sequence[Score]],
    words: dict[str, str],
    *,
    is_first: bool,
) -> list[str]:
    """Draw contribution (across) against received accuracy (up), both 0 to 1."""
    parts = [_text(left, top - 4, title, 13, "600"), *_draw_frame(left, top)]
    for scores in seeds:
        for score in scores:
            if score.method not in SHOWN:
                continue
            radius = 3.4 if score.method == OURS else 2
            pairs = zip(score.contributions, score.received, strict=True)
            colour = COLOURS[score.method]
            for across, up in pairs:
                x, y = left + across * PANEL, top + (1 - up) * PANEL
                parts.append(
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" '
                    f'fill-opacity="0.75"/>'
                )
    parts.append(
        _text(left + PANEL / 2, top + PANEL + 32, words["contribution"], 12, anchor="middle")
    )
    if is_first:
        parts.append(
            f'<text x="18" y="{top + PANEL / 2}" font-size="12" fill="#333" text-anchor="middle" '
            f'transform="rotate(-90 18 {top + PANEL / 2})">{escape(words["received"])}</text>'
        )
    return parts


def _draw_frame(left: int, top: int) -> list[str]:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + tick * PANEL, top + (1 - tick) * PANEL
        parts.append(
            f'<path d="M{left} {y}H{left + PANEL}M{x} {top}V{top + PANEL}" stroke="#e4e6ea"/>'
        )
        parts.append(_text(left - 6, y + 4, f"{tick:g}", 11, anchor="end"))
        parts.append(_text(x, top + PANEL + 15, f"{tick:g}", 11, anchor="middle"))
    return parts


def _draw_bars(left: int, top: int, title: str, measure: str, rows: Sequence[Row]) -> list[str]:
    """Draw each method's mean over all cells; bars to the left are below 0."""
    means = {}
    for method in COLOURS:
        values = [getattr(row, measure) for row in rows if row.method == method]
        means[method] = sum(values) / len(values)
    low, high = min(0.0, *means.values()), max(0.0, *means.values())
    scale = 120 / ((high - low) or 1.0)
    zero = left + 70 - low * scale
    parts = [_text(left, top, title, 13, "600")]
    for place, (method, value) in enumerate(means.items()):
        y = top + 16 + place * 26
        x, length = (zero, value * scale) if value >= 0 else (zero + value * scale, -value * scale)
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{max(length, 0.5):.1f}" height="16" '
            f'fill="{COLOURS[method]}"/>'
        )
        parts.append(_text(left + 64, y + 13, method, 12, anchor="end"))
        end = max(zero, zero + value * scale)
        parts.append(_text(end + 4, y + 13, f"{value:.3f}", 12))
    return parts


def _text(
    x: float, y: float, text: str, size: int, weight: str = "400", anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="#222">{escape(text)}</text>'
    )
