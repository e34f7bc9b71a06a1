"""What a run works on: the data, dealt out; the recipe, checked; the engine, set up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.methods import check_method
from kumiai.adapters.data.dataset import Dataset
from kumiai.adapters.data.federated import FederatedData, split
from kumiai.adapters.data.sources import load_source
from kumiai.adapters.data.user_file import is_user_reference, load_user_recipe
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings
from kumiai.learning.codecs import build_codec
from kumiai.learning.layout import Layout, compute_layout
from kumiai.learning.recipe import Recipe, build_recipe, build_seeded
from kumiai.learning.slim import check_nested
from kumiai.nodes.ports import BlobPort
from kumiai.tasks.document import TaskDocument

_PPM = 1_000_000


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
    data = split(
        dataset,
        trainers=task.data.trainers,
        partition=task.data.partition,
        alpha_ppm=task.data.alpha_ppm,
        holdout_ppm=task.data.holdout_ppm,
        test_ppm=task.data.test_ppm,
        validators=task.validation.validators,
        seed=task.seed,
    )
    recipe = load_recipe(task, base_dir, dataset.input_shape, dataset.class_count)
    try_recipe(recipe, dataset)
    layout = compute_layout(build_seeded(recipe, 1.0, 0))
    check_codec(task, layout)
    check_method(task, layout)
    engine = Engine(
        recipe,
        make_settings(task, recipe),
        task.training.backend,
        str(find_cache_dir()),
        rounds_expected=task.training.rounds,
        ray_address=os.environ.get("KUMIAI_RAY_ADDRESS", ""),
    )
    return Workload(
        data=data,
        recipe=recipe,
        engine=engine,
        input_shape=dataset.input_shape,
        class_count=dataset.class_count,
        licence=dataset.licence,
        description=dataset.description,
    )


def load_recipe(
    task: TaskDocument, base_dir: Path, input_shape: tuple[int, ...], class_count: int
) -> Recipe:
    """Return the task's recipe, built in or the user's; its widths must nest."""
    model = task.model
    try:
        if is_user_reference(model.recipe):
            recipe = load_user_recipe(model.recipe, dict(model.options), model.widths_ppm, base_dir)
        else:
            recipe = build_recipe(
                model.recipe, dict(model.options), model.widths_ppm, input_shape, class_count
            )
        check_nested(recipe)
    except ValueError as error:
        raise InputError("model.recipe", model.recipe, str(error)) from error
    return recipe


def try_recipe(recipe: Recipe, dataset: Dataset) -> None:
    """One forward pass and one loss at every width, before anybody is asked to pay for many."""
    x = torch.from_numpy(dataset.features[:2].copy())
    y = torch.from_numpy(dataset.labels[:2].copy())
    for width in recipe.widths:
        module = build_seeded(recipe, width, 0).eval()
        try:
            with torch.no_grad():
                loss = recipe.compute_loss(module(x), y)
        except Exception as error:  # the recipe is the user's code
            shape = tuple(x.shape[1:])
            raise InputError(
                "model.recipe",
                recipe.name,
                f"width {width} fails on samples of shape {shape}: {type(error).__name__}: {error}",
            ) from error
        if loss.dim() != 0 or not torch.isfinite(loss):
            fix = f"at width {width} the loss is {loss}: it must be one finite number"
            raise InputError("model.recipe", recipe.name, fix)


def check_codec(task: TaskDocument, layout: Layout) -> None:
    """Build the task's codec over the network's tensors; InputError if they do not go together."""
    try:
        build_codec(task.training.codec, layout.shapes).compute_size_bytes_max(layout.size)
    except ValueError as error:
        raise InputError("training.codec", task.training.codec, str(error)) from error


def make_settings(task: TaskDocument, recipe: Recipe) -> TrainSettings:
    """Translate the task's integers into the engine's numbers."""
    training = task.training
    return TrainSettings(
        algorithm=training.algorithm,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate_ppm / _PPM,
        momentum=training.momentum_ppm / _PPM,
        weight_decay=training.weight_decay_ppm / _PPM,
        prox_mu=training.prox_mu_ppm / _PPM,
        batch_size=training.batch_size,
        local_epochs=training.local_epochs,
        local_iterations=training.local_iterations,
        slim_widths=recipe.widths[:-1] if training.slim else (),
    )


def find_cache_dir() -> Path:
    """Where backend choices and compiled artefacts are kept between runs of one user."""
    chosen = os.environ.get("KUMIAI_CACHE_DIR")
    if chosen:
        return Path(chosen)
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "kumiai"
