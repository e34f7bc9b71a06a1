"""Folders of members with ecash, as `market post` and `provider start` leave them."""

from pathlib import Path

from kumiai.adapters.payments.bank import EmbeddedBank
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import Places
from kumiai.nodes.market.record import encode_value


def make_member(root: Path, ecash: str) -> Path:
    """A folder whose member has an embedded wallet, and the ecash named ("": none)."""
    folder = MarketFolder(root)
    folder.create()
    with EmbeddedBank(root / "bank.sqlite") as bank:
        bank.fund("me", 5_000)
    places = Places((), (), f"embedded:{root / 'bank.sqlite'}#me", "", ecash)
    folder.write_plan("customer", {"places": encode_value(places)})
    return root
