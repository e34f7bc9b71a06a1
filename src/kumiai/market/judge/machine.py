"""The judge as one pure machine: measure what a customer shows, or what a provider disputes.

A judge has a hold-out of its own and believes neither side: the update must be the one that its
worker committed to (`compute_commitment`), and its worth is what the judge measures. It answers
only for jobs whose committee or jury names it.
Source: docs/nip-training.md, sections 5 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.market import effects as fx
from kumiai.market.drafts import compute_commitment, draft_judgement, draft_ruling
from kumiai.market.escrow import name_work
from kumiai.market.judge.disputes import find_disputed_update
from kumiai.market.judge.session import Session, Sheet, gather, is_ready, make_dispute
from kumiai.market.judging_terms import JudgementLine
from kumiai.market.kinds import TOPIC, Code, Kind, Ruling
from kumiai.market.letters import DisputeRaised, JobPosted, JudgingAsked, Letter
from kumiai.market.machine import Outcome, Scratch, keep_evidence
from kumiai.market.nips.nip01 import Filter
from kumiai.market.reading import read_message
from kumiai.market.rules import judge_lines
from kumiai.market.sealing import compute_sealed_bytes_max
from kumiai.market.terms import JobTerms

JOBS_MAX = 100
SESSIONS_MAX = 1_000
BYTES_MAX = 2**31  # of a model or an update: as much as providers take


@dataclass(frozen=True, slots=True)
class JudgePolicy:
    """Who judges, and for whom: jobs by id, () for every job that names us."""

    pubkey: str
    secret: str
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgeState:
    """What a judge knows; a plain value."""

    jobs: Mapping[str, JobTerms] = field(default_factory=dict)
    customers: Mapping[str, str] = field(default_factory=dict)
    sessions: Mapping[str, Session] = field(default_factory=dict)
    pending: Mapping[str, fx.Effect] = field(default_factory=dict)
    rejected: tuple[fx.Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Sit:
    """Command: be ready (it changes nothing, and starts the journal)."""


@dataclass(frozen=True, slots=True)
class Judging:
    """See `market.machine.Machine`."""

    policy: JudgePolicy

    def begin(self) -> JudgeState:
        """Nothing is known yet."""
        return JudgeState()

    def step(
        self,
        state: JudgeState,
        now_s: int,
        item: fx.Heard | fx.Ticked | fx.Woken | fx.Result | Sit,
    ) -> Outcome[JudgeState]:
        """Take one input at that time of the judge's clock."""
        turn = _Turn(self.policy, state, now_s)
        if isinstance(item, fx.Heard):
            turn.on_letter(item.letter)
        elif not isinstance(item, fx.Ticked | fx.Woken | Sit):
            turn.on_result(item)
        return Outcome(turn.s, tuple(turn.effects), tuple(turn.rejected))

    def get_pending(self, state: JudgeState) -> Mapping[str, fx.Effect]:
        """Return effects without a final result, in the order they were asked for."""
        return state.pending

    def list_filters(self, state: JudgeState) -> tuple[Filter, ...]:
        """Return all jobs, and what is addressed to us."""
        mine = (int(Kind.JUDGING), int(Kind.DISPUTE))
        return (
            Filter(kinds=(int(Kind.JOB),), tags={"t": (TOPIC,)}),
            Filter(kinds=mine, tags={"p": (self.policy.pubkey,)}),
        )


class _Turn(Scratch[JudgeState]):
    def __init__(self, policy: JudgePolicy, state: JudgeState, now_s: int) -> None:
        super().__init__(state)
        self.policy, self.now_s = policy, now_s
        self.effects: list[fx.Effect] = []
        self.rejected: list[fx.Rejected] = []

    def ask(self, effect: fx.Effect) -> None:
        if effect.key not in self.s.pending:
            self.keep("pending", effect.key, effect)
            self.effects.append(effect)

    def put(self, session: Session) -> None:
        self.keep("sessions", session.key, session)

    def refuse(self, reject: Reject, event: Event) -> None:
        item = fx.Rejected(self.now_s, reject, event)
        self.rejected.append(item)
        partners = self.s.customers.values()
        self.s = replace(self.s, rejected=keep_evidence(self.s.rejected, item, partners))

    def _refuse_stranger(self, event: Event) -> None:
        evidence = {"event": event.id, "author": event.pubkey}
        detail = "asks about a job that does not name us, or is not theirs"
        self.refuse(Reject("not-our-job", detail, evidence), event)

    # -- letters --

    def on_letter(self, letter: Letter) -> None:
        event = letter.event
        if event.pubkey == self.policy.pubkey:
            return
        message = read_message(letter, self.now_s)
        if isinstance(message, Reject):
            self.refuse(message, event)
        elif isinstance(message, JobPosted):
            self._on_job(message)
        elif isinstance(message, JudgingAsked):
            self._on_judging(message)
        elif isinstance(message, DisputeRaised):
            self._on_dispute(message)

    def _on_job(self, job: JobPosted) -> None:
        terms = job.terms
        if terms is None or job.id in self.s.jobs:
            return
        if max(terms.model_bytes, terms.update_bytes_max) > BYTES_MAX:
            return  # its author alone says how much a judge would download
        is_named = self.policy.pubkey in (*terms.committee, *terms.jury)
        is_ours = is_named and (not self.policy.jobs or job.id in self.policy.jobs)
        if is_ours and self._forget_a_job():
            self.keep("jobs", job.id, terms)
            self.keep("customers", job.id, job.customer)

    def _forget_a_job(self) -> bool:
        """Make room: the oldest job about which nothing was asked gives way.

        If all were asked about, the one for the longest time not, unless work for it is under way.
        """
        if len(self.s.jobs) < JOBS_MAX:
            return True
        sessions = self.s.sessions.values()
        asked_at = {session.job: at for at, session in enumerate(sessions)}
        at_work = {session.job for session in sessions if self._is_at_work(session)}
        idle = [job for job in self.s.jobs if job not in at_work]
        if not idle:
            return False
        oldest = min(idle, key=lambda job: asked_at.get(job, -1))
        for mapping in ("jobs", "customers"):
            self.forget(mapping, oldest)
        for key in [session.key for session in sessions if session.job == oldest]:
            self.forget("sessions", key)
        return True

    def _is_at_work(self, session: Session) -> bool:
        return any(key.split("/")[1] == session.key for key in self.s.pending)

    def _on_judging(self, message: JudgingAsked) -> None:
        terms = self.s.jobs.get(message.job)
        is_theirs = self.s.customers.get(message.job) == message.customer
        if terms is None or not is_theirs or self.policy.pubkey not in terms.committee:
            self._refuse_stranger(message.event)
            return
        asked = message.terms
        key = f"{message.job}:{asked.round}:{asked.attempt}"
        session = self.s.sessions.get(key)
        if session is None:
            self._make_room(message.job)
        session = gather(session, key, message)
        self.put(session)
        if session.is_whole and not session.is_begun:
            self._begin(replace(session, is_begun=True))

    def _on_dispute(self, message: DisputeRaised) -> None:
        terms = self.s.jobs.get(message.job)
        if terms is None or self.policy.pubkey not in terms.jury:
            self._refuse_stranger(message.event)
        elif message.id not in self.s.sessions:
            try:
                update = find_disputed_update(message, self.s.customers[message.job])
            except ValueError as error:
                evidence = {"event": message.id, "author": message.provider}
                self.refuse(Reject("bad-dispute", str(error), evidence), message.event)
                return
            if self._is_heard(message.verdict):
                evidence = {"event": message.id, "author": message.provider}
                detail = "this verdict has been disputed before"
                self.refuse(Reject("second-dispute", detail, evidence), message.event)
                return
            self._make_room(message.job)
            self._begin(make_dispute(message, update))

    def _is_heard(self, verdict: str) -> bool:
        """Tell whether a dispute about it is judged, or was: each could show other ecash."""
        return any(
            session.is_asked or self._is_at_work(session)
            for session in self.s.sessions.values()
            if session.dispute is not None and session.dispute.verdict == verdict
        )

    def _make_room(self, job: str) -> None:
        """Forget the oldest session; of the same job, if that one has more than its share."""
        if len(self.s.sessions) < SESSIONS_MAX:
            return
        own = [key for key, session in self.s.sessions.items() if session.job == job]
        has_share = len(own) >= SESSIONS_MAX // JOBS_MAX
        oldest = own[0] if has_share else next(iter(self.s.sessions))
        self.forget("sessions", oldest)

    # -- work --

    def _begin(self, session: Session) -> None:
        terms = self.s.jobs[session.job]
        self.put(session)
        key = session.key
        self.ask(fx.Fetch(f"fetch/{key}/model", session.model, terms.model_bytes))
        if session.previous is not None:
            self.ask(fx.Fetch(f"fetch/{key}/previous", session.previous, terms.model_bytes))
        size_max = compute_sealed_bytes_max(terms.update_bytes_max)
        for one in session.candidates:
            self.ask(fx.Fetch(f"fetch/{key}/{one.provider}", one.update, size_max))

    def on_result(self, result: fx.Result) -> None:
        if result.key not in self.s.pending:
            return
        if fx.is_final(result):
            self.forget("pending", result.key)
        name, key, what = (*result.key.split("/"), "")[:3]
        session = self.s.sessions.get(key)
        if session is None:
            return
        if isinstance(result, fx.Fetched):
            self._on_fetched(session, what)
        elif isinstance(result, fx.Unsealed):
            self._on_unsealed(session, what, result)
        elif isinstance(result, fx.Judged):
            self._on_judged(session, result)
        elif isinstance(result, fx.TokenSigned):
            self._rule(session, result.signatures)
        elif isinstance(result, fx.Failed):
            self._on_failed(session, name, what)

    def _on_fetched(self, session: Session, what: str) -> None:
        found = [one for one in session.candidates if one.provider == what]
        if found:
            size_max = self.s.jobs[session.job].update_bytes_max
            sealed, seal_key = found[0].update.sha256, found[0].key
            self.ask(fx.Unseal(f"unseal/{session.key}/{what}", sealed, seal_key, size_max))
            return
        self._go_on(replace(session, blobs={**session.blobs, what: True}))

    def _on_unsealed(self, session: Session, provider: str, opened: fx.Unsealed) -> None:
        one = next(c for c in session.candidates if c.provider == provider)
        commitment = compute_commitment(
            session.job, one.contract, session.round, session.attempt, provider, opened.blob
        )
        is_kept = commitment == one.commitment and session.disputed in ("", opened.blob)
        sheet = Sheet(opened.blob) if is_kept else Sheet("", Code.BAD_COMMITMENT)
        self._go_on(replace(session, sheets={**session.sheets, provider: sheet}))

    def _on_failed(self, session: Session, name: str, what: str) -> None:
        """An update that cannot be had or opened is judged as such; without a model, nothing is."""
        if any(one.provider == what for one in session.candidates):
            code = Code.NOT_THERE if name == "fetch" else Code.WRONG_HASH
            self._go_on(replace(session, sheets={**session.sheets, what: Sheet("", code)}))
        elif name == "sign":
            self._rule(session, ())

    def _go_on(self, session: Session) -> None:
        if session.is_asked or not is_ready(session):
            self.put(session)
            return
        self.put(replace(session, is_asked=True))
        sheets = session.sheets
        candidates = [
            (one.provider, sheets[one.provider].update, one.shard)
            for one in session.candidates
            if sheets[one.provider].update
        ]
        self.ask(
            fx.Judge(
                key=f"judge/{session.key}",
                round=session.round,
                model=session.model.sha256,
                previous_model=session.previous.sha256 if session.previous is not None else "",
                candidates=tuple(candidates),
                seed=session.seed,
            )
        )

    def _on_judged(self, session: Session, judged: fx.Judged) -> None:
        validation = self.s.jobs[session.job].validation
        lines = [
            JudgementLine(line.provider, ruling, str(code), line.gain)
            for line, ruling, code in judge_lines(judged.lines, validation)
        ]
        lines += [
            JudgementLine(provider, Ruling.REJECTED, str(sheet.code), 0)
            for provider, sheet in session.sheets.items()
            if not sheet.update
        ]
        session = replace(session, lines=tuple(lines))
        self.put(session)
        if session.dispute is None:
            draft = draft_judgement(
                session.event,
                session.job,
                session.round,
                session.attempt,
                judged.loss_ppm,
                judged.accuracy_ppm,
                lines,
            )
            self.ask(fx.Publish(f"publish/{session.key}/judgement", draft))
        elif session.dispute.terms.token and lines[0].ruling is Ruling.ACCEPTED:
            it = session.dispute
            about = name_work(it.job, it.contract, it.round, it.terms.attempt)
            self.ask(fx.SignToken(f"sign/{session.key}", it.terms.token, about))
        else:
            self._rule(session, ())

    def _rule(self, session: Session, signatures: tuple[str, ...]) -> None:
        dispute = session.dispute
        if dispute is None or not session.lines:
            return
        line = session.lines[0]
        parties = ((dispute.provider, signatures), (self.s.customers[session.job], ()))
        for receiver, shown in parties:
            draft = draft_ruling(
                session.job,
                dispute.contract,
                dispute.id,
                dispute.verdict,
                receiver,
                line.ruling,
                Code(line.code),
                shown,
            )
            self.ask(fx.Publish(f"publish/{session.key}/{receiver}", draft))
