"""Members' own models written beside the received ones, and how good they are on their own data.

`models/<member>.personal.safetensors` is sealed with the folder but certified by nobody: it is the
member's own work after the run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import save_file

from kumiai.adapters.compute.personal import personalise
from kumiai.apps.finished import Finished, read_model
from kumiai.apps.scenarios import has_shard
from kumiai.apps.slugs import slug
from kumiai.apps.workload import make_personal
from kumiai.base.amounts import PPM
from kumiai.learning.slim import extract_width
from kumiai.nodes.role import derive_seed
from kumiai.rounds.state import RunPhase


@dataclass(frozen=True, slots=True)
class PersonalModel:
    """A member's own model file; both accuracies are on its own kept samples."""

    path: str
    accuracy_ppm: int
    shared_accuracy_ppm: int


def write_personal(finished: Finished) -> dict[str, PersonalModel]:
    """Train and write every member's own model that the task asks for, by public key."""
    task, state, workload = finished.task, finished.state, finished.workload
    settings = make_personal(task, workload.recipe)
    if settings is None or not state.model or state.phase is not RunPhase.FINISHED:
        return {}
    vector_P = torch.from_numpy(read_model(finished, state.model))
    owners = [p for p in finished.population.named("trainer") if has_shard(p)]
    places = {finished.population.pubkey(p.name): i for i, p in enumerate(owners)}
    written = {}
    for width_ppm in sorted({w for key, w in state.widths_ppm.items() if w and key in places}):
        keys = [key for key in places if state.widths_ppm.get(key) == width_ppm]
        width = workload.recipe.widths[list(task.model.widths_ppm).index(width_ppm)]
        own = personalise(
            workload.recipe,
            settings,
            width,
            extract_width(workload.recipe, vector_P, width),
            [workload.data.shards[places[key]] for key in keys],
            [workload.data.kept[places[key]] for key in keys],
            [derive_seed("personal", state.task_id, key) for key in keys],
        )
        for key, personal in zip(keys, own, strict=True):
            if personal is None:
                continue
            name = f"{slug(state.members[key].name, key)}.personal.safetensors"
            path = finished.run_dir.models / name
            metadata = {
                "format": "pt",
                "task": state.task_id,
                "recipe": workload.recipe.name,
                "width_ppm": str(width_ppm),
                "personal": task.model_rewards.personalise,
                "certified": "no",
            }
            save_file(personal.tensors, path, metadata)
            written[key] = PersonalModel(
                str(path.relative_to(finished.run_dir.root)),
                round(personal.accuracy * PPM),
                round(personal.shared_accuracy * PPM),
            )
    return written
