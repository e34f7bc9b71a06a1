"""A stranger's job, opened: its task document checked, its recipe built, an engine for its work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.market.limits import (
    FLOAT_BYTES,
    STATES,
    WorkLimits,
    check_options,
    check_shape,
)
from kumiai.adapters.compute.task_rules import build_task_codec
from kumiai.adapters.compute.task_work import check_codec, make_settings
from kumiai.adapters.data.user_file import is_user_reference, load_user_recipe
from kumiai.adapters.language.lora import LORA
from kumiai.base import canonical
from kumiai.base.errors import InputError, StoreError
from kumiai.learning.codecs import Codec, parse_description
from kumiai.learning.layout import Layout, compute_layout
from kumiai.learning.recipe import Recipe, build_recipe, build_seeded
from kumiai.learning.slim import check_nested
from kumiai.nodes.ports import BlobPort
from kumiai.tasks.codecs import DENSE_FIXED
from kumiai.tasks.document import TASK_SIZE_BYTES_MAX, TaskDocument, task_from_document

ALGORITHMS = ("fedavg", "fedprox", "fednova", "diloco")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class OpenedJob:
    """What all work on a job starts from. layout: the model's; codec: of its updates."""

    task: TaskDocument
    recipe: Recipe
    input_shape: tuple[int, ...]
    class_count: int
    layout: Layout
    codec: Codec
    engine: Engine
    device: torch.device = CPU

    @property
    def is_library_recipe(self) -> bool:
        """Tell whether the recipe is ours, not the customer's own code."""
        return not is_user_reference(self.recipe.name)

    def close(self) -> None:
        """Let go of the engine's workers and data."""
        self.engine.close()


def refuse_code(code: str) -> bool:
    """No code of others, whatever it is: what an owner says who says nothing."""
    return False


def open_job(
    blobs: BlobPort,
    task: str,
    code: str,
    input_shape: tuple[int, ...],
    class_count: int,
    *,
    limits: WorkLimits | None = None,
    allow_code: Callable[[str], bool] = refuse_code,
    device: str = "cpu",
) -> OpenedJob:
    """Open the job of these blobs, which a stranger made; InputError says what cannot be done.

    allow_code: whether a recipe's file, by its sha256, may run with this process's rights.
    device: cpu, or cuda where there is one.
    """
    document = read_task(blobs, task)
    check_shape(input_shape, class_count)
    check_market_task(document)
    bounds = limits or WorkLimits()
    if is_user_reference(document.model.recipe):
        recipe = _load_code(blobs, document, code, bounds, allow_code)
    else:
        if code:
            raise InputError("code", code, f"the recipe {document.model.recipe} needs none")
        check_options(document.model.options)
        recipe = _build_library(document, input_shape, class_count, bounds)
    return assemble(document, recipe, input_shape, class_count, device)


def assemble(
    task: TaskDocument,
    recipe: Recipe,
    input_shape: tuple[int, ...],
    class_count: int,
    device: str = "cpu",
) -> OpenedJob:
    """Put a checked task and its recipe together with an engine that gives repeatable bits.

    One member by itself, eager: stacking or compiling would change the last bits with the machine's
    mood (docs/adr/0028). InputError where the codec does not go with the network.
    """
    layout = compute_layout(build_seeded(recipe, 1.0, 0))
    check_codec(task, layout)
    engine = Engine(recipe, make_settings(task, recipe), "inline", tier="eager", device=device)
    codec = build_task_codec(task, layout.shapes)
    place = torch.device(device)
    return OpenedJob(task, recipe, tuple(input_shape), class_count, layout, codec, engine, place)


def read_task(blobs: BlobPort, name: str) -> TaskDocument:
    """Read and check a task document's blob; InputError if it is missing or not one."""
    try:
        found = canonical.decode(blobs.get(name, TASK_SIZE_BYTES_MAX), TASK_SIZE_BYTES_MAX)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, not an object")
        return task_from_document(found)
    except ValueError as error:
        raise InputError("task", name, f"not a task document: {error}") from error
    except StoreError as error:
        _refuse_blob("task", name, error)


def check_market_task(task: TaskDocument) -> None:
    """InputError for what a task cannot ask of strangers, each by itself, who remember nothing."""
    training = task.training
    stages = [] if training.codec == DENSE_FIXED else parse_description(training.codec)
    wanted: list[tuple[str, object, bool, str]] = [
        ("mode", task.mode, task.mode == "federate", "updates are combined: set federate"),
        ("data.mode", task.data.mode, task.data.mode == "assigned",
         "the customer hands out the shards: set assigned"),
        ("model.recipe", task.model.recipe, task.model.recipe != LORA,
         "its base model lies in a folder that providers do not have"),
        ("training.algorithm", training.algorithm, training.algorithm in ALGORITHMS,
         f"needs a member's own memory: use one of {', '.join(ALGORITHMS)}"),
        ("training.codec", training.codec, all(name != "ef" for name, _ in stages),
         "ef needs a member's own memory, which no order has: leave it out, or use int8 or int4"),
        ("training.fragments", training.fragments, training.fragments == 1,
         "members would hold parts back between rounds: set 1"),
        ("training.buffer", training.buffer, training.buffer == 0, "rounds are closed: set 0"),
        ("training.staleness_max", training.staleness_max, training.staleness_max == 0, "set 0"),
        ("training.aggregator", training.aggregator, training.aggregator != "trust_root",
         "there is no committee that trains: choose another"),
        ("training.flower", training.flower, not training.flower,
         "a ClientApp is no part of the job: leave it out"),
        ("privacy.mode", task.privacy.mode, task.privacy.mode == "none",
         "the shards are the customer's: set none"),
        ("audit.mode", task.audit.mode, task.audit.mode == "none",
         "the market checks work by redundancy: set none"),
        ("model_rewards.policy", task.model_rewards.policy,
         task.model_rewards.policy != "aequa-live", "all train the full width: set equal"),
    ]  # fmt: skip
    for field, value, is_fine, fix in wanted:
        if not is_fine:
            raise InputError(field, value, f"on the market {fix}")


def _build_library(
    task: TaskDocument, input_shape: tuple[int, ...], class_count: int, limits: WorkLimits
) -> Recipe:
    model = task.model
    try:
        recipe = build_recipe(
            model.recipe, dict(model.options), model.widths_ppm, input_shape, class_count
        )
        with torch.device("meta"):  # shapes alone: a giant costs nothing
            module = build_seeded(recipe, 1.0, 0)
            size = sum(t.numel() for t in (*module.parameters(), *module.buffers()))
        if FLOAT_BYTES * STATES * size > limits.memory_bytes_max:  # training needs it at least
            fix = f"{size} numbers: this machine lends {limits.memory_bytes_max} bytes"
            raise InputError("model.options", dict(model.options), fix)
        check_nested(recipe)
    except (ValueError, RuntimeError) as error:
        raise InputError("model.recipe", model.recipe, str(error)) from error
    return recipe


def _load_code(
    blobs: BlobPort,
    task: TaskDocument,
    code: str,
    limits: WorkLimits,
    allow_code: Callable[[str], bool],
) -> Recipe:
    """Run the customer's file if this machine's owner allowed it by its hash."""
    if not canonical.is_hash(code):
        raise InputError("code", code, f"the recipe {task.model.recipe!r} needs its file's sha256")
    if not allow_code(code):
        fix = "this provider runs no code of others unless its owner allowed it by this hash"
        raise InputError("code", code, fix)
    try:
        source = blobs.get(code, limits.code_bytes_max)
    except StoreError as error:
        _refuse_blob("code", code, error)
    function = task.model.recipe.rpartition(":")[2]
    # under a name of ours: the one in the task may point anywhere. Imported once, it is not needed
    with tempfile.TemporaryDirectory(prefix="kumiai-code-") as folder:
        (Path(folder) / f"recipe_{code[:16]}.py").write_bytes(source)
        reference = f"recipe_{code[:16]}.py:{function}"
        options, widths = dict(task.model.options), task.model.widths_ppm
        try:
            recipe = load_user_recipe(reference, options, widths, Path(folder))
            check_nested(recipe)
        except ValueError as error:
            raise InputError("model.recipe", task.model.recipe, str(error)) from error
    return recipe


def _refuse_blob(field: str, name: str, error: StoreError) -> NoReturn:
    """Raise on: a passing fault of the store as it is, a blob that cannot be used as InputError."""
    if error.is_retriable:
        raise error
    raise InputError(field, name, str(error)) from error
