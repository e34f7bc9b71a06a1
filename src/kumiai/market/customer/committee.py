"""Judging by several: ask them, count their words, and hear the jury where a verdict is disputed.

A provider's update is accepted or rejected by a quorum of the committee that the job named, whoever
else answers. Without a committee the customer is the only judge (FEDSTR's trust model), by the same
code. Source: docs/nip-training.md, sections 5 and 8.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.market.customer import paying
from kumiai.market.customer.state import UNPAID_STATES, Stage, Work
from kumiai.market.customer.turn import Turn
from kumiai.market.drafts import draft_judging
from kumiai.market.effects import Publish
from kumiai.market.judging_terms import (
    CANDIDATES_A_PART,
    CandidateTerms,
    JudgementLine,
    JudgingTerms,
)
from kumiai.market.kinds import DISPUTABLE, Code, Ruling
from kumiai.market.letters import JudgementGiven, RulingGiven
from kumiai.market.terms import BlobRef

PART_BYTES_MAX = 6_000  # of candidates: encrypted, an event has room for 8,192 in all
SERVERS_BYTES_MAX = 2_000  # of one candidate
_CODES = {str(code): code for code in Code}
_TAKEN_BACK = frozenset({"refunding", "refunded"})  # ecash that is ours again after its locktime


def ask_judges(turn: Turn, opened: Sequence[Work]) -> None:
    """Send every other member of the committee what it shall judge, in parts."""
    pieces = _cut([_describe(turn, work) for work in opened])
    refs = turn.s.refs
    for judge in turn.terms.committee:
        if judge == turn.plan.pubkey:
            continue
        for part, candidates in enumerate(pieces):
            terms = JudgingTerms(
                round=turn.s.round,
                attempt=turn.s.attempt,
                part=part,
                parts=len(pieces),
                seed=turn.derive(f"beacon/{turn.s.round}/{turn.s.attempt}"),
                model=refs[f"model/{turn.s.model}"],
                previous_model=refs.get(f"model/{turn.s.previous_model}"),
                candidates=tuple(candidates),
            )
            draft = draft_judging(turn.job_id, judge, terms, turn.now_s + turn.terms.judge_s)
            place = f"{turn.s.round}/{turn.s.attempt}/{part}"
            turn.ask(Publish(f"publish/judging/{judge}/{place}", draft))


def _cut(candidates: Sequence[CandidateTerms]) -> list[list[CandidateTerms]]:
    """Cut into parts that an event holds: the providers wrote how long each one is."""
    pieces: list[list[CandidateTerms]] = []
    room = 0
    for one in candidates:
        size = len(json.dumps(one.list_tags(), ensure_ascii=False).encode())
        if not pieces or size > room or len(pieces[-1]) == CANDIDATES_A_PART:
            pieces.append([])
            room = PART_BYTES_MAX
        pieces[-1].append(one)
        room -= size
    return pieces


def _shorten(ref: BlobRef) -> BlobRef:
    """Name as many of its servers as there is room for; who names a longer one names none."""
    kept: list[str] = []
    room = SERVERS_BYTES_MAX
    for server in ref.servers:
        room -= len(json.dumps(server).encode())
        if room >= 0:
            kept.append(server)
    return replace(ref, servers=tuple(kept))


def _describe(turn: Turn, work: Work) -> CandidateTerms:
    if work.result is None:
        raise ValueError(f"work {work.key} has no result to be judged")
    member = turn.s.members[work.provider]
    terms = work.result.terms
    return CandidateTerms(
        provider=work.provider,
        contract=member.contract,
        commitment=terms.commitment,
        shard=member.shard,
        update=_shorten(terms.update),
        key=work.seal_key,
    )


def on_judgement(turn: Turn, message: JudgementGiven, event: Event) -> None:
    """Count a judge's word once; strangers and other rounds do not count."""
    place = (message.job, message.round, message.attempt)
    if message.judge not in turn.terms.committee:
        evidence = {"event": message.id, "author": message.judge}
        turn.refuse(Reject("not-a-judge", "judges without being asked", evidence), event)
    elif place == (turn.job_id, turn.s.round, turn.s.attempt) and message.judge not in turn.s.votes:
        turn.keep("votes", message.judge, message)


def count(turn: Turn, provider: str) -> JudgementLine | None:
    """Return what the quorum says of a provider's update; None while no side has enough words.

    The gain is the lower middle one of the deciding side; the code the first judge's of that side.
    """
    quorum = turn.terms.quorum if turn.terms.committee else 1
    sides: dict[Ruling, list[JudgementLine]] = {}
    for vote in turn.s.votes.values():
        for line in vote.lines:
            if line.provider == provider:
                sides.setdefault(line.ruling, []).append(line)
                break
    for ruling in (Ruling.ACCEPTED, Ruling.REJECTED):
        lines = sides.get(ruling, [])
        if len(lines) >= quorum:
            gains = sorted(line.gain_ppm for line in lines)
            gain = gains[(len(gains) - 1) // 2]
            return JudgementLine(provider, ruling, lines[0].code, gain)
    return None


def find_middle(votes: Sequence[JudgementGiven]) -> tuple[int, int]:
    """Return the lower middle loss and accuracy of the judges' hold-outs."""
    losses = sorted(vote.loss_ppm for vote in votes)
    accuracies = sorted(vote.accuracy_ppm for vote in votes)
    at = (len(votes) - 1) // 2
    return losses[at], accuracies[at]


def find_code(line: JudgementLine) -> Code:
    """Return a judge's code as one of ours."""
    return _CODES.get(line.code, Code.NO_GAIN)


def is_overdue(turn: Turn) -> bool:
    """Tell whether the judges have had their time; the customer alone waits for itself."""
    return bool(turn.terms.committee) and turn.now_s > turn.s.phase_since_s + turn.terms.judge_s


def on_ruling(turn: Turn, message: RulingGiven, event: Event) -> None:
    """More than half of the jury for a rejected work: it is paid all the same."""
    evidence = {"event": message.id, "author": message.juror}
    if message.juror not in turn.terms.jury:
        turn.refuse(Reject("not-a-juror", "rules without being of the jury", evidence), event)
        return
    found = [w for w in turn.s.works.values() if w.verdict and w.verdict == message.verdict]
    if not found or message.ruling is not Ruling.ACCEPTED:
        return
    work = found[0]
    if work.stage is not Stage.REJECTED:
        return  # decided already
    if work.code not in DISPUTABLE:
        detail = f"rules on what no jury can measure: {work.code}"
        turn.refuse(Reject("not-disputable", detail, evidence), event)
        return
    jurors = tuple(dict.fromkeys((*turn.s.rulings.get(work.key, ()), message.juror)))
    turn.keep("rulings", work.key, jurors)
    is_decided = 2 * len(jurors) > len(turn.terms.jury)
    if is_decided and work.payment not in UNPAID_STATES | _TAKEN_BACK:
        paying.accept(turn, work)
