"""What the final model writes, where a task's targets are text: a taste, not a measurement."""

from __future__ import annotations

import torch
from torch.func import functional_call

from kumiai.apps.finished import Finished, read_model
from kumiai.learning.layout import integer_buffers, unflatten
from kumiai.learning.recipe import build_seeded
from kumiai.learning.writing import write_on

CHARACTERS = 160
TEMPERATURE = 0.6  # below 1: likelier characters more often, which a small model needs


class _Bound(torch.nn.Module):
    """A module with the tensors of one model."""

    def __init__(self, module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.state = module, state

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = functional_call(self.inner, self.state, (tokens,))
        return scores


def write_sample(finished: Finished) -> tuple[str, str]:
    """Return a start out of the test part, and what the final model writes after it."""
    workload, blob = finished.workload, finished.state.model
    inputs, targets = workload.data.test
    is_sequence = len(inputs) > 0 and targets.dim() == 2 and inputs.shape == targets.shape
    if not workload.spellings or not blob or not is_sequence:
        return "", ""
    module = build_seeded(workload.recipe, 1.0, 0).eval()
    vector_P = torch.from_numpy(read_model(finished, blob))
    state = {**unflatten(workload.engine.layout, vector_P), **integer_buffers(module)}
    start_T, window = inputs[0].long(), inputs.shape[1]
    written_T = write_on(
        _Bound(module, state), start_T, CHARACTERS, window, finished.task.seed, TEMPERATURE
    )
    start, written = (
        b"".join(workload.spellings[token] for token in tokens.tolist()).decode("utf-8", "replace")
        for tokens in (start_T, written_T)
    )
    return start, written
