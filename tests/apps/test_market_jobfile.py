"""A job file's section `[market]`: what contradicts itself is told at once, all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.apps.market_town import JOB

from kumiai.apps.market.customer import create_job, read_plan
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import JUDGED_MAX, JobFile, parse_job, read_job_file
from kumiai.apps.market.places import Places
from kumiai.apps.market.planning import compute_round_msat
from kumiai.base.errors import InputError
from kumiai.market.terms import COMMITTEE_MAX
from kumiai.tasks.errors import TaskError

GOOD = JOB.format(
    name="job", trainers=2, rounds=1, epochs=1, offers_s=5, train_s=240, automatic="true"
)
KEYS = [f"{number:064x}" for number in range(1, 80)]
POINT = "02" + "ab" * 32


def write(**fields: object) -> str:
    """The good job with other fields in `[market]`."""
    lines = [x for x in GOOD.splitlines() if x.partition(" =")[0] not in fields]
    written = [
        f"{name} = {value if isinstance(value, list | int) else repr(value)}"
        for name, value in fields.items()
    ]
    return "\n".join([*lines, *written]).replace("'", '"')


def list_flaws(toml_text: str) -> list[tuple[str, object]]:
    with pytest.raises(TaskError) as told:
        parse_job(toml_text)
    return [(one.field_name, one.value) for one in told.value.problems]


def test_a_committee_and_a_jury_are_read_as_they_are_written() -> None:
    _, market = parse_job(write(committee=KEYS[:4], jury=KEYS[4:7], refused=KEYS[7:9]))
    assert market.committee == tuple(KEYS[:4])
    assert market.jury == tuple(KEYS[4:7])
    assert market.refused == tuple(KEYS[7:9])


@pytest.mark.parametrize(
    ("fields", "flaw"),
    [
        ({"committee": [KEYS[0], KEYS[0]]}, ("market.committee", [KEYS[0], KEYS[0]])),
        ({"jury": [KEYS[0], KEYS[0]]}, ("market.jury", [KEYS[0], KEYS[0]])),
        ({"committee": KEYS[:2], "jury": KEYS[1:3]}, ("market.jury", KEYS[1:3])),
        ({"committee": ["me"]}, ("market.committee", "me")),
        ({"committee": [KEYS[0].upper().replace("0", "A")]}, ("market.committee", "A" * 63 + "1")),
        ({"jury": ["npub1x"]}, ("market.jury", "npub1x")),
        ({"refused": [KEYS[0][1:]]}, ("market.refused", KEYS[0][1:])),
        ({"arbiter": "ab" * 32}, ("market.arbiter", "ab" * 32)),
        ({"arbiter": "04" + "ab" * 32}, ("market.arbiter", "04" + "ab" * 32)),
        ({"payment": ["hold", "hold"]}, ("market.payment", ["hold", "hold"])),
        ({"payment": ["escrow"], "arbiter": POINT}, ("market.payment", ["escrow"])),
        ({"payment": ["escrow"], "jury": KEYS[:1]}, ("market.payment", ["escrow"])),
    ],
)
def test_who_cannot_judge_is_told_and_nothing_else(
    fields: dict[str, object], flaw: tuple[str, object]
) -> None:
    """A job with such keys would be posted, and no reader could read it."""
    assert list_flaws(write(**fields)) == [flaw]


@pytest.mark.parametrize("name", ["committee", "jury"])
def test_more_judges_than_an_event_holds_are_refused(name: str) -> None:
    assert len(getattr(parse_job(write(**{name: KEYS[:COMMITTEE_MAX]}))[1], name)) == COMMITTEE_MAX
    ((field, _),) = list_flaws(write(**{name: KEYS[: COMMITTEE_MAX + 1]}))
    assert field == f"market.{name}"


def test_a_committee_judges_as_many_updates_as_its_judgement_holds() -> None:
    many = {"bid_sat": 1, "redundancy": 5}
    full = write(committee=KEYS[:1], **many).replace("trainers = 2", "trainers = 10")
    assert parse_job(full)[1].redundancy * 10 == JUDGED_MAX
    over = full.replace("trainers = 10", "trainers = 11")
    assert list_flaws(over) == [("market.committee", 1)]
    alone = write(**many).replace("trainers = 2", "trainers = 11")
    assert not parse_job(alone)[1].committee, "the customer alone judges as many as there are"


def test_all_flaws_are_told_at_once() -> None:
    fields = {
        field for field, _ in list_flaws(write(budget_sat=1, jury=["x"], payment=["hold", "hold"]))
    }
    assert fields == {"market.budget_sat", "market.jury", "market.payment"}


def test_flaws_of_the_task_hide_none_of_the_market() -> None:
    bad = write(bid_sat=0).replace("seed = 1", "seed = -1")
    assert {field for field, _ in list_flaws(bad)} == {"market.bid_sat", "seed"}


def test_a_job_is_of_assigned_data_unless_it_says_something_else() -> None:
    assert parse_job(GOOD)[0].data.mode == "assigned"


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    for name, why in (("bytes.toml", "no text in UTF-8"), ("none.toml", "No such file")):
        with pytest.raises(InputError, match=why):
            read_job_file(tmp_path / name)


def test_the_budget_holds_the_fees_of_a_round_where_payments_have_any() -> None:
    job = JobFile(*parse_job(GOOD), Path())
    assert compute_round_msat(job, has_fees=False) == 40_000
    assert compute_round_msat(job, has_fees=True) == 44_000
    escrow = write(payment=["escrow"], arbiter=POINT, jury=KEYS[:1])
    job = JobFile(*parse_job(escrow), Path())
    assert compute_round_msat(job, has_fees=True) == 40_000


def test_a_plan_says_whether_its_payments_have_fees(tmp_path: Path) -> None:
    """Play money takes none; a plan from before fees were reserved is read as it was."""
    pytest.importorskip("bolt11", reason="pip install 'kumiai[market]'")
    (tmp_path / "job.toml").write_text(GOOD)
    relays, blobs = ("ws://127.0.0.1:1",), ("http://127.0.0.1:1",)
    for wallet, has_fees in (("embedded:bank#me", False), ("lnbits:http://x", True)):
        folder = MarketFolder(tmp_path / wallet[:3])
        create_job(tmp_path / "job.toml", folder, Places(relays, blobs, wallet))
        assert read_plan(folder)[0].has_fees is has_fees
        document = folder.read_plan("customer")
        del document["plan"]["has_fees"]
        folder.write_plan("customer", {k: v for k, v in document.items() if k != "kind"})
        assert read_plan(folder)[0].has_fees is False
