"""What judges are asked and what they answer: the committee of a round, and jurors.

Source: docs/nip-training.md, sections 5 and 8. A judging request is cut into parts, so that events
stay small; a judge begins when it has all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.base.canonical import is_hash
from kumiai.market.kinds import Ruling
from kumiai.market.params import ParamError, Params, read_int, write_param
from kumiai.market.terms import (
    PPM_LIMIT,
    ROUNDS_MAX,
    SHARDS_MAX,
    BlobRef,
    Tag,
    find_blob,
    need_blob,
    write_blob,
    write_long,
)

CANDIDATES_A_PART = 10
PARTS_MAX = 100
ATTEMPTS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class CandidateTerms:
    """One sealed update with its key, and what its worker committed to."""

    provider: str
    contract: str
    commitment: str
    shard: int
    update: BlobRef
    key: str

    def list_tags(self) -> list[Tag]:
        """Return the two hidden tags of one candidate."""
        values = (self.contract, self.commitment, self.shard, self.key)
        return [
            write_param(f"candidate:{self.provider}", *values),
            write_blob(self.update, f"update:{self.provider}", "sealed"),
        ]


@dataclass(frozen=True, slots=True)
class JudgingTerms:
    """What a 5603 hides. Candidates are in the order of their arrival at the customer."""

    round: int
    attempt: int
    part: int
    parts: int
    seed: str
    model: BlobRef
    previous_model: BlobRef | None
    candidates: tuple[CandidateTerms, ...]

    def list_tags(self) -> list[Tag]:
        """Return the hidden tags."""
        tags = [
            write_blob(self.model, "model", "kumiai"),
            write_param("round", self.round),
            write_param("attempt", self.attempt),
            write_param("part", self.part),
            write_param("parts", self.parts),
            write_param("beacon", self.seed),
        ]
        if self.previous_model is not None:
            tags.append(write_blob(self.previous_model, "previous", "kumiai"))
        for one in self.candidates:
            tags += one.list_tags()
        return tags


@dataclass(frozen=True, slots=True)
class JudgementLine:
    """One update as one judge sees it."""

    provider: str
    ruling: Ruling
    code: str
    gain_ppm: int


@dataclass(frozen=True, slots=True)
class DisputeTerms:
    """What a 7602 hides: the update that was rejected, and what would pay for it."""

    update: BlobRef
    key: str
    model: BlobRef
    attempt: int
    commitment: str
    token: str = ""
    verdict: str = ""  # the event that is disputed, as JSON

    def list_tags(self) -> list[Tag]:
        """Return the hidden tags."""
        tags = [
            write_blob(self.update, "update", "sealed"),
            write_blob(self.model, "model", "kumiai"),
            write_param("key", self.key),
            write_param("attempt", self.attempt),
            write_param("commitment", self.commitment),
        ]
        return [*tags, *write_long("token", self.token), *write_long("verdict", self.verdict)]


def read_judging(tags: Sequence[Tag], params: Params) -> JudgingTerms:
    """Read what a judging request hides."""
    parts = params.get_int("parts", 1, PARTS_MAX)
    names = [name for name in params.values if name.startswith("candidate:")]
    if len(names) > CANDIDATES_A_PART:
        raise ParamError("candidate", len(names), f"at most {CANDIDATES_A_PART} in one part")
    return JudgingTerms(
        round=params.get_int("round", 1, ROUNDS_MAX),
        attempt=params.get_int("attempt", 0, ATTEMPTS_MAX),
        part=params.get_int("part", 0, parts - 1),
        parts=parts,
        seed=params.get_hash("beacon"),
        model=need_blob(tags, "model"),
        previous_model=find_blob(tags, "previous"),
        candidates=tuple(_read_candidate(tags, params, name) for name in names),
    )


def _read_candidate(tags: Sequence[Tag], params: Params, name: str) -> CandidateTerms:
    provider = name.removeprefix("candidate:")
    values = params.get_all(name)
    if not is_hash(provider) or len(values) != 4 or not all(map(is_hash, (*values[:2], values[3]))):
        raise ParamError(name[:80], values[:1], "must be contract, commitment, shard and key")
    return CandidateTerms(
        provider=provider,
        contract=values[0],
        commitment=values[1],
        shard=read_int("shard", values[2], 0, SHARDS_MAX - 1),
        update=need_blob(tags, f"update:{provider}"),
        key=values[3],
    )


def write_line(line: JudgementLine) -> Tag:
    """Return the clear `param` of one line."""
    return write_param(f"line:{line.provider}", line.ruling, line.code, line.gain_ppm)


def read_lines(params: Params) -> tuple[JudgementLine, ...]:
    """Read the lines of a judgement."""
    lines = []
    for name, values in params.values.items():
        if not name.startswith("line:"):
            continue
        provider = name.removeprefix("line:")
        if not is_hash(provider) or len(values) != 3:
            raise ParamError(name[:80], values[:1], "must be ruling, code and gain of a provider")
        gain = read_int("gain", values[2], -PPM_LIMIT, PPM_LIMIT)
        lines.append(JudgementLine(provider, Ruling(values[0]), values[1][:40], gain))
    return tuple(lines)


def read_dispute(tags: Sequence[Tag], params: Params) -> DisputeTerms:
    """Read what a dispute hides."""
    return DisputeTerms(
        update=need_blob(tags, "update"),
        key=params.get_hash("key"),
        model=need_blob(tags, "model"),
        attempt=params.get_int("attempt", 0, ATTEMPTS_MAX),
        commitment=params.get_hash("commitment"),
        token="".join(params.get_all("token")),
        verdict="".join(params.get_all("verdict")),
    )
