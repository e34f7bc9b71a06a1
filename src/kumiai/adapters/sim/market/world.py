"""A market in virtual time: machines registered by name, one relay, one bank, faults from a seed.

Time is a heap of things to do; nothing waits for real. Each effect is a program (`programs`) that
says how long it waits and what it answers. After every input every check is asked; the first that
finds something ends the world with the seed that shows it again.

What is real: machines, folding and journal rules, signatures, which own events are sent again. What
is not: encryption (hidden tags travel beside the event, to whom they are for), disks, sockets,
training.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from kumiai.adapters.sim.market.bank import SimBank
from kumiai.adapters.sim.market.faults import CALM, Chance, Faults
from kumiai.adapters.sim.market.member import SimMember
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InternalError
from kumiai.base.events import Event
from kumiai.market.effects import Heard, Ticked, Woken
from kumiai.market.letters import Draft, Letter
from kumiai.market.nips.nip01 import sign_text
from kumiai.market.terms import Tag
from kumiai.nodes.market.folding import Folded
from kumiai.nodes.market.own_events import find_place

START_MS: Final = 1_800_000_000_000
TICK_MS: Final = 5_000
CALM_TICK_MS: Final = 300_000
PROBE_TICKS: Final = 6
RETRY_MS: Final = 2_000
ASLEEP_MS: Final = 10_000  # a third of the longest time that a crash takes here

Program = Iterator[Any]  # yields milliseconds to wait, or a result
Check = Callable[["MarketWorld"], "str | None"]


@dataclass(slots=True)
class SimRelay:
    """What the relays together have, while they are up."""

    stored: dict[str, Event] = field(default_factory=dict)
    down_until_ms: int = 0
    _places: dict[tuple[str, int, str], str] = field(default_factory=dict)

    def keep(self, event: Event) -> None:
        """Store an event; of replaceable kinds only the last that came."""
        self.stored[event.id] = event
        place = find_place(event)
        if place is not None:
            older = self._places.get((event.pubkey, *place))
            self._places[event.pubkey, *place] = event.id
            if older is not None:
                self.stored.pop(older, None)


@dataclass(slots=True)
class SimBlobs:
    """All blobs of all members, and what others can fetch. Sealing is a name, not a cipher."""

    data: dict[str, bytes] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)
    opened: dict[tuple[str, str], str] = field(default_factory=dict)  # (sealed, key) -> plain
    down_until_ms: int = 0

    def put(self, data: bytes) -> str:
        """Keep a blob; return its name."""
        name = sha256_hex(data)
        self.data[name] = data
        return name

    def seal(self, blob: str, key: str) -> str:
        """Return the sealed form's name: another blob for each key."""
        mask = bytes.fromhex(sha256_hex(f"{key}/{blob}".encode()))
        sealed = self.put(mask + self.data[blob][::-1])
        self.opened[sealed, key] = blob
        return sealed


class MarketWorld:
    """Add members, give commands, `run`. The same seed and calls give the same history."""

    def __init__(
        self,
        seed: int,
        programs: Callable[[MarketWorld, SimMember, Any], Program],
        faults: Faults = CALM,
        checks: Sequence[Check] = (),
    ) -> None:
        self.seed, self.faults, self.checks = seed, faults, tuple(checks)
        self.chance = Chance(seed, faults)
        self.now_ms, self.tick_ms = START_MS, TICK_MS
        self.members: dict[str, SimMember] = {}
        self.relay, self.blobs, self.bank = SimRelay(), SimBlobs(), SimBank()
        self.hidden: dict[str, Draft] = {}
        self.crashes = self.steps = self.wipes = self.answers_under_way = 0
        self._programs = programs
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._ticks = 0
        self._at(self.tick_ms, self._tick)

    @property
    def now_s(self) -> int:
        """Virtual unix seconds."""
        return self.now_ms // 1000

    def add(self, member: SimMember, msat: int = 0) -> SimMember:
        """Let a member in, with that much money."""
        self.members[member.name] = member
        self.bank.fund(member.key.pubkey, msat)
        return member

    def say(self, name: str, command: Any) -> None:
        """Give an owner's command, again and again until it is in the journal."""
        member = self.members[name]
        if not (member.is_up and self.take(member, command)):
            self._at(RETRY_MS, lambda: self.say(name, command))

    def run(self, seconds: int, is_over: Callable[[MarketWorld], bool] = lambda _: False) -> bool:
        """Let time pass until it is over; tell whether it was before the seconds were."""
        until_ms = self.now_ms + 1000 * seconds
        while self._heap and self._heap[0][0] <= until_ms:
            self.now_ms, _, act = heapq.heappop(self._heap)
            act()
            if is_over(self):
                return True
        self.now_ms = until_ms
        return False

    def heal(self) -> None:
        """From now on nothing goes wrong; whoever is down comes back by itself."""
        self.faults = CALM
        self.chance.faults = CALM
        self.tick_ms = CALM_TICK_MS

    # -- inputs --

    def take(self, member: SimMember, item: Any) -> bool:
        """Give one input; tells whether the member lived to write it down."""
        self.steps += 1
        if self._crashes(member):
            return False
        folded = member.step(self.now_s, item)
        member.write(folded)
        self._check(member)
        if not self._crashes(member):
            self._act(member, folded)
        return True

    def _act(self, member: SimMember, folded: Folded) -> None:
        for said in folded.said:
            member.own.remember(said)
            self.send(member, said.event)
        pending = member.fold.get_pending()
        for effect in folded.effects:
            if effect.key in pending:
                self.carry(member, effect)
            if self._crashes(member):
                return
        for key in [key for key in member.running if key not in pending]:
            del member.running[key]

    def _crashes(self, member: SimMember) -> bool:
        if not self.chance.happens(self.faults.crash_ppm):
            return False
        member.crash()
        self.crashes += 1
        down_ms = self.chance.between(1, self.faults.down_ms_max)
        self._at(down_ms, lambda: self._restart(member, down_ms))
        return True

    def _restart(self, member: SimMember, down_ms: int) -> None:
        for effect in member.restart():
            self.carry(member, effect)
        if down_ms > ASLEEP_MS and not self.take(member, Woken(down_ms // 1000)):
            return
        self._back_fill(member)
        self._resend(member)

    # -- effects --

    def carry(self, member: SimMember, effect: Any) -> None:
        """Begin an effect's program, unless it runs."""
        if effect.key in member.running:
            return
        twisted = member.twist(effect)
        if twisted is None:
            return
        self._count += 1
        member.running[effect.key] = self._count
        self._go_on(member, effect.key, self._count, self._programs(self, member, twisted))

    def _go_on(self, member: SimMember, key: str, number: int, program: Program) -> None:
        while True:
            is_alive = member.running.get(key) == number
            if not is_alive and self.chance.happens(500_000):
                return  # the request of a dead process never arrived
            try:
                said = next(program)
            except StopIteration:
                if is_alive:
                    del member.running[key]
                return
            if not is_alive:
                return  # it arrived, but nobody hears the answer
            if isinstance(said, int):
                self._at(said, lambda: self._go_on(member, key, number, program))
                return
            self.answers_under_way += 1
            self._at(0, partial(self._answer, member, member.life, said))

    def _answer(self, member: SimMember, life: int, result: Any) -> None:
        self.answers_under_way -= 1
        if member.life == life:
            self.take(member, result)

    # -- events --

    def sign(self, member: SimMember, draft: Draft) -> Event:
        """Make the event; what it hides is kept beside it."""
        content = draft.text
        if draft.hidden is not None:
            content = sha256_hex(repr((draft.hidden, self._count)).encode())
        self._count += 1
        event = sign_text(member.key, int(draft.kind), self.now_s, content, draft.tags)
        self.hidden[event.id] = draft
        return event

    def open(self, event: Event, job_key: str) -> tuple[Tag, ...] | None:
        """Return a sealed job's hidden tags if the key fits."""
        draft = self.hidden.get(event.id)
        return draft.hidden if draft is not None and draft.job_key == job_key else None

    def send(self, member: SimMember, event: Event) -> None:
        """Send until the relay has it; each attempt may be lost."""
        life = member.life

        def attempt() -> None:
            if member.life != life:
                return
            is_lost = self.chance.happens(self.faults.answer_lost_ppm)
            has_arrived = self.now_ms >= self.relay.down_until_ms
            if has_arrived and not (is_lost and self.chance.happens(500_000)):
                self._arrive(event)
            if is_lost or not has_arrived:
                self._at(RETRY_MS, attempt)

        self._at(self.chance.delay_ms(), attempt)

    def _arrive(self, event: Event) -> None:
        if event.id in self.relay.stored:
            return
        self.relay.keep(event)
        for member in self.members.values():
            if member.is_up and member.wants(event):
                if self.chance.happens(self.faults.drop_ppm):
                    continue
                copies = 2 if self.chance.happens(self.faults.duplicate_ppm) else 1
                for _ in range(copies):
                    self._deliver(member, event)

    def _deliver(self, member: SimMember, event: Event) -> None:
        life = member.life

        def hear() -> None:
            if member.life == life and member.is_up:
                member.delivered.add(event.id)
                if member.fold.is_news(event):
                    self.take(member, Heard(self._open_for(member, event)))

        self._at(self.chance.delay_ms(), hear)

    def _open_for(self, member: SimMember, event: Event) -> Letter:
        draft = self.hidden.get(event.id)
        if draft is None or draft.hidden is None or draft.job_key:
            return Letter(event)
        mine = member.key.pubkey in (event.pubkey, draft.recipient)
        return Letter(event, draft.hidden if mine else None)

    def _back_fill(self, member: SimMember) -> None:
        """Ask the relay again for what matches and did not come."""
        if self.now_ms < self.relay.down_until_ms:
            return
        for event in list(self.relay.stored.values()):
            if event.id not in member.delivered and member.wants(event):
                self._deliver(member, event)

    def _resend(self, member: SimMember) -> None:
        for said in member.own.list_mattering(self.now_s):
            if said.event.id not in self.relay.stored:
                self.send(member, said.event)

    # -- time --

    def _tick(self) -> None:
        self._at(self.tick_ms, self._tick)
        self._ticks += 1
        self.bank.pass_time(self.now_s)
        faults, chance = self.faults, self.chance
        if chance.happens(faults.relay_down_ppm):
            self.relay.down_until_ms = self.now_ms + chance.between(1, faults.down_ms_max)
        if chance.happens(faults.relay_wiped_ppm):
            self.relay.stored.clear()
            self.wipes += 1
        if chance.happens(faults.blobs_gone_ppm):
            self.blobs.down_until_ms = self.now_ms + chance.between(1, faults.down_ms_max)
        for member in self.members.values():
            if not member.is_up:
                continue
            self.take(member, Ticked())
            if member.is_up:
                self._retry_early(member)
            if member.is_up and self._ticks % PROBE_TICKS == 0:
                self._resend(member)
                self._back_fill(member)

    def _retry_early(self, member: SimMember) -> None:
        for letter in member.fold.intake.list_waiting(member.fold.version):
            if member.is_up:
                self.take(member, Heard(letter))

    def _at(self, delay_ms: int, act: Callable[[], Any]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._count, act))

    def _check(self, member: SimMember) -> None:
        for check in self.checks:
            flaw = check(self)
            if flaw is not None:
                raise InternalError(
                    f"seed {self.seed}, {self.now_ms - START_MS} ms, {member.name}: {flaw}"
                )
