"""What a market member asks of its own machine: prepare data, train, judge, combine.

Blobs are local here, named by sha256; how they travel is `RemoteBlobPort`. All numbers are
integers: losses and gains in ppm of a nat of hold-out loss, shares in ppm. Every answer is a
function of its order alone, so an order that a crash interrupted may be given again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a customer's job consists of before anybody is asked: all are blobs.

    task: the task document as canonical JSON. shards: safetensors with tensors x and y; counts are
    their samples. input_shape and class_count: what a recipe needs beside the task.
    """

    task: str
    code: str  # the recipe's source file, "" for a recipe of the library
    model: str
    shards: tuple[str, ...]
    sample_counts: tuple[int, ...]
    input_shape: tuple[int, ...]
    class_count: int
    update_bytes_max: int  # no payload of the task's codec is longer


@dataclass(frozen=True, slots=True)
class TrainOrder:
    """One provider's work of one round: all blobs are in its own store already."""

    round: int
    task: str
    code: str
    input_shape: tuple[int, ...]
    class_count: int
    model: str  # global model, integers (learning.fixed_point)
    shard: str
    seed: int  # 63 bits; the same for all providers of one shard and round
    seconds: int = 0  # what takes longer is in vain, 0 for any time


@dataclass(frozen=True, slots=True)
class Trained:
    """An update, a payload of the task's codec; loss_ppm is what the provider says itself."""

    update: str  # blob
    size_bytes: int
    sample_count: int
    iteration_count: int
    flop: int
    loss_ppm: int


class ProviderWorkPort(Protocol):
    """A provider's machine. Runs no code that came with a job unless its owner allowed that."""

    def train(self, order: TrainOrder) -> Trained:
        """InputError for a task, model or shard that is not what it says or too big."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """An update that a provider revealed, in the order of the commitments."""

    provider: str  # public key
    update: str  # blob
    shard: int  # index into `Prepared.shards`


@dataclass(frozen=True, slots=True)
class JudgeOrder:
    """One round's updates, to be measured on the judge's private hold-out."""

    round: int
    model: str
    previous_model: str | None
    candidates: tuple[Candidate, ...]
    seed: str  # 64 hex digits, drawn after the commitments closed


@dataclass(frozen=True, slots=True)
class JudgedUpdate:
    """What the judge measured of one update; nothing in it is the provider's own word.

    gain: loss of the round's model minus loss with this update alone (positive helps); value and
    error: its contribution to the round and the standard error. fault: "" or a code: malformed,
    duplicate (of `duplicate_of`), empty, replayed, diverged, uncorrelated, differs (from the other
    providers of its shard, and helps far less than theirs). agreement: with those, "" where there
    are none, equal (the same numbers), near (rounding) or differs. Those who agree are credited
    with the same value: it is of their work, done several times.
    """

    provider: str
    gain: int
    value: int
    error: int
    fault: str = ""
    duplicate_of: str = ""
    agreement: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """All updates of an order, and how good the round's starting model is."""

    loss_ppm: int
    accuracy_ppm: int
    updates: tuple[JudgedUpdate, ...]


@dataclass(frozen=True, slots=True)
class CombineOrder:
    """Make the next global model of the accepted updates: (provider, update blob, weight)."""

    round: int
    model: str
    server_state: str | None
    previous_model: str | None
    included: tuple[tuple[str, str, int], ...]
    seed: str


@dataclass(frozen=True, slots=True)
class Combined:
    """The next global model and what the server rule remembers, both blobs."""

    model: str
    server_state: str | None


class CustomerWorkPort(Protocol):
    """A customer's (or validator's) machine."""

    def judge(self, order: JudgeOrder) -> Judgement: ...

    def combine(self, order: CombineOrder) -> Combined: ...
