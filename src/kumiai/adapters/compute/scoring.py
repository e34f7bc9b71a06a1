"""A round's updates judged for several validators at once.

Flags come from the updates' bytes (`proofs.similarity`), the same for every validator. What is flagged
leaves the game; the others are valued as players of a coalition game whose utility is minus the
hold-out loss of (global model + sum of the coalition's updates / number of players). Coalition models
are built once and measured on every validator's two hold-outs: A decides now, B is kept for the final
ranking.

Deviation: GTG-Shapley and FedSV divide by the coalition's size. Then a coalition of one takes a whole
step alone, and on skewed shards the loss of such models, which nobody would ever use, swamps
everybody's value (seen on MNIST-5k, Dirichlet 1.0: -1.7 nats for an honest member). With the fixed
divisor an absent member is one that sent zeros, and steps stay in the region that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.learning import fixed_point
from kumiai.learning.engine import Engine
from kumiai.nodes import ports
from kumiai.proofs import flags as flag
from kumiai.proofs.similarity import Finding, SimilarityLimits, find_flags
from kumiai.tasks.document import TaskDocument
from kumiai.valuation import GtgLimits, Valuation, assess_games, value_by_cosine

_PPM = 1_000_000
_VALUE_MAX = 10**9
LOSS_MAX = 50.0  # nats; what a model with broken numbers counts as
LEAVE_ONE_OUT_ABOVE = 30  # players; more than that and permutations cost too much a round


@dataclass(frozen=True, slots=True)
class Holdout:
    """One validator's data: part A scores the rounds, part B the final ranking."""

    a: tuple[torch.Tensor, torch.Tensor]
    b: tuple[torch.Tensor, torch.Tensor]


def score_round(
    task: TaskDocument,
    engine: Engine,
    decoded: DecodedBlobs,
    jobs: Sequence[ports.ScoreJob],
    holdouts: Sequence[Holdout],
) -> list[ports.ScoreResult]:
    """Return one result a job; all jobs are of the same round."""
    job = jobs[0]
    updates = [decoded.find("update", ref.blob) for ref in job.updates]
    findings = find_findings(task, decoded, job, updates)
    players = [i for i, finding in enumerate(findings) if finding.flags == 0]
    game = CoalitionGame(
        engine, decoded.get("model", job.model), [updates[i] for i in players], holdouts
    )
    values = value_players(task, job.seed, game, [updates[i] for i in players])
    results = []
    for index, each in enumerate(jobs):
        value_a, value_b = values[2 * index], values[2 * index + 1]
        alone = game.measure([0, *(1 << k for k in range(len(players)))])[:, 2 * index]
        places = {i: k for k, i in enumerate(players)}
        lines = []
        for i, ref in enumerate(job.updates):
            k, finding = places.get(i), findings[i]
            original = finding.duplicate_of
            lines.append(
                ports.ScoreLine(
                    member=ref.member,
                    value=_ppm(value_a.values_N[k]) if k is not None else 0,
                    error=_ppm(value_a.errors_N[k]) if k is not None else 0,
                    standalone=_ppm(alone[k + 1] - alone[0]) if k is not None else 0,
                    flags=finding.flags,
                    duplicate_of=job.updates[original].member if original is not None else "",
                    final=_ppm(value_b.values_N[k]) if k is not None else 0,
                )
            )
        loss, accuracy = game.base(index)
        results.append(
            ports.ScoreResult(
                validator=each.validator,
                lines=tuple(lines),
                loss_ppm=_ppm(loss),
                accuracy_ppm=_ppm(accuracy),
                evaluation_count=value_a.evaluation_count,
            )
        )
    return results


def find_findings(
    task: TaskDocument,
    decoded: DecodedBlobs,
    job: ports.ScoreJob,
    updates: Sequence[np.ndarray | None],
) -> list[Finding]:
    """Flag every update; one that cannot be decoded is malformed and takes no part in the rest."""
    limits = SimilarityLimits(
        duplicate_cosine_ppm=task.validation.duplicate_cosine_ppm,
        replay_cosine_ppm=task.validation.replay_cosine_ppm,
        work_z_milli=task.validation.work_z_milli,
    )
    usable = [i for i, update in enumerate(updates) if update is not None]
    findings = [Finding(flag.MALFORMED, None)] * len(updates)
    if not usable:
        return findings
    previous_P = None
    if job.previous_model is not None and job.previous_model != job.model:
        previous_P = decoded.get("model", job.model) - decoded.get("model", job.previous_model)
    found = find_flags(
        np.stack([updates[i] for i in usable]),  # type: ignore[misc]
        [job.updates[i].commit_height for i in usable],
        previous_P,
        limits,
    )
    for i, finding in zip(usable, found, strict=True):
        original = None if finding.duplicate_of is None else usable[finding.duplicate_of]
        findings[i] = Finding(finding.flags, original)
    return findings


class CoalitionGame:
    """The utilities of coalitions for every validator and both hold-outs, each computed once.

    A coalition is a bit mask over the players. Models of one request are stacked and evaluated on the
    joined hold-outs of all validators in one pass a part.
    """

    def __init__(
        self,
        engine: Engine,
        model_P: np.ndarray,
        updates: Sequence[np.ndarray],
        holdouts: Sequence[Holdout],
    ) -> None:
        self._engine, self._holdouts = engine, holdouts
        self._model_P = torch.from_numpy(fixed_point.dequantise(model_P))
        size = len(self._model_P)
        self._updates_NP = (
            torch.from_numpy(np.stack([fixed_point.dequantise(u) for u in updates]))
            if updates
            else torch.zeros(0, size)
        )
        self._known: dict[int, np.ndarray] = {}  # mask -> [validators, 2 parts, (loss, accuracy)]

    def measure(self, masks: Sequence[int]) -> np.ndarray:
        """Return minus the loss, float64 [M, 2V]: columns 2v and 2v+1 are validator v's A and B."""
        self._evaluate(masks)
        return np.stack([-self._known[mask][:, :, 0].reshape(-1) for mask in masks])

    @property
    def game_count(self) -> int:
        """Two a validator."""
        return 2 * len(self._holdouts)

    def base(self, validator: int) -> tuple[float, float]:
        """Loss and accuracy of the round's starting model on the validator's part A."""
        self._evaluate([0])
        loss, accuracy = self._known[0][validator, 0]
        return float(loss), float(accuracy)

    def _evaluate(self, masks: Sequence[int]) -> None:
        missing = sorted({mask for mask in masks if mask not in self._known})
        if not missing:
            return
        count = len(self._updates_NP)
        members = torch.tensor(
            [[(mask >> k) & 1 for k in range(count)] for mask in missing], dtype=torch.float32
        ).reshape(len(missing), count)
        models_MP = self._model_P + (members / max(1, count)) @ self._updates_NP
        results = np.empty((len(missing), len(self._holdouts), 2, 2))
        for v, holdout in enumerate(self._holdouts):
            for part, (x, y) in enumerate((holdout.a, holdout.b)):
                losses, accuracies = self._engine.evaluate(models_MP, x, y)
                results[:, v, part, 0] = np.nan_to_num(losses.numpy(), nan=LOSS_MAX, posinf=LOSS_MAX)
                results[:, v, part, 1] = accuracies.numpy()
        for mask, result in zip(missing, results, strict=True):
            self._known[mask] = result


def value_players(
    task: TaskDocument, seed: str, game: CoalitionGame, updates: Sequence[np.ndarray]
) -> list[Valuation]:
    """Value the players in every validator's two games by the task's method."""
    count = len(updates)
    if count == 0:
        nothing = np.zeros(0)
        return [Valuation(nothing, nothing, 0)] * game.game_count
    method = task.validation.valuation
    if method == "cosine":
        return [value_by_cosine(np.stack(updates))] * game.game_count
    if count > LEAVE_ONE_OUT_ABOVE and method == "gtg":
        method = "loo"
    limits = GtgLimits(
        permutations_max=task.validation.permutations_max,
        truncation=task.validation.truncation_ppm / _PPM,
    )
    return assess_games(method, count, game.measure, game.game_count, int(seed[:15], 16), limits)


def _ppm(value: float) -> int:
    """Millionths, bounded; what is not finite counts as the worst."""
    if not np.isfinite(value):
        return -_VALUE_MAX
    return int(max(-_VALUE_MAX, min(_VALUE_MAX, round(float(value) * _PPM))))
