"""A task's data, recipe and settings as the numeric rooms take them: everybody builds them alike.

A run builds them with the rest of its workload (`apps.workload`), a market's customer and provider
each for themselves (`adapters.compute.market`).
"""

from __future__ import annotations

from pathlib import Path

import torch

from kumiai.adapters.compute.task_rules import build_task_codec, build_task_schedule
from kumiai.adapters.data.dataset import Dataset
from kumiai.adapters.data.federated import FederatedData, split
from kumiai.adapters.data.user_file import is_user_reference, load_user_recipe
from kumiai.adapters.language.lora import (
    LORA,
    check_tokenizer,
    load_lora_recipe,
    open_bound,
)
from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings
from kumiai.learning.distill import check_distillable
from kumiai.learning.layout import Layout
from kumiai.learning.privacy.sgd import PrivacySettings
from kumiai.learning.recipe import Recipe, build_recipe, build_seeded
from kumiai.learning.slim import check_nested
from kumiai.tasks.document import TaskDocument


def split_task(task: TaskDocument, dataset: Dataset) -> FederatedData:
    """Deal a data set out as the task says."""
    return split(
        dataset,
        trainers=task.data.trainers,
        partition=task.data.partition,
        alpha_ppm=task.data.alpha_ppm,
        holdout_ppm=task.data.holdout_ppm,
        test_ppm=task.data.test_ppm,
        validators=task.validation.validators,
        seed=task.seed,
    )


def load_recipe(
    task: TaskDocument, base_dir: Path, input_shape: tuple[int, ...], class_count: int
) -> Recipe:
    """Return the task's recipe, built in or the user's; its widths must nest."""
    model = task.model
    try:
        if is_user_reference(model.recipe):
            recipe = load_user_recipe(model.recipe, dict(model.options), model.widths_ppm, base_dir)
        elif model.recipe == LORA:
            recipe = load_lora_recipe(
                model.options, model.widths_ppm, base_dir, input_shape, class_count, task.seed
            )
        else:
            recipe = build_recipe(
                model.recipe, dict(model.options), model.widths_ppm, input_shape, class_count
            )
        check_nested(recipe)
    except ValueError as error:
        raise InputError("model.recipe", model.recipe, str(error)) from error
    return recipe


def check_tokens(task: TaskDocument, base_dir: Path) -> None:
    """InputError where a built-in text is numbered by another tokenizer than the base's own."""
    tokenizer = task.data.options.get("tokenizer")
    if task.model.recipe == LORA and tokenizer and not is_user_reference(task.data.source):
        check_tokenizer(base_dir / str(tokenizer), open_bound(task.model.options, base_dir))


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
        build_task_codec(task, layout.shapes).compute_size_bytes_max(layout.size)
    except ValueError as error:
        raise InputError("training.codec", task.training.codec, str(error)) from error


def check_distillation(task: TaskDocument, recipe: Recipe) -> None:
    """InputError where narrow widths shall learn from outputs that are no probabilities."""
    if not task.training.slim_distill:
        return
    try:
        check_distillable(recipe)
    except ValueError as error:
        raise InputError("training.slim_distill", True, str(error)) from error


def make_privacy(task: TaskDocument) -> PrivacySettings | None:
    """Translate the task's privacy of training, None where it asks for none."""
    privacy = task.privacy
    if privacy.mode != "local":
        return None
    return PrivacySettings(
        noise_multiplier=privacy.noise_multiplier_milli / 1_000,
        clip_norm=privacy.clip_norm_ppm / PPM,
        delta=privacy.delta_ppb / 1_000_000_000,
    )


def make_settings(task: TaskDocument, recipe: Recipe) -> TrainSettings:
    """Translate the task's integers into the engine's numbers."""
    training = task.training
    return TrainSettings(
        algorithm=training.algorithm,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate_ppm / PPM,
        momentum=training.momentum_ppm / PPM,
        weight_decay=training.weight_decay_ppm / PPM,
        prox_mu=training.prox_mu_ppm / PPM,
        batch_size=training.batch_size,
        local_epochs=training.local_epochs,
        local_iterations=training.local_iterations,
        slim_widths=recipe.widths[:-1] if training.slim else (),
        is_scheduled=not build_task_schedule(task).is_constant,
        slim_distill=training.slim_distill,
        has_offset=training.fragments > 1,
    )
