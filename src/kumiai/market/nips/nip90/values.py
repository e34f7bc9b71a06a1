"""What NIP-90's events say, as values, and how much of it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kumiai.base.events import Event, Tags

REQUEST_KINDS: Final = range(5_000, 6_000)
RESULT_KINDS: Final = range(6_000, 7_000)
RESULT_OFFSET: Final = 1_000
FEEDBACK_KIND: Final = 7_000
REQUEST_MARKER: Final = "request"  # of the `e` tag, where there are several

INPUT_COUNT_MAX: Final = 64
PARAM_COUNT_MAX: Final = 64
PARAM_VALUE_COUNT_MAX: Final = 128
RELAY_COUNT_MAX: Final = 16
NAME_CHARS_MAX: Final = 128  # param names, markers, topics
TEXT_CHARS_MAX: Final = 16_384  # one input or param value
OUTPUT_CHARS_MAX: Final = 128
INFO_CHARS_MAX: Final = 512
BOLT11_CHARS_MAX: Final = 4_096
SEALED_CHARS_MAX: Final = 48 * 1_024  # of the JSON array inside an encrypted request

Encrypt = Callable[[str], str]
Decrypt = Callable[[str], str]  # raises ValueError for what it cannot read


class InputType(StrEnum):
    """How the data of an input are to be read."""

    URL = "url"  # to be fetched
    EVENT = "event"  # an event's id
    JOB = "job"  # the id of a request, whose result is the input
    TEXT = "text"  # the input itself


class Status(StrEnum):
    """What a provider says of a job."""

    PAYMENT_REQUIRED = "payment-required"  # nothing more is done until it is paid
    PROCESSING = "processing"
    ERROR = "error"
    SUCCESS = "success"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class JobInput:
    """One `i` tag. relay: where an event or job is found; marker: what the job uses it for."""

    data: str
    type: InputType
    relay: str = ""
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Param:
    """One `param` tag: a name and its values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job for a kind in 5000-5999.

    relays: where answers should go. providers: preferred ones, others may answer too. others: tags
    that NIP-90 does not know. is_encrypted: inputs and params travel inside the content; read
    without a key they are empty here and `content` is the ciphertext.
    """

    kind: int
    inputs: tuple[JobInput, ...] = ()
    params: tuple[Param, ...] = ()
    output: str = ""
    bid_msat: int | None = None
    relays: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    expires_at_s: int | None = None
    content: str = ""
    is_encrypted: bool = False
    others: Tags = ()


@dataclass(frozen=True, slots=True)
class JobResult:
    """The answer to a request. `request`: the request itself, as the customer signed it.

    others: tags that NIP-90 does not know, and `e` tags with another marker than "request".

    is_encrypted: the content travels encrypted; read without a key, `content` is the ciphertext.
    """

    kind: int
    request_id: str
    customer: str
    content: str = ""
    request: Event | None = None
    request_relay: str = ""
    inputs: tuple[JobInput, ...] = ()
    amount_msat: int | None = None
    bolt11: str = ""
    expires_at_s: int | None = None
    is_encrypted: bool = False
    others: Tags = ()


@dataclass(frozen=True, slots=True)
class JobFeedback:
    """What happens with a request. info: a few words for people; content: e.g. a part or sample."""

    status: Status
    request_id: str
    customer: str
    info: str = ""
    content: str = ""
    request_relay: str = ""
    amount_msat: int | None = None
    bolt11: str = ""
    expires_at_s: int | None = None
    is_encrypted: bool = False
    others: Tags = ()
