"""What a provider's owner takes on is kept in the folder; older folders go on as they began."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bolt11", reason="pip install 'kumiai[market]'")

from kumiai.apps.cli.marketing.selling import Said
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import Places
from kumiai.apps.market.provider import Wishes, create_provider, read_policy
from kumiai.base.errors import InputError
from kumiai.market.provider import ProviderPolicy

PLACES = Places(("ws://127.0.0.1:1",), ("http://127.0.0.1:1",), "")
BOUNDS = ("wait_s_max", "offers_max", "offers_of_one_max")


def say(**options: Any) -> Said:
    unsaid = dict.fromkeys(Said.__dataclass_fields__)
    return Said(**{**unsaid, "price": 20, **options})  # type: ignore[arg-type]


def create(root: Path, wishes: Wishes) -> MarketFolder:
    folder = MarketFolder(root / "one")
    places = replace(PLACES, wallet=f"embedded:{root}/bank#one")
    asyncio.run(create_provider(folder, wishes, places, {}))
    return folder


def test_how_long_a_job_may_hold_a_place_is_the_owners_word(tmp_path: Path) -> None:
    assert say().make_wishes().wait_s_max == 24 * 3_600
    wishes = say(wait_hours=3).make_wishes()
    folder = create(tmp_path, wishes)
    assert read_policy(folder)[0].wait_s_max == 3 * 3_600
    with pytest.raises(InputError, match="--wait-hours = 4: was decided when one was made"):
        say(price=None, wait_hours=4).check_unsaid(PLACES, Path("one"))


def test_a_folder_from_before_the_bounds_has_none(tmp_path: Path) -> None:
    """Its journal was folded without them: another fold could lose a contract that is in force."""
    folder = create(tmp_path, say().make_wishes())
    document = folder.read_plan("provider")
    new = ProviderPolicy(**document["policy"])
    assert all(getattr(new, name) for name in BOUNDS)
    for name in BOUNDS:
        del document["policy"][name]
    folder.write_plan("provider", {k: v for k, v in document.items() if k != "kind"})
    policy, _ = read_policy(folder)
    assert [getattr(policy, name) for name in BOUNDS] == [0] * len(BOUNDS)
