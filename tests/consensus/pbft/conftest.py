"""A committee of replicas in one place, with real keys, and a network that a test moves by hand."""

from __future__ import annotations

import pytest

from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.effects import (
    Accuse,
    Broadcast,
    Execute,
    Persist,
    Received,
    Refuse,
    Send,
    Serve,
    Submitted,
    TimePassed,
)
from kumiai.consensus.pbft.replica import Replica, Settings

SCHEME = Schnorr()
SETTINGS = Settings(interval=4, batch_count_max=5, timeout_ms=1_000, resend_ms=100)


class Bench:
    """n replicas; `deliver` hands on what lies in `mail`, but for what `lost` says."""

    def __init__(self, size: int) -> None:
        self.signers = [KeySigner(derive_key(b"pbft", f"replica {i}")) for i in range(size)]
        self.client = KeySigner(derive_key(b"pbft", "client"))
        self.committee = Committee(
            "test",
            1,
            tuple(signer.pubkey for signer in self.signers),
            frozenset({self.client.pubkey}),
        )
        self.journals: list[list[object]] = [[] for _ in range(size)]
        self.decided: list[list[m.Decided]] = [[] for _ in range(size)]
        self.done: list[list[str]] = [[] for _ in range(size)]
        self.refused: list[list[str]] = [[] for _ in range(size)]
        self.accused: list[list[object]] = [[] for _ in range(size)]
        self.mail: list[tuple[int, int, m.Message]] = []
        self.now_ms = 0
        self.clocks_ms = [0] * size
        self.replicas = [self.make(i) for i in range(size)]
        self.count = 0

    def make(self, index: int) -> Replica:
        return Replica(
            self.committee,
            index,
            self.signers[index],
            SCHEME,
            SETTINGS,
            self.journals[index],
            self.decided[index],
        )

    def restart(self, index: int) -> None:
        self.replicas[index] = self.make(index)

    def sign(self, sender: int, body: m.Body) -> m.Signed:
        return m.sign(self.committee, self.signers[sender], sender, body)

    def request(self, operation: str = "") -> m.Request:
        self.count += 1
        return m.sign_request(self.client, self.count, operation or f"operation {self.count}")

    def submit(self, index: int, operation: str = "") -> None:
        self.give(index, Submitted(self.request(operation)))

    def receive(self, index: int, message: m.Message) -> None:
        self.give(index, Received(message))

    def give(self, index: int, given: object) -> None:
        clock_ms = self.now_ms + self.clocks_ms[index]
        for effect in self.replicas[index].step(given, self.now_ms, clock_ms):
            if isinstance(effect, Persist):
                self.journals[index] += effect.entries
            elif isinstance(effect, Execute):
                self.decided[index].append(effect.decided)
                self.done[index] += [request.operation for request in effect.requests]
            elif isinstance(effect, Broadcast):
                others = (i for i in range(len(self.replicas)) if i != index)
                self.mail += [(index, other, effect.message) for other in others]
            elif isinstance(effect, Send):
                self.mail.append((index, effect.replica, effect.message))
            elif isinstance(effect, Serve):
                first = effect.sequence - 1
                found = self.decided[index][first : first + effect.count_max]
                self.mail += [(index, effect.replica, each) for each in found]
            elif isinstance(effect, Refuse):
                self.refused[index].append(effect.reject.reason)
            elif isinstance(effect, Accuse):
                self.accused[index].append(effect.found)

    def deliver(self, lost=lambda sender, receiver, message: False) -> None:
        while self.mail:
            sender, receiver, message = self.mail.pop(0)
            if not lost(sender, receiver, message):
                self.receive(receiver, message)

    def pass_time(self, ms: int, lost=lambda sender, receiver, message: False, down=()) -> None:
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.now_ms += 50
            for index, replica in enumerate(self.replicas):
                if index not in down and replica.next_deadline_ms <= self.now_ms:
                    self.give(index, TimePassed())
            self.deliver(lambda s, r, x: s in down or r in down or lost(s, r, x))


@pytest.fixture
def bench() -> Bench:
    return Bench(4)


@pytest.fixture
def make_bench():
    return Bench
