"""What a run works on: the data, dealt out; the recipe, checked; the engine, set up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.methods import check_method
from kumiai.adapters.compute.task_rules import check_task_server
from kumiai.adapters.compute.task_work import (
    check_codec,
    check_distillation,
    check_tokens,
    load_recipe,
    make_privacy,
    make_settings,
    split_task,
    try_recipe,
)
from kumiai.adapters.data.federated import FederatedData, keep_own
from kumiai.adapters.data.sources import load_source
from kumiai.adapters.data.user_file import hash_user_file, is_user_reference
from kumiai.adapters.flower.library import require_flower
from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import compute_layout
from kumiai.learning.personal import make_personal_settings
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.nodes.ports import BlobPort
from kumiai.tasks.document import TaskDocument

if TYPE_CHECKING:  # flwr is an extra
    from kumiai.adapters.flower.member import FlowerTrainer


@dataclass(frozen=True, slots=True)
class Workload:
    """Data, recipe and engine of one run."""

    data: FederatedData
    recipe: Recipe
    engine: Engine
    input_shape: tuple[int, ...]
    class_count: int
    licence: str
    description: str
    spellings: tuple[bytes, ...] = ()  # of tokens, where the targets are text
    member_trainer: FlowerTrainer | None = None  # the members' own program, if the task names one

    @property
    def token_bytes_ppm(self) -> int:
        """Mean bytes of a target of the test part, in millionths; 0 where targets are no text."""
        if not self.spellings:
            return 0
        sizes = torch.tensor([len(spelling) for spelling in self.spellings])
        return round(PPM * float(sizes[self.data.test[1]].double().mean()))

    def close(self) -> None:
        """Stop the engine's workers and let go of the members' program."""
        self.engine.close()
        if self.member_trainer is not None:
            self.member_trainer.close()

    def publish_shards(self, blobs: BlobPort) -> list[str]:
        """Store every trainer's assigned data as one blob each; return their names in order."""
        pairs = ({"x": x.contiguous(), "y": y.contiguous()} for x, y in self.data.shards)
        return [blobs.put(save(tensors)) for tensors in pairs]

    def publish_holdouts(self, blobs: BlobPort) -> list[str]:
        """Store every validator's hold-out as one blob each; return their names in order."""
        names = []
        for (xa, ya), (xb, yb) in self.data.validation:
            tensors = {"xa": xa, "ya": ya, "xb": xb, "yb": yb}
            names.append(blobs.put(save({k: v.contiguous() for k, v in tensors.items()})))
        return names


def load_workload(task: TaskDocument, base_dir: Path) -> Workload:
    """Load and deal the data, build and try the recipe; InputError names what does not fit."""
    dataset = load_source(task.data.source, dict(task.data.options), task.seed, base_dir)
    data = split_task(task, dataset)
    if task.model_rewards.personalise != "none":
        data = keep_own(data, task.model_rewards.personal_test_ppm, task.seed)
    recipe = load_recipe(task, base_dir, dataset.input_shape, dataset.class_count)
    check_tokens(task, base_dir)
    try_recipe(recipe, dataset)
    layout = compute_layout(build_seeded(recipe, 1.0, 0))
    check_codec(task, layout)
    check_method(task, layout)
    check_distillation(task, recipe)
    check_task_server(task)
    engine = make_engine(task, recipe)
    return Workload(
        data=data,
        recipe=recipe,
        engine=engine,
        input_shape=dataset.input_shape,
        class_count=dataset.class_count,
        licence=dataset.licence,
        description=dataset.description,
        spellings=dataset.spellings,
        member_trainer=load_member_trainer(task, recipe, base_dir),
    )


def load_member_trainer(task: TaskDocument, recipe: Recipe, base_dir: Path) -> FlowerTrainer | None:
    """Load the ClientApp that does the members' work; None where the engine does it."""
    training = task.training
    if not training.flower:
        return None
    require_flower()
    from kumiai.adapters.flower.member import FlowerTrainer

    settings: dict[str, bool | int | float | str] = {
        "lr": training.learning_rate_ppm / PPM,
        "momentum": training.momentum_ppm / PPM,
        "weight-decay": training.weight_decay_ppm / PPM,
        "batch-size": training.batch_size,
        "local-epochs": training.local_epochs,
        "local-iterations": training.local_iterations,
    }
    return FlowerTrainer(training.flower, base_dir, recipe, settings)


def hash_recipe(task: TaskDocument, base_dir: Path) -> str:
    """Return the sha256 of the task's own recipe file; "" for a recipe that is not one's own."""
    name = task.model.recipe
    return hash_user_file(name, base_dir) if is_user_reference(name) else ""


def load_run_recipe(plan: Mapping[str, Any], task: TaskDocument) -> Recipe:
    """Return the recipe of a run by its plan.

    InputError where its file is gone, or is another than the one the run was made with: nothing of
    such a file is run.
    """
    shape, folder = plan["shape"], Path(str(plan["base_dir"]))
    found, known = hash_recipe(task, folder), str(plan["recipe_sha256"])
    if found != known:
        fix = f"the file has changed since the run (sha256 {found}): put back the one with {known}"
        raise InputError("model.recipe", task.model.recipe, fix)
    return load_recipe(task, folder, tuple(shape["input"]), int(shape["classes"]))


def make_engine(task: TaskDocument, recipe: Recipe) -> Engine:
    """Set up the engine; InputError for a recipe that cannot be trained as privately as asked."""
    privacy = make_privacy(task)
    try:
        return Engine(
            recipe,
            make_settings(task, recipe),
            task.training.backend,
            str(find_cache_dir()),
            rounds_expected=task.training.rounds,
            privacy=privacy,
            ray_address=os.environ.get("KUMIAI_RAY_ADDRESS", ""),
            device=os.environ.get("KUMIAI_DEVICE", "auto"),
        )
    except ValueError as error:
        if privacy is None:
            raise
        raise InputError("privacy.mode", task.privacy.mode, str(error)) from error


def find_cache_dir() -> Path:
    """Where backend choices and compiled artefacts are kept between runs of one user."""
    chosen = os.environ.get("KUMIAI_CACHE_DIR")
    if chosen:
        return Path(chosen)
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "kumiai"


def make_personal(task: TaskDocument, recipe: Recipe) -> TrainSettings | None:
    """Return how members train their own models after the run; None if the task asks for none."""
    rewards = task.model_rewards
    if rewards.personalise == "none":
        return None
    return make_personal_settings(
        make_settings(task, recipe),
        rewards.personalise,
        rewards.personal_epochs,
        rewards.personal_lambda_ppm / PPM,
    )
