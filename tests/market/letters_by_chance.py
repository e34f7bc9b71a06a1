"""Letters of every kind that nobody sent, and letters with one thing changed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.market.small_world import Member

from kumiai.base.keys import SigningKey
from kumiai.market import drafts as d
from kumiai.market import terms as t
from kumiai.market.judging_terms import (
    CandidateTerms,
    DisputeTerms,
    JudgementLine,
    JudgingTerms,
)
from kumiai.market.kinds import Code, Kind, Ruling, Status
from kumiai.market.letters import Draft, Letter
from kumiai.market.nips.nip01 import sign_text
from kumiai.market.terms import Tag

ODD = (
    "", "0", "1", "-1", "2", "00", "1e3", "0.5", "99999999999999999999", "ab" * 32, "AB" * 32,
    "accepted", "rejected", "error", "partial", "hold", "x" * 5_000, "\x00", "param", "e", "p",
)  # fmt: skip
BLOB = t.BlobRef("cd" * 32, 60, ("http://x",))


def make_letters(
    customer: Member, providers: Sequence[Member], jury: SigningKey, now_s: int
) -> list[Letter]:
    """One of each kind about the customer's job, with true ids where there are some."""
    state = customer.state
    job, boss, worker = state.job, customer.key, providers[0].key
    member = state.members[worker.pubkey]
    contract = state.contracts[member.contract]
    work = next(w for w in state.works.values() if w.provider == worker.pubkey)
    shown = CandidateTerms(worker.pubkey, contract.id, "ab" * 32, 0, BLOB, "cd" * 32)
    judging = JudgingTerms(1, 0, 0, 1, "ab" * 32, BLOB, None, (shown,))
    asked = d.draft_judging(job.id, jury.pubkey, judging, now_s + 50)
    question = sign(boss, asked, now_s)
    lines = (JudgementLine(worker.pubkey, Ruling.REJECTED, "no-gain", -5),)
    dispute = DisputeTerms(BLOB, "ab" * 32, BLOB, 0, "cd" * 32, "token")
    result = work.result.id if work.result is not None else "ab" * 32
    place = (job.id, contract.id)
    told: list[tuple[SigningKey, Draft]] = [
        (boss, asked),
        (boss, d.draft_cancel([(job.id, Kind.JOB), (contract.id, Kind.CONTRACT)])),
        (boss, d.draft_closing(job.id, 2, "ab" * 32, [(worker.pubkey, 1, 0, 1_000)])),
        (boss, d.draft_rating(contract.id, worker.pubkey, 50, "so so")),
        (jury, d.draft_judgement(question.event, job.id, 1, 0, 5, 5, lines)),
        (worker, d.draft_dispute(*place, work.verdict, 1, jury.pubkey, dispute)),
    ]
    for ruling, code in ((Ruling.ACCEPTED, Code.ACCEPTED), (Ruling.REJECTED, Code.EMPTY)):
        told.append((boss, d.draft_verdict(*place, result, 1, worker.pubkey, ruling, code)))
        for receiver in (boss.pubkey, worker.pubkey):
            ids = ("ab" * 32, work.verdict, receiver)
            told.append((jury, d.draft_ruling(*place, *ids, ruling, code, ("aa",))))
    for status in Status:
        said = (d.draft_feedback(x, job.id, boss.pubkey, status) for x in (work.request, *place))
        told += [(worker, draft) for draft in said]
    return [sign(key, draft, now_s) for key, draft in told]


def sign(key: SigningKey, draft: Draft, at_s: int) -> Letter:
    event = sign_text(key, int(draft.kind), at_s, draft.text, draft.tags)
    return Letter(event, draft.hidden)


def spoil_letter(
    rng: random.Random, letter: Letter, keys: Sequence[SigningKey], others: Sequence[Letter]
) -> Letter:
    """Sign it again by somebody, with up to three changes."""
    tags, hidden = list(letter.event.tags), list(letter.hidden or ())
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        place = hidden if hidden and rng.random() < 0.5 else tags
        change_tags(rng, place, others)
    kind = letter.event.kind if rng.random() < 0.9 else rng.choice(list(Kind)).value
    shown = tuple(hidden) if rng.random() < 0.95 and letter.hidden is not None else None
    text = str(rng.random())
    clear = tuple(tag for tag in tags if tag)
    try:
        event = sign_text(rng.choice(keys), kind, letter.event.created_at, text, clear)
    except ValueError:  # no event: nothing that a node would hand to its machine
        return letter
    return Letter(event, shown)


def change_tags(rng: random.Random, tags: list[Tag], others: Sequence[Letter]) -> None:
    """Remove, double, swap or rewrite one tag."""
    if not tags:
        return
    at, way = rng.randrange(len(tags)), rng.randrange(6)
    if way == 0:
        del tags[at]
    elif way == 1:
        tags.append(tags[at])
    elif way == 2:
        tags[at] = rng.choice([tag for tag in rng.choice(others).tags if tag] or [("x", "y")])
    elif way == 3:
        tags[at] = tags[at][: rng.randrange(1, len(tags[at]) + 1)]
    elif way == 4:
        tags[at] = (*tags[at], rng.choice(ODD))
    elif len(tags[at]) > 1:
        item = rng.randrange(1, len(tags[at]))
        tags[at] = (*tags[at][:item], rng.choice(ODD), *tags[at][item + 1 :])
