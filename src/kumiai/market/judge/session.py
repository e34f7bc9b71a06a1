"""One judging under way: what was asked, which bytes are here, and what is still awaited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kumiai.base.events import Event
from kumiai.market.judging_terms import CandidateTerms, JudgementLine
from kumiai.market.kinds import Code
from kumiai.market.letters import DisputeRaised, JudgingAsked
from kumiai.market.terms import BlobRef


@dataclass(frozen=True, slots=True)
class Sheet:
    """An opened update, or "" and why there is none."""

    update: str
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A round's judging, or a dispute. asked: part -> its candidates."""

    key: str
    job: str
    round: int
    attempt: int
    event: Event  # the first request, which the answer names
    model: BlobRef
    previous: BlobRef | None
    seed: str
    parts: int
    asked: Mapping[int, tuple[CandidateTerms, ...]]
    dispute: DisputeRaised | None = None
    disputed: str = ""  # sha256 of the update that the dispute is about
    is_begun: bool = False
    is_asked: bool = False
    blobs: Mapping[str, bool] = field(default_factory=dict)
    sheets: Mapping[str, Sheet] = field(default_factory=dict)
    lines: tuple[JudgementLine, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Tell whether all parts of the request are here."""
        return len(self.asked) == self.parts

    @property
    def candidates(self) -> tuple[CandidateTerms, ...]:
        """All updates in order, each provider once."""
        found: dict[str, CandidateTerms] = {}
        for part in sorted(self.asked):
            for one in self.asked[part]:
                found.setdefault(one.provider, one)
        return tuple(found.values())


def gather(session: Session | None, key: str, message: JudgingAsked) -> Session:
    """Add a part of a request; the first one that came for its place counts."""
    terms = message.terms
    if session is None:
        session = Session(
            key=key,
            job=message.job,
            round=terms.round,
            attempt=terms.attempt,
            event=message.event,
            model=terms.model,
            previous=terms.previous_model,
            seed=terms.seed,
            parts=terms.parts,
            asked={},
        )
    if terms.parts != session.parts or terms.part in session.asked:
        return session
    return replace(session, asked={**session.asked, terms.part: terms.candidates})


def make_dispute(message: DisputeRaised, update: str) -> Session:
    """A dispute is a judging of one update: of this one, which the verdict names."""
    shown = message.terms
    one = CandidateTerms(
        provider=message.provider,
        contract=message.contract,
        commitment=shown.commitment,
        shard=0,
        update=shown.update,
        key=shown.key,
    )
    return Session(
        key=message.id,
        job=message.job,
        round=message.round,
        attempt=shown.attempt,
        event=message.event,
        model=shown.model,
        previous=None,
        seed=message.id,
        parts=1,
        asked={0: (one,)},
        dispute=message,
        disputed=update,
        is_begun=True,
    )


def is_ready(session: Session) -> bool:
    """Tell whether the models are here and every update is opened, or known to be missing."""
    wanted = {"model", *(["previous"] if session.previous is not None else [])}
    return wanted <= set(session.blobs) and len(session.sheets) == len(session.candidates)
