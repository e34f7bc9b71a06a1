"""The page of plots: one file, English and Japanese, in the look of the run's report."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from kumiai.adapters.sim.economy.parameters import NAMES, describe
from kumiai.apps.economy.study import Study
from kumiai.apps.report import texts
from kumiai.apps.report.frame import (
    build_environment,
    embed,
    make_policy,
    read_file,
    read_library,
    show_twins,
)

ASSUMPTIONS = 6  # sentences `simulate.assumption.N` of the catalogues
SCRIPT = "templates/economy.js"


def render_page(study: Study, command: str) -> str:
    """The page as HTML; it starts in the browser's language, `?lang=ja` asks for one."""
    scripts = (read_library(), _read_script())
    rows = [
        {
            "row": row,
            "name": name_strategy(study, row.strategy),
            "honest": format_plain(row.honest),
            "deviating": format_plain(row.deviating),
            "margin": f"{format_signed(row.margin)} ± {row.interval:.3f}",
        }
        for row in study.margins
    ]
    return (
        _environment()
        .get_template("economy.html.j2")
        .render(
            study=study,
            rows=rows,
            remedies=_group_remedies(study),
            headline=_build_headline(study),
            sweep=_build_sweep(study),
            parameters=[
                {
                    "name": name,
                    "value": format_value(getattr(study.parameters, name)),
                    **{key: describe(name)[key] for key in ("unit", "source")},
                }
                for name in NAMES
            ],
            assumptions=range(1, ASSUMPTIONS + 1),
            command=command,
            style=Markup(read_file("templates/report.css")),  # noqa: S704 - ours
            scripts=[Markup(script) for script in scripts],  # noqa: S704 - ours
            policy=make_policy(scripts),
            data=embed({"charts": build_charts(study), "texts": _chart_texts(study)}),
        )
    )


def write_page(study: Study, path: Path, command: str) -> None:
    """Write the page."""
    path.write_text(render_page(study, command), encoding="utf-8")


def build_charts(study: Study) -> dict[str, Any]:
    """What the page's script draws, without words."""
    cheats = [point for point in study.points if point.name == "cheats"]
    return {
        "margins": [[row.strategy, row.margin, row.interval, row.verdict] for row in study.margins],
        "conduct": sorted(study.by_conduct.items(), key=lambda item: -item[1]),
        "loss": study.loss_T,
        "worlds": [[row.strategy, row.loss] for row in study.margins],
        "cheats": [[point.value, point.loss] for point in cheats],
        "stake": study.stake_gini,
        "income": study.income_gini,
    }


def name_strategy(study: Study, strategy: str) -> Markup:
    """The strategy with its numbers, in every language."""
    return show_twins(
        [name_in(study, strategy, texts.load_texts(language)) for language in texts.LANGUAGES]
    )


def name_in(study: Study, strategy: str, words: texts.Texts) -> str:
    """The strategy with its numbers, in one language."""
    chosen = study.parameters
    return words.template(f"simulate.strategy.{strategy}").format(
        n=chosen.sybils,
        slack=f"{chosen.slack:.0%}",
        whale=f"{chosen.whale:g}",
        collusion=f"{chosen.count_colluders() / chosen.validators:.0%}",
    )


def format_signed(value: float, digits: int = 3) -> str:
    """With a sign, a real minus, and none before a zero."""
    sign = "+" if value > 0 else ""
    return sign + format_plain(value, digits) if round(value, digits) else f"{0:.{digits}f}"


def format_plain(value: float, digits: int = 3) -> str:
    """With a real minus where it is negative, and none before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def format_value(value: float) -> str:
    """A parameter's value: 4000000 -> "4,000,000", 0.0005 -> "0.0005"."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _build_headline(study: Study) -> dict[str, Any]:
    def join(verdict: str) -> dict[str, str]:
        found = [row.strategy for row in study.margins if row.verdict == verdict]
        return {
            language: ("、" if language == "ja" else ", ").join(
                texts.load_texts(language).text(f"simulate.short.{name}") for name in found
            )
            for language in texts.LANGUAGES
        }

    return {"no": join("no"), "undecided": join("undecided")}


def _group_remedies(study: Study) -> list[dict[str, Any]]:
    """Per strategy that needs one: the changes that work, or why there are none."""
    groups = []
    for row in study.margins:
        mine = [remedy for remedy in study.remedies if remedy.strategy == row.strategy]
        if not mine:
            continue
        working = [
            {
                "parameter": remedy.name,
                "now": format_value(getattr(study.parameters, remedy.name)),
                "needed": format_value(round(remedy.value, 6)),
            }
            for remedy in mine
            if remedy.value is not None
        ]
        groups.append({"strategy": row.strategy, "working": working, "why": "nothing"})
    groups += [{"strategy": name, "working": [], "why": "settled"} for name in study.settled]
    return groups


def _build_sweep(study: Study) -> list[dict[str, Any]]:
    """The sweep as rows of cells: (margin, what colour)."""
    rows = []
    for point in study.points:
        cells = [
            (
                format_signed(margin, 2),
                "good" if margin > half else "bad" if margin < -half else "unsure",
            )
            for margin, half in point.margins.values()
        ]
        now = getattr(study.parameters, point.name)
        rows.append(
            {
                "name": point.name,
                "value": format_value(point.value),
                "is_now": point.value == now,
                "is_first": not rows or rows[-1]["name"] != point.name,
                "cells": cells,
            }
        )
    return rows


def _chart_texts(study: Study) -> dict[str, dict[str, str]]:
    """What the script says, and both titles."""
    chosen = ("simulate.chart.", "simulate.conduct.", "simulate.short.", "simulate.title")
    found = {}
    for language in texts.LANGUAGES:
        words = texts.load_texts(language)
        found[language] = {
            key.removeprefix("simulate."): value
            for key, value in words.entries.items()
            if key.startswith(chosen)
        }
        for row in study.margins:
            found[language][f"strategy.{row.strategy}"] = name_in(study, row.strategy, words)
    return found


@cache
def _read_script() -> str:
    return (Path(__file__).parent / SCRIPT).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = build_environment("kumiai.apps.economy")
    environment.globals.update(t_in=_say)
    return environment


def _say(language: texts.Language, key: str, **places: str) -> str:
    return texts.load_texts(language).text(key, **places)
