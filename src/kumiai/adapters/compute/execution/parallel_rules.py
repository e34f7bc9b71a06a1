"""Which work several processes of one member can do; what they cannot is refused, not changed."""

from __future__ import annotations

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.devices import FIELD, drawing, is_worth_gpu
from kumiai.adapters.compute.execution.inline import describe_fault
from kumiai.adapters.compute.execution.probe import is_divisible
from kumiai.adapters.compute.execution.shards import CPU, JoinedShards
from kumiai.base.errors import InputError
from kumiai.learning.client import LocalWork, TrainSettings
from kumiai.learning.layout import unflatten
from kumiai.learning.parallel import COUNT, MODE, Parallel
from kumiai.learning.recipe import Recipe


def check_parallel(
    recipe: Recipe, settings: TrainSettings, backend: str, tier: str, *, is_private: bool
) -> None:
    """InputError, naming field and fix, where settings do not go with the recipe's `parallel`."""
    if recipe.parallel is None:
        return
    mode = recipe.parallel.mode
    chose = f'recipe {recipe.name!r} chose {MODE} = "{mode}"'
    whole = f'take {MODE} = "ddp"'
    wanted = [
        (
            backend != "ray",
            "training.backend",
            "ray",
            f"{chose}, and Ray's workers train one member each: take auto or inline",
        ),
        (
            not is_private,
            "privacy.mode",
            "local",
            f"{chose}, but each sample's own gradient is cut in one process: take none for one",
        ),
        (
            mode != "fsdp" or settings.optimizer != "muon",
            "training.optimizer",
            settings.optimizer,
            f"{chose}, and muon needs whole matrices: take sgd or adamw, or {whole}",
        ),
        (
            mode != "fsdp" or not settings.slim_widths,
            "training.slim",
            True,
            f"{chose}, and narrow widths are blocks of whole tensors: set false, or {whole}",
        ),
        (
            tier in ("auto", "eager"),
            "tier",
            tier,
            f"{chose}, whose iterations are not lowered: take auto or eager",
        ),
    ]
    for is_fine, field, value, fix in wanted:
        if not is_fine:
            raise InputError(field, value, fix)


def check_divisible(work: LocalWork, global_P: Tensor, data: JoinedShards) -> None:
    """InputError where a batch's loss is not the mean of its shares' (found on these samples).

    ValueError, naming recipe and member, where the recipe raises on them.
    """
    if not is_divisible(work, global_P, data):
        find_first_fault(work, global_P, data)
        fix = (
            f"it declares {MODE}, but its loss is not the mean of its samples' losses, or samples "
            "see each other (BatchNorm): use GroupNorm or LayerNorm and an unweighted mean, or "
            f'{MODE} = "none"'
        )
        raise InputError("model.recipe", work.recipe.name, fix)


def find_first_fault(work: LocalWork, global_P: Tensor, data: JoinedShards) -> None:
    """Run every member's first samples, for what the recipe raises."""
    carry = work.init(unflatten(work.layout, global_P))
    for member, (offset, count) in enumerate(zip(data.offsets, data.counts, strict=True)):
        rows = torch.arange(offset, offset + min(count, work.settings.batch_size))
        try:
            with drawing(data.device, 1):
                work.compute_loss(carry.params, carry.rest, *data.batch(rows), None)
        except Exception as error:
            # whatever the user's network or loss raises is one fault with one address
            raise ValueError(describe_fault(work, member, error)) from error


def pick_device_type(parallel: Parallel, wanted: torch.device | None, flop: int) -> str:
    """Return cuda where every process gets a GPU of its own, else cpu.

    InputError for a GPU asked for by number, or for more processes than there are GPUs.
    """
    if wanted is not None and wanted.type == CPU.type:
        return CPU.type
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is None:
        return "cuda" if count >= parallel.process_count and is_worth_gpu(flop) else CPU.type
    if str(wanted) != "cuda":  # a number was named
        fix = f"the recipe's {parallel.process_count} processes take a GPU each: write cuda"
        raise InputError(FIELD, str(wanted), fix)
    if count < parallel.process_count:
        fix = (
            f"the recipe's {COUNT} = {parallel.process_count} need a GPU each, this machine has "
            f"{count}: write auto or cpu"
        )
        raise InputError(FIELD, str(wanted), fix)
    return wanted.type


def describe_parallel(parallel: Parallel, device_type: str) -> str:
    """Say in one sentence how members are trained."""
    where = "a GPU each" if device_type != CPU.type else "on the CPU"
    return (
        f"parallel, eager: the recipe's choice; {parallel.mode} over {parallel.process_count} "
        f"processes a member, {where}"
    )
