"""The report page: one file that opens from disk, in English and Japanese, and loads nothing.

Everything a member chose (names, reasons) is untrusted: the template escapes it, the data travels
in a JSON block whose markup characters are escaped, and the page's own policy (CSP) names the two
scripts by their digests, so that no other script can run and nothing can be fetched.
"""

from __future__ import annotations

import os
import shlex
from functools import cache
from pathlib import Path
from typing import Literal

from jinja2 import Environment
from markupsafe import Markup

from kumiai.apps.report import charts, summary, texts
from kumiai.apps.report.frame import (
    build_environment,
    embed,
    make_policy,
    read_file,
    read_library,
    show_twins,
)
from kumiai.apps.report.tables import build_tables
from kumiai.apps.view import MemberView, RunView
from kumiai.base.errors import StoreError

FILE_NAME = "report.html"
CHART_TEXTS = ("chart.", "verdict.", "account.", "column.round")  # what the page's script needs

PageLanguage = Literal["auto", "en", "ja"]


def render_report(view: RunView, language: PageLanguage = "auto") -> str:
    """The page as HTML. It starts in `language`; "auto" asks the browser, `?lang=ja` beats both.

    ValueError for another language; InternalError if the vendored chart library was changed.
    """
    if language not in ("auto", *texts.LANGUAGES):
        raise ValueError(f"language is {language!r}, not 'auto', 'en' or 'ja'")
    scripts = (read_library(), read_file("templates/report.js"))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            start="en" if language == "auto" else language,
            is_auto=language == "auto",
            headline=summary.build_headline(view),
            indicators=summary.build_indicators(view),
            figures=summary.build_figures(view),
            balance=summary.build_balance(view),
            unit=summary.get_unit(view),
            tables=build_tables(view),
            commands=_commands(view),
            style=Markup(read_file("templates/report.css")),  # noqa: S704 - ours, no value in it
            scripts=[Markup(script) for script in scripts],  # noqa: S704 - ours
            policy=make_policy(scripts),
            data=embed({"charts": charts.build_charts(view), "texts": _chart_texts()}),
        )
    )


def write_report(view: RunView, path: Path, language: PageLanguage = "auto") -> Path:
    """Write the page to `path` (or to `path/report.html`), whole or not at all."""
    target = path / FILE_NAME if path.is_dir() else path
    partial = target.with_name(target.name + ".partial")
    page = render_report(view, language)
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}", is_retriable=True) from error
    return target


@cache
def _environment() -> Environment:
    environment = build_environment("kumiai.apps.report")
    environment.globals.update(
        tip=_tip,
        named=_named,
        said=_unit,
        reason=_reason,
        conclude=_conclude,
        percent=texts.format_percent,
        nat=texts.format_nat,
        width=texts.format_width,
        epsilon=texts.format_epsilon,
        amount=texts.format_amount,
        size=texts.format_bytes,
        flop=texts.format_flop,
        duration=texts.format_seconds,
    )
    return environment


def _named(group: str, code: str) -> Markup:
    """The word for one of our codes in every language; an unknown code is shown as it is."""
    return show_twins([texts.load_texts(lang).name(group, code) for lang in texts.LANGUAGES])


def _unit(unit: str) -> Markup:
    return show_twins([texts.load_texts(lang).unit(unit) for lang in texts.LANGUAGES])


def _conclude(member: MemberView) -> Markup:
    return show_twins([texts.load_texts(lang).conclude(member) for lang in texts.LANGUAGES])


def _reason(sentence: str, code: str) -> Markup:
    return show_twins([texts.load_texts(lang).reason(sentence, code) for lang in texts.LANGUAGES])


def _tip(group: str, code: str, more: str = "") -> Markup:
    """Attributes for a hover text in every language; the page's script picks one."""
    words = [texts.load_texts(language).name(group, code) for language in texts.LANGUAGES]
    shown = [f"{word} {more}".strip() for word in words]
    return Markup('title="{0}" data-tip-en="{0}" data-tip-ja="{1}"').format(*shown)


def _chart_texts() -> dict[str, dict[str, str]]:
    return {
        language: {
            key: value
            for key, value in texts.load_texts(language).entries.items()
            if key.startswith(CHART_TEXTS)
        }
        for language in texts.LANGUAGES
    }


def _commands(view: RunView) -> list[tuple[str, str]]:
    """(catalogue key, command) to check this page offline, from inside the run's folder."""
    commands = [("verify.run", "kumiai verify .")]
    receipt = next((row for row in view.receipts if row.path), None)
    if receipt:
        commands.append(("verify.receipt", f"kumiai verify {shlex.quote(receipt.path)}"))
        member = shlex.quote(receipt.member)
        commands.append(("verify.inspect", f"kumiai inspect . --member {member}"))
    return commands
