"""The page: self-contained, bilingual, safe against its members' names, and its sums are right."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from string import Formatter

import pytest

from kumiai.apps.flows import ESCROW
from kumiai.apps.report import frame, render_report, write_report
from kumiai.apps.report.charts import (
    BARS_MAX,
    SANKEY_NODES_MAX,
    build_charts,
    build_money,
    sum_flows,
)
from kumiai.apps.report.summary import build_balance, build_headline, build_indicators
from kumiai.apps.report.tables import RECEIPTS_MAX, build_tables
from kumiai.apps.report.texts import (
    LANGUAGES,
    format_bits,
    format_bytes,
    format_nat,
    format_seconds,
    format_width,
    load_texts,
)
from kumiai.apps.view import FlowView, RunView
from kumiai.base.errors import InternalError, StoreError
from kumiai.rounds.receipt import REASONS

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"


class Elements(HTMLParser):
    """Collects tags with their attributes, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.raw: list[tuple[str, dict[str, str], str]] = []
        self._open: tuple[str, dict[str, str]] | None = None
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        self._open = (tag, found) if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        if self._open:
            text = self.raw.pop()[2] if self.raw and self.raw[-1][1] is self._open[1] else ""
            self.raw.append((*self._open, text + data))
        else:
            self.text.append(data)


def read(html: str) -> Elements:
    elements = Elements()
    elements.feed(html)
    return elements


@pytest.fixture
def html(sample_view: RunView) -> str:
    return render_report(sample_view)


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    elements = read(html)
    for tag, attributes in elements.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "source", "form")
        for name in ("src", "srcset", "data", "action", "poster", "background"):
            assert name not in attributes
        assert attributes.get("href", "#").startswith("#")
    styles = "".join(text for tag, _, text in elements.raw if tag == "style")
    assert "url(" not in styles and "@import" not in styles and "http" not in styles
    own = (files("kumiai.apps.report") / "templates" / "report.js").read_text(encoding="utf-8")
    for word in ("http", "fetch(", "XMLHttpRequest", "import(", "localStorage", "cookie", "eval("):
        assert word not in own


def test_policy_allows_exactly_the_two_scripts_of_the_page(html: str) -> None:
    elements = read(html)
    policy = next(
        a["content"] for _, a in elements.tags if "Content-Security" in a.get("http-equiv", "")
    )
    scripts = [text for tag, attributes, text in elements.raw if tag == "script" and not attributes]
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == 2
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy


def test_vendored_library_is_the_recorded_one(monkeypatch: pytest.MonkeyPatch, html: str) -> None:
    data = (files("kumiai.apps.report") / frame.CHART_LIBRARY).read_bytes()
    assert hashlib.sha256(data).hexdigest() == frame.CHART_LIBRARY_SHA256
    folder = files("kumiai.apps.report") / "vendor"
    assert frame.CHART_LIBRARY_SHA256 in (folder / "README.md").read_text()
    assert "Apache License" in (folder / "LICENSE.echarts").read_text()
    frame.read_library.cache_clear()
    monkeypatch.setattr(frame, "CHART_LIBRARY_SHA256", "0" * 64)
    with pytest.raises(InternalError, match="expected 000"):
        frame.read_library()
    frame.read_library.cache_clear()


def test_names_and_reasons_cannot_break_out(sample_view: RunView) -> None:
    evil = replace(sample_view.members[0], name=EVIL, reason=EVIL, reason_code="", model_path=EVIL)
    view = replace(
        sample_view,
        task={**sample_view.task, "name": EVIL, "description": EVIL},
        scenario=EVIL,
        members=(evil, *sample_view.members[1:]),
        flows=(*sample_view.flows, FlowView("escrow", EVIL, 90_000, EVIL)),
        certificates=tuple(replace(c, signers=(EVIL,)) for c in sample_view.certificates),
        receipts=tuple(
            replace(r, member=EVIL, reason=EVIL, path=EVIL, reason_code="x")
            for r in sample_view.receipts[:9]
        ),
        notes=(EVIL,),
        environment={EVIL: EVIL},
        indicators={**sample_view.indicators, "owner": EVIL},
    )
    clean, attacked = read(render_report(sample_view)), read(render_report(view))
    allowed = {tag for tag, _ in clean.tags}
    assert {tag for tag, _ in attacked.tags} <= allowed
    assert sum(tag == "script" for tag, _ in attacked.tags) == 3
    for _, attributes in attacked.tags:
        assert not any(name.startswith("on") for name in attributes)
    assert EVIL in "".join(attacked.text)
    block = next(text for tag, a, text in attacked.raw if a.get("id") == "data")
    assert any(bar["name"] == EVIL for bar in json.loads(block)["charts"]["bars"])


def test_both_catalogues_have_the_same_keys_and_places() -> None:
    english, japanese = (load_texts(language).entries for language in LANGUAGES)
    assert set(english) == set(japanese)

    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}

    for key in english:
        assert places(english[key]) == places(japanese[key]), key
        assert english[key].strip() and japanese[key].strip(), key
    same = [key for key in english if english[key] == japanese[key] and key != "verdict.-"]
    assert same == []


def test_every_reason_of_the_protocol_is_translated() -> None:
    for code in REASONS:
        assert load_texts("ja").has(f"reason.{code}"), code


def test_no_sentence_of_the_catalogue_is_unused() -> None:
    root = Path(str(files("kumiai.apps")))
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in root.rglob("*")
        if path.suffix in (".py", ".j2") or path.name == "report.js"
    )
    by_code = (
        "reason.", "role.", "roles.", "verdict.", "behaviour.", "account.", "flow.", "phase.",
        "check.", "unit.", "fact.", "figure.", "indicator.", "status.", "balance.", "nav.",
        "column.", "flower.column.", "transaction.", "bench.", "card.row.", "card.limit.",
        "card.where", "card.inputs_of.", "alone.", "export.who_", "simulate.",
        "chain.do.", "chain.advice.", "chain.status.", "chain.status_of.", "chain.money.",
        "chain.dispute.", "market.column.", "market.code.", "market.stage.", "market.standing.",
        "market.phase.", "market.conduct.", "market.ended.", "market.page.", "wallet.",
        "market.trouble_of.",
    )  # fmt: skip
    unused = [
        key
        for key in load_texts("en").entries
        if not key.startswith(by_code)
        and f'"{key.removesuffix(".one")}"' not in source.replace("'", '"')
    ]
    assert unused == []


def test_page_shows_both_languages_and_starts_as_asked(sample_view: RunView, html: str) -> None:
    for language in LANGUAGES:
        assert load_texts(language).text("section.members") in html
    assert '<html lang="en" data-lang="en" data-auto="yes"' in html
    assert '<html lang="ja" data-lang="ja" data-auto="no"' in render_report(sample_view, "ja")
    with pytest.raises(ValueError, match="'fr'"):
        render_report(sample_view, "fr")  # type: ignore[arg-type]


def test_every_member_round_and_receipt_is_on_the_page(sample_view: RunView, html: str) -> None:
    text = "".join(read(html).text)
    for member in sample_view.members:
        assert member.name in text
        assert f"{member.reward:,}" in text
    for receipt in sample_view.receipts:
        assert receipt.path in text and receipt.hash in html
    for certificate in sample_view.certificates:
        assert certificate.hash in html
    assert "kumiai verify ." in text


def test_headings_do_not_skip_a_level(html: str) -> None:
    levels = [int(tag[1]) for tag, _ in read(html).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_references_point_at_something(html: str) -> None:
    elements = read(html)
    ids = [a["id"] for _, a in elements.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in elements.tags:
        for name in ("aria-labelledby",):
            assert attributes.get(name, ids[0]) in ids
        assert attributes.get("href", f"#{ids[0]}")[1:] in ids


def test_headline_says_what_happened(sample_view: RunView) -> None:
    keys = [sentence.key for sentence in build_headline(sample_view)]
    assert keys == ["headline.learned", "headline.refused", "headline.money"]
    failed = replace(sample_view, phase="FAILED")
    assert build_headline(failed)[0].key == "headline.stopped"
    honest = tuple(m for m in sample_view.members if m.verdict != "INVALID")
    assert build_headline(replace(sample_view, members=honest))[1].key == "headline.nobody_refused"


def test_balance_finds_a_missing_unit(sample_view: RunView) -> None:
    assert build_balance(sample_view).difference == 0
    short = replace(
        sample_view, totals={**sample_view.totals, "paid": sample_view.totals["paid"] - 1}
    )
    assert build_balance(short).difference == 1
    assert "differs by" in render_report(short) and "adds up to the unit" not in render_report(
        short
    )


def test_indicators_name_what_is_not_on_record(sample_view: RunView) -> None:
    ownership, compute, people = build_indicators(sample_view)
    assert (ownership.status, compute.status, people.status) == ("unsure", "good", "good")
    nobody = replace(sample_view, indicators={**sample_view.indicators, "owner": ""})
    assert build_indicators(nobody)[0].status == "bad"
    counted = {"stop_guardians": 3, "stop_required": 2, "members_signed": 16}
    whole = replace(sample_view, indicators={**sample_view.indicators, **counted})
    facts = {fact.key: fact for fact in build_indicators(whole)[2].facts}
    assert facts["members_signed"].sentence is not None
    assert facts["members_signed"].sentence.places == {"n": 16, "total": 16}


def test_money_picture_has_no_cycle_and_loses_nothing_big(sample_view: RunView) -> None:
    money = build_money(sample_view)
    ids = {node["id"] for node in money["nodes"]}
    assert all({link["source"], link["target"]} <= ids for link in money["links"])
    assert "Kumiai Parts Co-op\tback" in ids
    out = sum(link["value"] for link in money["links"] if link["source"] == ESCROW)
    assert out == sample_view.totals["funded"]


def test_money_picture_survives_circles_and_crowds(sample_view: RunView) -> None:
    circle = [FlowView("a", "b", 5, "x"), FlowView("b", "c", 5, "x"), FlowView("c", "a", 5, "x"),
              FlowView("a", "a", 5, "x")]  # fmt: skip
    links = build_money(replace(sample_view, flows=tuple(circle)))["links"]
    assert [(link["source"], link["target"]) for link in links] == [
        ("a", "b"), ("b", "c"), ("c", "a\tback"), ("a", "a\tback"),
    ]  # fmt: skip
    crowd = tuple(replace(sample_view.members[0], name=f"m{i}") for i in range(500))
    flows = tuple(FlowView("escrow", f"m{i}", 1_000 + i, "final") for i in range(500))
    view = replace(sample_view, members=crowd, flows=flows, receipts=())
    money = build_money(view)
    assert len(money["nodes"]) == SANKEY_NODES_MAX + 2
    assert sum(link["value"] for link in money["links"]) == sum(flow.amount for flow in flows)
    assert len(build_charts(view)["bars"]) == BARS_MAX
    assert "200 more are in the run" in render_report(view)


def test_flows_are_summed_by_pair_and_kind() -> None:
    rows = [FlowView("a", "b", 2, "x"), FlowView("a", "b", 3, "x"), FlowView("a", "b", 0, "y")]
    assert sum_flows(rows) == [FlowView("a", "b", 5, "x")]


def test_too_many_receipts_are_left_to_the_folder(sample_view: RunView) -> None:
    one = sample_view.receipts[0]
    many = tuple(replace(one, round=i) for i in range(1, RECEIPTS_MAX + 1))
    tables = build_tables(replace(sample_view, receipts=(*sample_view.receipts[9:], *many)))
    assert sum(len(rows) for _, rows in tables.receipts) <= RECEIPTS_MAX
    assert tables.receipts_left_out > 0


def test_an_empty_run_still_makes_a_page() -> None:
    view = RunView({"name": "nothing"}, "0" * 64, "", "FAILED", 0)
    assert "FAILED" in render_report(view)


def test_write_is_whole_or_not_at_all(sample_view: RunView, tmp_path: Path) -> None:
    path = write_report(sample_view, tmp_path)
    assert path == tmp_path / "report.html" and path.read_text(encoding="utf-8").startswith(
        "<!doctype"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(StoreError, match="cannot write"):
        write_report(sample_view, tmp_path / "absent" / "report.html")


def test_numbers_are_written_for_people() -> None:
    assert format_bytes(0) == "0 B" and format_bytes(2_930_000) == "2.93 MB"
    assert format_bits(3_465_736, 2_500_000) == "2.00"  # 5 ln 2 nats a token of 2.5 bytes
    assert format_bits(None, 1_000_000) == format_bits(1_000_000, 0) == "–"
    assert format_nat(-188_000) == "−0.1880" and format_nat(0) == "0.0000"
    assert (
        format_width(250_000) == "25%"
        and format_width(0) == "–"
        and format_width(333_000) == "33.3%"
    )
    assert [format_seconds(s) for s in (0.04, 59.96, 75, 7300)] == [
        "0.0 s", "1 min 00 s", "1 min 15 s", "2 h 01 min",
    ]  # fmt: skip


def test_numbers_that_no_browser_reads_do_not_reach_a_page() -> None:
    for number in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="JSON"):
            frame.embed({"margin": [number]})
    assert frame.embed({"name": "</script>&"}) == '{"name":"\\u003c/script\\u003e\\u0026"}'


def test_every_word_of_the_market_has_a_sentence() -> None:
    """A screen that lacks one would end the node that it shows."""
    from kumiai.market.customer import state as buying
    from kumiai.market.kinds import Code
    from kumiai.market.provider import state as selling

    words = {
        "stage": {*buying.Stage, *selling.Stage},
        "standing": {*buying.Standing, *selling.Standing},
        "phase": set(buying.Phase),
        "code": set(Code),
    }
    for language in LANGUAGES:
        entries = load_texts(language).entries
        for group, values in words.items():
            for value in values:
                assert f"market.{group}.{value}" in entries, value
