"""Who we are and that we are there: announcement (NIP-89) and heartbeat.

Source: docs/nip-training.md, section 9.
"""

from __future__ import annotations

from kumiai.base import canonical
from kumiai.market.effects import Publish
from kumiai.market.kinds import HEARTBEAT_LIFE_S, HEARTBEAT_S, TOPIC, VERSION, Kind
from kumiai.market.letters import Draft
from kumiai.market.provider.jobs import forget_job
from kumiai.market.provider.state import ProviderState, Standing
from kumiai.market.provider.turn import Turn

ANNOUNCEMENT_NAME = "kumiai-training"
GOODBYE_LIFE_S = 60  # a reader that knows no status takes it for a heartbeat
ONLINE, OFFLINE = "online", "offline"
_HEARTBEAT, _GOODBYE, _OFFER = "publish/heartbeat", "publish/goodbye", "publish/offer/"


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
    """Say that we are there, every five minutes, or once that we are not; both expire.

    Two of one second could not be told apart: relays keep one a key, the newer.
    """
    is_there = turn.s.is_open and not turn.s.is_away
    if turn.now_s <= turn.s.announced_s or not (is_there or turn.s.is_shown):
        return
    if not is_there:
        _say(turn, OFFLINE, GOODBYE_LIFE_S)
    elif not turn.s.is_shown or turn.now_s >= turn.s.announced_s + HEARTBEAT_S:
        _say(turn, ONLINE, HEARTBEAT_LIFE_S)


def pause(turn: Turn) -> None:
    """The machine is switched off: say so, unless somebody counts on its coming back."""
    if all(c.standing is Standing.ENDED for c in turn.s.contracts.values()):
        turn.set(is_away=True)
        beat(turn)


def leave(turn: Turn) -> None:
    """Take no more work: what was not offered yet is offered no more."""
    turn.set(is_open=False)
    for key in [key for key in turn.s.pending if key.startswith(_OFFER)]:
        forget_job(turn, key.removeprefix(_OFFER))
    beat(turn)


def is_said(state: ProviderState) -> bool:
    """Tell whether what should be on the relays about us is signed."""
    is_there = state.is_open and not state.is_away
    return state.is_shown == is_there and _GOODBYE not in state.pending


def _say(turn: Turn, status: str, life_s: int) -> None:
    turn.set(announced_s=turn.now_s, is_shown=status == ONLINE)
    for key in (_HEARTBEAT, _GOODBYE):
        turn.drop(key)
    address = f"{int(Kind.ANNOUNCEMENT)}:{turn.policy.pubkey}:{ANNOUNCEMENT_NAME}"
    tags = (
        ("v", VERSION),
        ("t", TOPIC),
        ("a", address),
        ("d", ANNOUNCEMENT_NAME),
        ("status", status),
        ("expiration", str(turn.now_s + life_s)),
    )
    key = _HEARTBEAT if status == ONLINE else _GOODBYE
    turn.ask(Publish(key, Draft(Kind.HEARTBEAT, tags)))
