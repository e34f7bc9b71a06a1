"""What every page of ours shares: two languages at once, scripts by digest, data that cannot run.

Each page is one file that opens from disk and loads nothing: its policy (CSP) names its scripts by
their digests, its data lies in a JSON block whose markup characters are escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from kumiai.apps.report import texts
from kumiai.base.errors import InternalError

CHART_LIBRARY = "vendor/echarts.min.js"
CHART_LIBRARY_SHA256 = "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"


def build_environment(package: str) -> Environment:
    """Templates of `package`, every value escaped, `t` for a sentence in every language."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(t=both)
    return environment


def read_file(name: str) -> str:
    """Return a file of the report, such as its style."""
    return (files("kumiai.apps.report") / name).read_text(encoding="utf-8")


@cache
def read_library() -> str:
    """Return the vendored chart library; InternalError if it was changed."""
    script = read_file(CHART_LIBRARY)
    digest = hashlib.sha256(script.encode()).hexdigest()
    if digest != CHART_LIBRARY_SHA256:
        raise InternalError(f"{CHART_LIBRARY} is {digest}, expected {CHART_LIBRARY_SHA256}")
    return script


def both(key: str, **places: Any) -> Markup:
    """The sentence in every language; the page's style shows one of them."""
    n = places.get("n")
    catalogues = [texts.load_texts(language) for language in texts.LANGUAGES]
    return show_twins(
        [
            Markup.escape(each.template(key, n)).format(**each.localise(places))
            for each in catalogues
        ]
    )


def show_twins(versions: list[Any]) -> Markup:
    """Put the versions beside each other, one a language; the page's style shows one."""
    if len(set(versions)) == 1:
        return Markup.escape(versions[0])
    return Markup("").join(
        Markup('<span class="l-{0}" lang="{0}">{1}</span>').format(language, version)
        for language, version in zip(texts.LANGUAGES, versions, strict=True)
    )


def embed(data: object) -> Markup:
    """JSON that cannot end its own block, whatever a member calls itself.

    ValueError for nan and infinity: no browser reads them, and the whole page would stand still.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped just above


def make_policy(scripts: tuple[str, ...]) -> str:
    """A content security policy: these scripts, the page's own style, nothing else at all."""
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
