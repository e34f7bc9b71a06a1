"""From a finished run to its view: members, rounds, certificates, totals, in plain data."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from math import isqrt

import numpy as np
import torch

from kumiai import __version__
from kumiai.apps import flows
from kumiai.apps.finished import ExportedModel, Finished, read_model
from kumiai.apps.personal import PersonalModel
from kumiai.apps.population import Person
from kumiai.apps.sample import write_sample
from kumiai.apps.scenarios import has_shard
from kumiai.apps.view import CertificateView, MemberView, ReceiptView, RoundView, RunView
from kumiai.base.amounts import PPM
from kumiai.rounds.final import is_established
from kumiai.rounds.receipt import INCLUDED_REASONS, REASONS
from kumiai.rounds.signed import Certificate
from kumiai.rounds.state import NodeState, RunState, Tally
from kumiai.rounds.widths import compute_curve, is_live
from kumiai.tasks.document import to_document

_JOULE_PER_FLOP = 1e-9  # a core of 15 W at 15 GFLOP/s on small networks: an estimate, shown as one


def make_view(
    finished: Finished,
    receipts: tuple[ReceiptView, ...],
    models: dict[str, ExportedModel],
    personal: dict[str, PersonalModel],
) -> RunView:
    """Return the view of the whole run: what the page, the terminal and a notebook show."""
    state, telemetry = finished.state, finished.telemetry
    names = _names(finished)
    money = flows.summarise(finished.commands, names)
    rounds = _round_views(finished)
    flop = sum(tally.flop for tally in state.tallies.values())
    paid = sum(f.amount for f in money if f.kind in ("round", "final"))
    start, written = write_sample(finished)
    return RunView(
        task=to_document(finished.task),
        task_id=state.task_id,
        scenario=finished.casting.scenario,
        phase=state.phase.value,
        seed=finished.task.seed,
        members=_member_views(finished, models, personal, receipts),
        rounds=rounds,
        flows=money,
        certificates=_certificate_views(finished, names),
        receipts=receipts,
        totals={
            "funded": state.funded,
            "paid": paid,
            "locked": 0,
            "refunded": sum(f.amount for f in money if f.kind == "refund"),
            "burnt": sum(f.amount for f in money if f.kind == "slash"),
            "bytes": sum(telemetry.round_bytes.values()),
            "flop": flop,
            "energy_wh": round(flop * _JOULE_PER_FLOP / 3600, 6),
            "seconds": round(telemetry.seconds, 3),
        },
        indicators=_indicators(finished),
        environment={
            "kumiai": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": f"{platform.system()} {platform.machine()}",
            "data": finished.workload.description,
            "licence": finished.workload.licence,
            "engine": finished.workload.engine.reason,
        },
        notes=_notes(finished),
        token_bytes_ppm=finished.workload.token_bytes_ppm,
        text_start=start,
        text_written=written,
        width_curve=tuple(zip(finished.task.model.widths_ppm, compute_curve(state), strict=False)),
    )


def _names(finished: Finished) -> dict[str, str]:
    names = {key: member.name for key, member in finished.state.members.items()}
    names[finished.state.customer] = "customer"
    return names


def _round_views(finished: Finished) -> tuple[RoundView, ...]:
    """Test loss and accuracy of every certified model, all evaluated at once."""
    telemetry, state = finished.telemetry, finished.state
    certified = [
        c for c in telemetry.certified if c.certificate.round <= finished.task.training.rounds
    ]
    if not certified:
        return ()
    vectors = torch.from_numpy(
        np.stack([read_model(finished, str(c.certificate.body["model"])) for c in certified])
    )
    x, y = finished.workload.data.test
    losses, accuracies = finished.workload.engine.evaluate(vectors, x, y)
    views = []
    for place, each in enumerate(certified):
        index = each.certificate.round
        trainers = [r for r in each.receipts if r["role"] == "trainer"]
        trainers = [r for r in trainers if r["member"] not in (state.canaries or ())]
        views.append(
            RoundView(
                round=index,
                loss_ppm=round(float(losses[place]) * PPM),
                accuracy_ppm=round(float(accuracies[place]) * PPM),
                bytes=telemetry.round_bytes.get(index, 0),
                virtual_ms=telemetry.round_ended_ms[index]
                - telemetry.round_started_ms.get(index, 0),
                seconds=round(telemetry.round_seconds.get(index, 0.0), 4),
                phase_seconds={
                    k: round(v, 4) for k, v in telemetry.phase_seconds.get(index, {}).items()
                },
                included=tuple(str(r["name"]) for r in trainers if r["reason"] in INCLUDED_REASONS),
                excluded=tuple(
                    (str(r["name"]), str(r["sentence"]))
                    for r in trainers
                    if r["reason"] not in INCLUDED_REASONS
                ),
                late=telemetry.late.get(index, ()),
                values={str(r["name"]): int(str(r["value_ppm"])) for r in trainers},
            )
        )
    return tuple(views)


def _member_views(
    finished: Finished,
    models: dict[str, ExportedModel],
    personal: dict[str, PersonalModel],
    receipts: Sequence[ReceiptView],
) -> tuple[MemberView, ...]:
    people = {finished.population.pubkey(p.name): p for p in finished.casting.people}
    views = [
        _member_view(finished, key, person, models, personal, receipts)
        for key, person in people.items()
        if key in finished.state.members
    ]
    customer = finished.state.customer
    full = models.get(customer)
    views.append(
        MemberView(
            pubkey=customer,
            name="customer",
            role="customer",
            reason="Posted and funded the task.",
            reason_code="customer",
            width_ppm=PPM if full else 0,
            model_path=full.path if full else "",
            model_accuracy_ppm=full.accuracy_ppm if full else None,
        )
    )
    return tuple(views)


def _member_view(
    finished: Finished,
    key: str,
    person: Person,
    models: dict[str, ExportedModel],
    personal: dict[str, PersonalModel],
    receipts: Sequence[ReceiptView],
) -> MemberView:
    state = finished.state
    member, tally = state.members[key], state.tallies.get(key, Tally())
    mine = [r for r in receipts if r.member == member.name]
    rounds = [r for r in mine if r.round > 0]
    verdict, code, sentence = _conclude(state, key, person.role, rounds, mine)
    model, own = models.get(key), personal.get(key)
    return MemberView(
        pubkey=key,
        name=member.name,
        role=person.role,  # type: ignore[arg-type]
        behaviour=person.behaviour,
        verdict=verdict,  # type: ignore[arg-type]
        reason=sentence,
        reason_code=code,
        contribution_ppm=tally.value,
        error_ppm=isqrt(tally.error_squared),
        stake=member.stake or sum(amount for _, amount in person.backs),
        delegated=sum(d.amount for d in state.delegations if d.node == key),
        reward=tally.earned,
        slashed=tally.slashed,
        width_ppm=state.widths_ppm.get(key, 0),
        model_path=model.path if model else "",
        model_accuracy_ppm=model.accuracy_ppm if model else None,
        personal_path=own.path if own else "",
        personal_accuracy_ppm=own.accuracy_ppm if own else None,
        shared_accuracy_ppm=own.shared_accuracy_ppm if own else None,
        samples=_shard_size(finished, key),
        bytes_sent=tally.bytes_sent,
        flop=tally.flop,
        round_verdicts=tuple(r.verdict for r in rounds)
        if person.role in ("trainer", "canary")
        else (),
        epsilon_milli=max((r.epsilon_milli for r in mine), default=0),
        round_widths_ppm=tuple(r.width_ppm for r in rounds)
        if is_live(finished.task) and person.role in ("trainer", "canary")
        else (),
    )


def _conclude(
    state: RunState,
    key: str,
    role: str,
    rounds: Sequence[ReceiptView],
    mine: Sequence[ReceiptView],
) -> tuple[str, str, str]:
    """The verdict over the whole run, and the reason that was given most often for it."""
    if role not in ("trainer", "canary"):
        last = mine[-1] if mine else None
        return "-", last.reason_code if last else "", last.reason if last else ""
    tally, member = state.tallies.get(key, Tally()), state.members[key]
    if role == "canary":
        return "INVALID" if tally.rounds_invalid else "-", "canary", REASONS["canary"]
    if member.state is NodeState.EJECTED or tally.rounds_invalid > tally.rounds_valid:
        verdict = "INVALID"
    elif is_established(tally):
        verdict = "VALID"
    else:
        verdict = "INCONCLUSIVE"
    fitting = [r for r in rounds if r.verdict == verdict] or list(rounds)
    if not fitting:
        return verdict, "no-reply", REASONS["no-reply"]
    codes = [r.reason_code for r in fitting]
    code = max(sorted(set(codes)), key=codes.count)
    return verdict, code, next(r.reason for r in fitting if r.reason_code == code)


def _shard_size(finished: Finished, key: str) -> int:
    owners = [p for p in finished.population.named("trainer") if has_shard(p)]
    keys = [finished.population.pubkey(p.name) for p in owners]
    return len(finished.workload.data.shards[keys.index(key)][1]) if key in keys else 0


def _certificate_views(finished: Finished, names: dict[str, str]) -> tuple[CertificateView, ...]:
    return tuple(_certificate_view(each, names) for each in finished.state.certificates)


def _certificate_view(certificate: Certificate, names: dict[str, str]) -> CertificateView:
    body, signed = certificate.body, [key for key, _ in certificate.signers]
    committee = body["committee"]
    assert isinstance(committee, list)
    return CertificateView(
        round=certificate.round,
        hash=certificate.body_hash,
        model_digest=str(body["model"]),
        signers=tuple(names[key] for key in signed),
        quorum=int(str(body["quorum"])),
        height=int(str(body["log_height"])),
        silent=tuple(names[key] for key in committee if key not in signed),
    )


def _indicators(finished: Finished) -> dict[str, object]:
    governance, state = finished.task.governance, finished.state
    guardians = len(state.guardians)
    return {
        "owner": governance.owner,
        "responsible": governance.responsible,
        "jurisdiction": governance.jurisdiction,
        "stop_who": f"{guardians} guardians",
        "stop_guardians": guardians,
        "stop_required": governance.guardians_required,
        "stop_last_drill": "",
        "members_signed": len(state.members),
    }


def _notes(finished: Finished) -> tuple[str, ...]:
    """What a reader should know that no table shows."""
    notes = []
    count = finished.driver.reject_count
    if count:
        notes.append(
            f"{count} messages were refused (late, repeated or malformed); see telemetry.json."
        )
    if finished.state.reason:
        notes.append(finished.state.reason)
    return tuple(notes)
