"""Three loyal replicas of four, whose memory is looked at after every step."""

from __future__ import annotations

from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee
from kumiai.consensus.pbft.effects import Broadcast, Execute, Persist, Send
from kumiai.consensus.pbft.proofs import is_decided
from kumiai.consensus.pbft.replica import Replica, Settings

SCHEME = CheapScheme(0)
SIGNERS = [SCHEME.make_signer(f"replica {i}") for i in range(4)]
CLIENT = SCHEME.make_signer("client")
COMMITTEE = Committee("fuzz", 1, tuple(s.pubkey for s in SIGNERS), frozenset({CLIENT.pubkey}))
REQUESTS = [m.sign_request(CLIENT, number, f"operation {number}") for number in range(1, 6)]
BATCHES = [
    m.NULL_BATCH,
    m.Batch((REQUESTS[0],), 1),
    m.Batch((REQUESTS[1],), 10**9),
    m.Batch(tuple(REQUESTS), 2_000),
    m.Batch((REQUESTS[0],) * 2),
]
TRAITOR = 0  # the first primary


class Loyal:
    """Three loyal replicas and what they send each other."""

    def __init__(self) -> None:
        settings = Settings(interval=2, timeout_ms=1_000, resend_ms=100)
        self.replicas = {i: Replica(COMMITTEE, i, SIGNERS[i], SCHEME, settings) for i in (1, 2, 3)}
        self.mail: list[tuple[int, m.Message]] = []
        self.decided: dict[int, str] = {}
        self.now_ms = 0

    def give(self, index, given) -> None:
        replica = self.replicas[index]
        for effect in replica.step(given, self.now_ms, self.now_ms):
            if isinstance(effect, Broadcast):
                assert wire.decode(wire.encode(effect.message)) == effect.message
                self.mail += [(i, effect.message) for i in self.replicas if i != index]
            elif isinstance(effect, Send) and effect.replica in self.replicas:
                self.mail.append((effect.replica, effect.message))
            elif isinstance(effect, Execute):
                proof = effect.decided.proof
                assert self.decided.setdefault(proof.sequence, proof.digest) == proof.digest
            elif isinstance(effect, Persist):
                assert effect.entries
        self.check_memory(replica)

    def check_memory(self, replica) -> None:
        highest = max(replica.safety.stable.sequence, replica.executed) + replica.settings.window
        assert all(0 < place <= highest for place in replica.slots)
        slots = replica.slots.values()
        assert all(len(slot.votes) <= 12 and len(slot.batches) <= 2 for slot in slots)
        kept = [signed for slot in slots for signed in slot.votes.values()]
        assert all(m.is_signed(COMMITTEE, SCHEME, signed) for signed in kept)
        decided = [slot.decided.proof for slot in slots if slot.decided is not None]
        assert all(is_decided(COMMITTEE, SCHEME, proof) for proof in decided)
        assert all(len(own) <= 2 for own in replica.checkpoints.said.values())
        assert len(replica.changes.said) <= 4
