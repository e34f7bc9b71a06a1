"""A view survives the trip to disk, and a damaged one is refused with the place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kumiai.apps.flows import ESCROW
from kumiai.apps.view import RunView, load_view, save_view, view_from_dict
from kumiai.base.errors import StoreError


def test_the_sample_adds_up(sample_view: RunView) -> None:
    escrow_out = sum(flow.amount for flow in sample_view.flows if flow.source == ESCROW)
    assert escrow_out == sample_view.totals["funded"]
    for member in sample_view.members:
        if member.role in ("trainer", "validator"):
            rows = [row.amount for row in sample_view.receipts if row.member == member.name]
            assert sum(rows) == member.reward


def test_saved_view_loads_to_an_equal_one(sample_view: RunView, tmp_path: Path) -> None:
    path = save_view(sample_view, tmp_path / "run")
    assert load_view(path.parent) == sample_view
    assert [file.name for file in path.parent.iterdir()] == ["view.json"]


def test_records_are_flat_rows(sample_view: RunView) -> None:
    rows = sample_view.records("members")
    assert rows[0]["name"] == "佐藤精機" and rows[0]["reward"] > 0
    with pytest.raises(ValueError, match="members, rounds"):
        sample_view.records("people")


def test_member_is_found_by_name_or_key(sample_view: RunView) -> None:
    key = sample_view.member("佐藤精機").pubkey
    assert sample_view.member(key[:8]).name == "佐藤精機"
    with pytest.raises(KeyError):
        sample_view.member("nobody")


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda data: data.update(format="other/9"), "format is 'other/9'"),
        (lambda data: data.update(extra=1), "unknown fields: extra"),
        (lambda data: data["members"][2].update(reward="12"), r"members\.2\.reward"),
        (lambda data: data["members"][0].pop("name"), r"members\.0\.name"),
        (lambda data: data["rounds"][0].update(loss_ppm=0.5), r"rounds\.0\.loss_ppm"),
    ],
)
def test_a_damaged_view_is_refused_with_the_place(
    sample_view: RunView, damage: object, place: str
) -> None:
    data = json.loads(json.dumps(sample_view.to_dict()))
    damage(data)  # type: ignore[operator]
    with pytest.raises(StoreError, match=place):
        view_from_dict(data)


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not the folder of a finished run"):
        load_view(tmp_path)
    (tmp_path / "view.json").write_text("{ half")
    with pytest.raises(StoreError, match="damaged"):
        load_view(tmp_path)
