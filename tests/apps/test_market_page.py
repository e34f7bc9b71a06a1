"""A job's page: it says what happened, escapes what others wrote, and gives no secret away."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nostr_sdk", reason="the extra `market` is not installed")

from tests.market.small_world import make_market
from typer.testing import CliRunner

from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.apps.cli.app import app
from kumiai.apps.market.customer import COMMANDS, KIND, save_job
from kumiai.apps.market.demo import JOB
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.page import (
    JobPage,
    build_charts,
    judge_cards,
    read_page,
    render_page,
    write_names,
    write_page,
)
from kumiai.apps.market.places import Places
from kumiai.apps.market.summary import Acquaintance, RefusedRow, summarise
from kumiai.apps.market.wording import format_sat
from kumiai.apps.report.texts import LANGUAGES, load_texts
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InputError, StoreError
from kumiai.market import effects as fx
from kumiai.market.customer import Begin, Cancel, CustomerState
from kumiai.market.customer.state import Stage
from kumiai.market.kinds import Code, Policy
from kumiai.market.provider import Start
from kumiai.nodes.market.intents import Action, Debt, Intent, Outcome
from kumiai.nodes.market.ports import PaymentState
from kumiai.nodes.market.record import InputCodec

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
NWC_WALLET = f"nostr+walletconnect://{'a' * 64}?relay=wss%3A%2F%2Fr.example&secret={'9' * 64}"
SECRET_FIELDS = {"secret", "preimage", "seal_key", "token", "key", "bolt11", "seal"}


class Played:
    """A job that was played in one thread, and every input of its customer."""

    def __init__(self, policy: Policy = Policy.HOLD, **settings: Any) -> None:
        self.inputs: list[tuple[int, Any]] = []
        self.world, self.customer, self.providers = make_market(
            (policy,), arbiter="02" + "ab" * 32, **settings
        )
        take = self.customer.take

        def record(item: Any) -> None:
            self.inputs.append((self.world.now_s, item))
            take(item)

        self.customer.take = record  # type: ignore[method-assign]

    @property
    def plan(self) -> Any:
        return self.customer.machine.plan

    @property
    def state(self) -> CustomerState:
        return self.customer.state

    def play(self) -> Played:
        for provider in self.providers:
            provider.take(Start())
        self.world.run()
        self.customer.take(Begin())
        self.world.run()
        self.world.pass_time(60)
        return self

    def keep(self, root: Path, wallet: str = "embedded:bank.sqlite#me") -> MarketFolder:
        """Write the folder as a customer's node would have."""
        folder = MarketFolder(root)
        folder.create()
        places = Places((), ("http://me:word@127.0.0.1:2/?auth=q7z",), wallet)
        save_job(folder, JOB.format(seed=7), root, places, self.plan)
        journal = SqliteMarketJournal(folder.journal_path, KIND)
        codec = InputCodec(*COMMANDS)
        journal.append([codec.encode(at_s, item) for at_s, item in self.inputs])
        journal.close()
        return folder

    def pay(self, folder: MarketFolder, missing_msat: int = 0) -> None:
        """Write what the wallet said of each paid work."""
        intents = SqliteIntents(folder.money_path)
        for work in self.state.works.values():
            if work.stage is not Stage.PAID:
                continue
            preimage = sha256_hex(work.key.encode())
            debt = Debt("round", "job", work.round, work.provider)
            name = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
            amount = work.price_msat - missing_msat
            intents.add(Intent(work.key, Action.PAY, debt, amount, name, preimage=preimage))
            intents.put_outcome(work.key, Outcome(PaymentState.SETTLED, preimage))


class Elements(HTMLParser):
    """Collects tags, the text of scripts, and all other text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.text: list[str] = []
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self._open != "style":
            self.text.append(data)


def refuse_all(effect: fx.Judge) -> fx.Judged:
    lines = tuple(fx.JudgedLine(name, -1, -1, 10) for name, _, _ in effect.candidates)
    return fx.Judged(effect.key, 2_000_000, 100_000, lines)


def make_page(played: Played, **changes: Any) -> JobPage:
    page = JobPage(
        name="a job",
        description="",
        customer=played.plan.pubkey,
        summary=summarise(played.plan, played.state, {}),
        relays=("ws://127.0.0.1:1",),
        blobs=(),
        test_accuracy_ppm=908_000,
        told_msat=None,
    )
    return replace(page, **changes)


def read_text(html: str, language: str) -> str:
    """What a reader of one language sees, spaces made one."""
    other = "ja" if language == "en" else "en"
    shown = re.sub(rf'<span class="l-{other}"[^>]*>.*?</span>', "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", " ".join(Elements(shown).text))


def test_a_finished_job_says_who_got_what_for_how_much(tmp_path: Path) -> None:
    played = Played().play()
    folder = played.keep(tmp_path / "job")
    played.pay(folder)
    keys = [member.provider for member in played.state.members.values()]
    write_names(folder, {keys[0]: Acquaintance("Aoi", "honest")})
    (folder.root / "result.json").write_text(
        json.dumps({"model": played.state.model, "test_accuracy_ppm": 912_345})
    )
    page = read_page(folder)
    assert page.summary.money.earned_msat == played.state.spent_msat == 9_009
    assert page.summary.money.left_msat == 1_000_000 - 9_009
    assert judge_cards(page) == {"money": "good", "quality": "good", "who": "good"}
    path = write_page(folder)
    assert path == folder.root / "report.html"
    html = path.read_text(encoding="utf-8")
    text = read_text(html, "en")
    assert "On test data that no provider ever saw, it is right 91.2% of the time." in text
    assert "3 providers were paid 9.009 sat for 9 accepted pieces of work." in text
    assert "Aoi" in text and keys[1][:8] in text
    for work in played.state.works.values():
        assert work.result is not None and work.result.id in html
    assert "テストデータ" in read_text(html, "ja")
    assert "kumiai wallet reconcile --folder ." in text  # whatever the wallet, wherever it is


def test_amounts_end_with_their_last_digit_that_counts() -> None:
    shown = [format_sat(msat) for msat in (0, 19_500, 9_009, 1_234_560, 10_000, -1_500)]
    assert shown == ["0 sat", "19.5 sat", "9.009 sat", "1,234.56 sat", "10 sat", "−1.5 sat"]


def test_rounds_show_the_model_after_them() -> None:
    played = Played().play()
    summary = summarise(played.plan, played.state, {})
    measured = [done.loss_ppm for done in played.state.history]
    assert summary.start_loss_ppm == measured[0]
    losses = [row.loss_ppm for row in summary.history]
    assert losses == [*measured[1:], played.state.final_loss_ppm]
    assert [(row.accepted, row.refused) for row in summary.history] == [(3, 0)] * 3
    flows = build_charts(summary)["flows"]
    assert sum(flow["value"] for flow in flows) == played.plan.budget_msat
    assert [flow["kind"] for flow in flows] == ["provider"] * 3 + ["left"]


def test_money_that_the_wallet_denies_is_bad(tmp_path: Path) -> None:
    played = Played().play()
    folder = played.keep(tmp_path / "job")
    assert judge_cards(read_page(folder))["money"] == "unsure"  # nobody asked a wallet
    played.pay(folder, missing_msat=1)
    page = read_page(folder)
    assert judge_cards(page)["money"] == "bad"
    assert "the wallet disagrees" in read_text(render_page(page), "en")


def test_a_job_that_ended_early_says_why() -> None:
    played = Played(plan={"attempts_max": 2, "faults_max": 9})
    played.world.judging = refuse_all
    played.play()
    assert played.state.outcome == "round 1 gave nothing in 2 attempts"
    html = render_page(make_page(played, test_accuracy_ppm=None))
    text = read_text(html, "en")
    assert "The job ended before its time: round 1 gave nothing in 2 attempts." in text
    assert "Nobody was paid anything." in text and "not accepted" in text
    assert "The whole budget of 1,000 sat is still the customer's." in text
    assert judge_cards(make_page(played))["quality"] == "bad"
    assert "ラウンド 1 は 2 回試しても成果がありませんでした" in read_text(html, "ja")


def test_what_was_paid_in_advance_and_not_accepted_is_said_apart() -> None:
    played = Played(Policy.FAIR, plan={"attempts_max": 1})
    played.world.judging = refuse_all
    played.play()
    page = make_page(played, told_msat=played.state.spent_msat, test_accuracy_ppm=None)
    money = page.summary.money
    assert money.earned_msat == 0 and money.unearned_msat == played.state.spent_msat == 3_003
    assert judge_cards(page)["money"] == "good"
    text = read_text(render_page(page), "en")
    assert "Paid in advance, not accepted 3.003 sat" in text
    assert "3.003 sat of it was paid in advance for work that was then not accepted." in text
    assert "Money moves only for accepted work" not in text


def test_a_cancelled_and_an_unposted_job_have_a_page(tmp_path: Path) -> None:
    played = Played()
    for command in (Begin(), Cancel()):
        played.customer.take(command)
        played.world.run()
    text = read_text(render_page(make_page(played, test_accuracy_ppm=None)), "en")
    assert "the customer cancelled it" in text
    folder = Played().keep(tmp_path / "job")
    page = read_page(folder)
    assert page.summary.job == "" and not page.summary.works
    html = render_page(page)
    assert "The job is not finished: not posted." in read_text(html, "en")
    assert judge_cards(page) == {"money": "unsure", "quality": "bad", "who": "bad"}


def test_what_others_wrote_cannot_break_out() -> None:
    played = Played().play()
    summary = summarise(played.plan, played.state, {})
    summary = replace(summary, refused=(RefusedRow(1, "late", "too late", "ab", "cd"),))
    clean = make_page(played, summary=summary)
    evil = replace(
        summary,
        outcome=EVIL,
        providers=(
            replace(summary.providers[0], name=EVIL, conduct=EVIL, codes=(EVIL,), payment=EVIL),
            *summary.providers[1:],
        ),
        works=(replace(summary.works[0], code=EVIL), *summary.works[1:]),
        refused=(RefusedRow(1, EVIL, EVIL, EVIL, EVIL), RefusedRow(1, "late", EVIL, EVIL, EVIL)),
    )
    page = replace(clean, name=EVIL, description=EVIL, relays=(EVIL,), blobs=(EVIL,), summary=evil)
    honest, attacked = Elements(render_page(clean)), Elements(render_page(page))
    assert {tag for tag, _ in attacked.tags} <= {tag for tag, _ in honest.tags}
    assert sum(tag == "script" for tag, _ in attacked.tags) == 3
    for _, attributes in attacked.tags:
        assert not any(name.startswith("on") for name in attributes)
    assert EVIL in "".join(attacked.text)
    data = next(text for attributes, text in attacked.scripts if attributes)
    assert EVIL in [flow["name"] for flow in json.loads(data)["charts"]["flows"]]


def find_secrets(value: Any, name: str = "") -> Iterator[str]:
    """Every string of a field that is called like a secret, wherever it lies."""
    if isinstance(value, str):
        if name in SECRET_FIELDS and len(value) >= 12:
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_secrets(item, name if name in SECRET_FIELDS else str(key))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from find_secrets(item, name)
    elif is_dataclass(value):
        for part in fields(value):
            if part.name != "refs":  # names of public blobs
                yield from find_secrets(getattr(value, part.name), part.name)


@pytest.mark.parametrize("policy", list(Policy))
def test_no_secret_of_the_job_is_on_its_page(policy: Policy, tmp_path: Path) -> None:
    played = Played(policy).play()
    folder = played.keep(tmp_path / "job", wallet=NWC_WALLET)
    played.pay(folder)
    found = {*find_secrets(played.plan), *find_secrets(played.state)}
    found |= {item for _, entry in played.inputs for item in find_secrets(entry)}
    effects = {"publish", "store", "fetch", "judge", "combine", "pay", "open"}
    found = {item for item in found if item.split("/")[0] not in effects}
    expected = {
        Policy.HOLD: {work.preimage for work in played.state.works.values()},
        Policy.ESCROW: {work.token for work in played.state.works.values()},
    }.get(policy, {work.seal_key for work in played.state.works.values()})
    assert expected <= found and len(expected) == 9
    found |= set(folder.key_path.read_text().split()) | {"9" * 64, "me:word", "q7z"}
    found.add(played.plan.secret)
    html = render_page(read_page(folder))
    shown = {secret for secret in found if secret in html}
    assert shown == set()
    assert "http://127.0.0.1:2/" in html and "walletconnect" not in html


def test_policy_names_exactly_the_two_scripts_of_the_page() -> None:
    elements = Elements(render_page(make_page(Played().play())))
    policy = next(
        a["content"] for _, a in elements.tags if "Content-Security" in a.get("http-equiv", "")
    )
    scripts = [text for attributes, text in elements.scripts if not attributes]
    assert len(scripts) == 2 and policy.count("sha256-") == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy


def test_the_page_loads_nothing_and_its_references_lead_somewhere() -> None:
    elements = Elements(render_page(make_page(Played().play())))
    ids = [a["id"] for _, a in elements.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in elements.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form")
        assert not {"src", "srcset", "action"} & set(attributes)
        assert attributes.get("href", f"#{ids[0]}")[1:] in ids
        assert attributes.get("aria-labelledby", ids[0]) in ids
    script = (files("kumiai.apps.market") / "templates" / "market.js").read_text(encoding="utf-8")
    for word in ("http", "fetch(", "XMLHttpRequest", "import(", "localStorage", "eval("):
        assert word not in script


def test_both_languages_have_every_sentence_of_the_page() -> None:
    whole = [load_texts(language).entries for language in LANGUAGES]
    english, japanese = ({k: it[k] for k in it if k.startswith("market.")} for it in whole)
    assert set(english) == set(japanese)
    places = re.compile(r"\{(\w+)\}")
    for key, sentence in english.items():
        assert set(places.findall(sentence)) == set(places.findall(japanese[key])), key
    root = Path(str(files("kumiai.apps.market")))
    said = "".join(
        path.read_text(encoding="utf-8")
        for path in root.rglob("*")
        if path.suffix in (".py", ".j2", ".js")
    )
    codes = {"rejected", "nothing", "open", "good", "unsure", "bad"}
    for key in english:
        if key.startswith("market.page."):
            last = key.removesuffix(".one").rpartition(".")[2]
            is_reason = ".reason." in key or ".payment." in key
            assert last in codes or is_reason or last in said, f"{key} is never said"
    for code in Code:
        assert f"market.code.{code}" in english


def test_a_page_is_written_again_by_a_command(tmp_path: Path) -> None:
    folder = Played().play().keep(tmp_path / "job")
    runner = CliRunner()
    done = runner.invoke(app, ["market", "report", str(folder.root)])
    assert done.exit_code == 0 and done.output.strip() == str(folder.root / "report.html")
    assert 'data-auto="yes"' in (folder.root / "report.html").read_text(encoding="utf-8")
    out = tmp_path / "page.html"
    asked = ["market", "report", str(folder.root), "--out", str(out), "--lang", "ja"]
    assert runner.invoke(app, asked).exit_code == 0
    assert '<html lang="ja" data-lang="ja" data-auto="no"' in out.read_text()
    assert not list(tmp_path.rglob("*.partial"))
    with pytest.raises(StoreError, match="cannot write"):
        write_page(folder, tmp_path / "absent" / "page.html")
    with pytest.raises(InputError, match="no customer lives there"):
        write_page(MarketFolder(tmp_path))


def test_names_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    played = Played().play()
    folder = played.keep(tmp_path / "job")
    for text in ("[]", "{", '{"x": 1}', json.dumps({"ab" * 32: "no entry"}), "[" * 100_000):
        (folder.root / "names.json").write_text(text)
        assert all(row.name == "" for row in read_page(folder).summary.providers)
