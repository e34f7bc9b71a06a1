"""The small world with real encryption: what relays see is what the events of a whole job show."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.market.small_world import Member, World

from kumiai.market import effects as fx
from kumiai.market.letters import Letter
from kumiai.market.nips.nip01 import encode_event, has_any
from kumiai.nodes.market.letterbox import open_event, open_sealed, sign_draft


class Veiled(World):
    """Every event is signed and encrypted by the node's letterbox, and opened by it alone."""

    def __init__(self, now_s: int) -> None:
        super().__init__()
        self.now_s = now_s
        self.count = 0
        self.hidden: list[str] = []  # every value of a hidden tag

    def draw(self, size: int) -> bytes:
        self.count += 1
        return hashlib.shake_256(b"%d" % self.count).digest(size)

    def do_publish(self, member: Member, effect: fx.Publish) -> None:
        event = sign_draft(member.key, effect.draft, self.now_s, self.draw)
        assert len(encode_event(event)) < 12_000
        self.hidden += [item for tag in effect.draft.hidden or () for item in tag[2:]]
        member.take(fx.Published(effect.key, event))
        self.letters.append(Letter(event))
        for other in list(self.members.values()):
            if has_any(other.machine.list_filters(other.state), event):
                other.take(fx.Heard(open_event(other.key, event)))

    def do_openjob(self, member: Member, effect: fx.OpenJob) -> None:
        try:
            member.take(fx.JobOpened(effect.key, open_sealed(effect.event, effect.job_key)))
        except ValueError as error:
            member.take(fx.Failed(effect.key, "wrong-hash", str(error)))


def veil_world(world: World, now_s: int) -> Veiled:
    """The same members and blobs, under real encryption."""
    veiled = Veiled(now_s)
    mine: dict[str, Any] = {"members", "blobs", "sealed", "bank", "before"}  # type: ignore[assignment]
    veiled.__dict__.update({k: v for k, v in world.__dict__.items() if k in mine})
    for member in veiled.members.values():
        member.world = veiled
    return veiled
