"""Kinds, words and limits of the training microstandard: docs/nip-training.md."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

VERSION: Final = "1"
TOPIC: Final = "training"
UPDATE_MEDIA_TYPE: Final = "application/x-kumiai-update"
EVENT_BYTES_MAX: Final = 12_000
HEARTBEAT_S: Final = 300
HEARTBEAT_LIFE_S: Final = 600


class Kind(IntEnum):
    """What an event is. Requests are 5xxx, their results 1000 more (NIP-90)."""

    CANCEL = 5
    JOB = 5600
    CONTRACT = 5601
    ROUND_REQUEST = 5602
    JUDGING = 5603
    OFFER = 6600
    ACCEPTANCE = 6601
    RESULT = 6602
    JUDGEMENT = 6603
    FEEDBACK = 7000
    VERDICT = 7601
    DISPUTE = 7602
    RULING = 7603
    CLOSING = 7604
    HEARTBEAT = 11998
    ANNOUNCEMENT = 31990
    RATING = 31602


class Policy(StrEnum):
    """How money and work change hands (section 6 of the document)."""

    HOLD = "hold"
    FAIR = "fair"
    INVOICE = "invoice"
    ESCROW = "escrow"


class Status(StrEnum):
    """The five words of NIP-90's feedback."""

    PAYMENT_REQUIRED = "payment-required"
    PROCESSING = "processing"
    ERROR = "error"
    SUCCESS = "success"
    PARTIAL = "partial"


class Ruling(StrEnum):
    """What a judge says of a result."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"


class Code(StrEnum):
    """Why a result was accepted or not: a verdict's third item."""

    ACCEPTED = "accepted"
    NO_GAIN = "no-gain"
    WORSE_THAN_PEERS = "worse-than-peers"
    MALFORMED = "malformed"
    DUPLICATE = "duplicate"
    REPLAYED = "replayed"
    EMPTY = "empty"
    DIVERGED = "diverged"
    WRONG_HASH = "wrong-hash"
    TOO_BIG = "too-big"
    LATE = "late"
    NO_KEY = "no-key"
    NOT_THERE = "not-there"
    BAD_INVOICE = "bad-invoice"
    BAD_COMMITMENT = "bad-commitment"
    WRONG_REQUEST = "wrong-request"
    NO_REPLY = "no-reply"
    DECLINED = "declined"
    NOT_JUDGED = "not-judged"
    NOT_PAID = "not-paid"
    CANCELLED = "cancelled"


SENTENCES: Final[dict[Code, str]] = {
    Code.ACCEPTED: "the model got better by it",
    Code.NO_GAIN: "the model did not get better by it on data that the provider does not have",
    Code.WORSE_THAN_PEERS: "it helped far less than the others of its round",
    Code.MALFORMED: "it is no update of this task's codec",
    Code.DUPLICATE: "somebody else had committed to the same update before",
    Code.REPLAYED: "it repeats an earlier update",
    Code.EMPTY: "it changes nothing",
    Code.DIVERGED: "with it the model gives no finite loss",
    Code.WRONG_HASH: "the bytes are not those that were committed to",
    Code.TOO_BIG: "it is longer than the job allows",
    Code.LATE: "it came after the deadline",
    Code.NO_KEY: "the key of the sealed update was not sent in time",
    Code.NOT_THERE: "no server had the sealed update",
    Code.BAD_INVOICE: "its invoice is not what the contract says",
    Code.BAD_COMMITMENT: "its commitment is not this provider's for this round",
    Code.WRONG_REQUEST: "it answers another request",
    Code.NO_REPLY: "nothing was heard before the deadline",
    Code.DECLINED: "the provider could not or would not do it",
    Code.NOT_JUDGED: "the judges could not agree in time",
    Code.NOT_PAID: "the round was nearly over before the payment for its key could begin",
    Code.CANCELLED: "the customer cancelled before it was delivered",
}

# What a jury can judge anew: everything that was measured, nothing that was late or absent.
DISPUTABLE: Final = frozenset(
    {Code.NO_GAIN, Code.WORSE_THAN_PEERS, Code.DUPLICATE, Code.EMPTY, Code.REPLAYED, Code.MALFORMED}
)
