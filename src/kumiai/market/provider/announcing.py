"""Who we are and that we are there: announcement (NIP-89) and heartbeat.

Source: docs/nip-training.md, section 9.
"""

from __future__ import annotations

from kumiai.base import canonical
from kumiai.market.effects import Publish
from kumiai.market.kinds import HEARTBEAT_LIFE_S, HEARTBEAT_S, TOPIC, VERSION, Kind
from kumiai.market.letters import Draft
from kumiai.market.provider.turn import Turn

ANNOUNCEMENT_NAME = "kumiai-training"


def announce(turn: Turn) -> None:
    """Say who we are and what we take (NIP-89)."""
    policy = turn.policy
    about = {
        "name": policy.name,
        "about": policy.about,
        "hardware": policy.hardware,
        "recipes": list(policy.recipes),
        "price_msat": policy.price_msat,
        "payment": [str(name) for name in policy.payment],
        "encryption": ["nip44_v2"],
    }
    tags = (("d", ANNOUNCEMENT_NAME), ("k", str(int(Kind.JOB))), ("t", TOPIC), ("v", VERSION))
    text = canonical.encode_checked(about).decode()
    turn.ask(Publish("publish/announcement", Draft(Kind.ANNOUNCEMENT, tags, text=text)))
    beat(turn)


def beat(turn: Turn) -> None:
    """Say that we are there, every five minutes; what we said expires by itself."""
    if not turn.s.is_open or turn.now_s < turn.s.announced_s + HEARTBEAT_S:
        return
    turn.set(announced_s=turn.now_s)
    turn.drop("publish/heartbeat")
    address = f"{int(Kind.ANNOUNCEMENT)}:{turn.policy.pubkey}:{ANNOUNCEMENT_NAME}"
    tags = (
        ("v", VERSION),
        ("t", TOPIC),
        ("a", address),
        ("d", ANNOUNCEMENT_NAME),
        ("status", "online"),
        ("expiration", str(turn.now_s + HEARTBEAT_LIFE_S)),
    )
    turn.ask(Publish("publish/heartbeat", Draft(Kind.HEARTBEAT, tags)))
