"""Everything that an exported model's card may say: each value from the run, none from a template.

A value that the run does not hold is None or "", and the card leaves its line out or says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kumiai.adapters.compute.execution.evaluate import evaluate_models
from kumiai.apps.export.subject import Subject, Wanted
from kumiai.base.amounts import PPM
from kumiai.learning.layout import compute_layout
from kumiai.learning.recipe import build_seeded
from kumiai.rounds.state import RunPhase
from kumiai.tasks.document import TaskDocument


@dataclass(frozen=True, slots=True)
class Measured:
    """The exported model on one part of the data. where: "holdout" or "test", a catalogue key.

    samples: 0 where the run's record does not say.
    """

    where: str
    samples: int
    loss_ppm: int | None
    accuracy_ppm: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the card says. Contribution in ppm of a nat; epsilon in thousandths, as claimed.

    number_count: of the exported network; signer_count of committee_count signed `certificate`,
    whose model has the digest `model_digest`. receipt: the member's last one.
    """

    task: TaskDocument
    task_id: str
    wanted: Wanted
    shape: tuple[int, ...]
    class_count: int
    number_count: int
    round_count: int
    trainer_count: int
    certificate: str
    certificate_round: int
    signer_count: int
    committee_count: int
    model_digest: str
    measured: tuple[Measured, ...]
    holdout_blobs: tuple[str, ...]
    contribution_ppm: int | None
    error_ppm: int
    receipt: str
    epsilon_milli: int
    data: str
    licence: str
    version: str


def gather_facts(subject: Subject, wanted: Wanted) -> Facts:
    """Collect the facts; measures the model on the opened hold-outs."""
    state, view = subject.state, subject.view
    certificate = state.certificates[-1]
    tally = state.tallies.get(wanted.pubkey)
    trainers = {k for k, m in state.members.items() if m.role == "trainer"}
    included = [k for k in trainers - set(state.canaries or ()) if _has_entered(subject, k)]
    module = build_seeded(subject.recipe, subject.find_width(wanted.width_ppm), 0)
    epsilons = [r.epsilon_milli for r in view.receipts]
    return Facts(
        task=subject.task,
        task_id=state.task_id,
        wanted=wanted,
        shape=subject.shape,
        class_count=subject.class_count,
        number_count=compute_layout(module).size,
        round_count=sum(c.round <= subject.task.training.rounds for c in state.certificates),
        trainer_count=len(included),
        certificate=certificate.body_hash,
        certificate_round=certificate.round,
        signer_count=len(certificate.signers),
        committee_count=len(certificate.body["committee"]),  # type: ignore[arg-type]
        model_digest=state.model,
        measured=(*_measure_holdouts(subject, wanted), *_find_test(subject, wanted)),
        holdout_blobs=state.holdout_blobs,
        contribution_ppm=tally.value if tally else None,
        error_ppm=round(tally.error_squared**0.5) if tally else 0,
        receipt=state.receipt_heads.get(wanted.pubkey, ""),
        epsilon_milli=max(epsilons, default=0),
        data=view.environment.get("data", ""),
        licence=view.environment.get("licence", ""),
        version=view.environment.get("kumiai", ""),
    )


def _has_entered(subject: Subject, key: str) -> bool:
    """Tell whether an update of this member is in the model."""
    tally = subject.state.tallies.get(key)
    return tally is not None and tally.round_included > 0


def _measure_holdouts(subject: Subject, wanted: Wanted) -> list[Measured]:
    parts = subject.read_holdouts()
    if not parts:
        return []
    inputs, targets = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    layout = compute_layout(build_seeded(subject.recipe, 1.0, 0))
    losses, accuracies = evaluate_models(
        subject.recipe,
        layout,
        subject.model_P[None],
        inputs,
        targets,
        width=subject.find_width(wanted.width_ppm),
    )
    figures = (round(PPM * float(losses[0])), round(PPM * float(accuracies[0])))
    return [Measured("holdout", len(inputs), *figures)]


def _find_test(subject: Subject, wanted: Wanted) -> list[Measured]:
    """What the run wrote down about this width on its test part, which it does not publish."""
    view = subject.view
    if view.phase != RunPhase.FINISHED or not subject.task.data.test_ppm:
        return []
    if wanted.width_ppm == PPM and view.rounds:
        last = view.rounds[-1]
        return [Measured("test", 0, last.loss_ppm, last.accuracy_ppm)]
    found = [m.model_accuracy_ppm for m in view.members if m.width_ppm == wanted.width_ppm]
    known = [accuracy for accuracy in found if accuracy is not None]
    return [Measured("test", 0, None, known[0])] if known else []
