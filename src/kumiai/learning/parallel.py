"""How many processes train one member, and what each of them holds: a recipe's own choice.

Every process takes its share of each batch. With b_r of a batch's B samples in process r, and g_r
the gradient of the mean loss of these alone, the whole batch's gradient is

    g = sum over r of (b_r / B) g_r

so that the step is the one that a single process would have made, to float rounding, wherever the
loss is a mean over independent samples. ddp: every process holds the whole model and adds its part
of g to the others' (synchronous data parallelism, as in PyTorch's DistributedDataParallel). fsdp:
every process holds a share of each tensor, and the whole of one only while it is used ("ZeRO" stage
3: Rajbhandari et al., 2020; PyTorch's `fully_shard`).

The number of processes belongs to the recipe, which all members have: the order of the sums, and so
the result, does not depend on anybody's machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MODES = ("none", "ddp", "fsdp")
MODE, COUNT = "parallel", "parallel_processes"  # as a recipe file or a task's options write them
PROCESSES_DEFAULT = 2
PROCESSES_MAX = 64


@dataclass(frozen=True)
class Parallel:
    """One member's training in `process_count` processes. mode: ddp or fsdp."""

    mode: str
    process_count: int


def choose_parallel(name: str, mode: object, process_count: object) -> Parallel | None:
    """Return what recipe `name` declares, None for "none".

    mode None: not declared; process_count None: 2. Raises ValueError naming recipe, field and
    value for another mode, a number outside of 2 .. 64, or a number without a mode.
    """
    if mode is not None and (not isinstance(mode, str) or mode not in MODES):
        raise ValueError(f"recipe {name!r}: {MODE} = {mode!r} is not one of {', '.join(MODES)}")
    if process_count is None:
        process_count = PROCESSES_DEFAULT
    elif mode in (None, "none"):
        raise ValueError(
            f"recipe {name!r}: {COUNT} = {process_count!r} needs {MODE} = 'ddp' or 'fsdp' beside it"
        )
    is_count = isinstance(process_count, int) and not isinstance(process_count, bool)
    if not is_count or not 2 <= process_count <= PROCESSES_MAX:  # type: ignore[operator]
        raise ValueError(
            f"recipe {name!r}: {COUNT} = {process_count!r} is not an integer of 2 to "
            f"{PROCESSES_MAX}"
        )
    if mode is None or mode == "none":
        return None
    return Parallel(str(mode), int(process_count))  # type: ignore[call-overload]


def divide_options(
    name: str, options: Mapping[str, int | str | bool]
) -> tuple[Parallel | None, dict[str, int | str | bool]]:
    """Return the choice made in a built-in recipe's options, and the network's own options."""
    rest = {key: value for key, value in options.items() if key not in (MODE, COUNT)}
    return choose_parallel(name, options.get(MODE), options.get(COUNT)), rest


def compute_share(size: int, place: int, count: int) -> tuple[int, int]:
    """Return where the share of process `place` of `count` starts and ends in a batch of `size`.

    Shares differ by one sample at most and may be empty. ValueError for a place that is none.
    """
    if not 0 <= place < count:
        raise ValueError(f"place {place} is none of {count} processes")
    return size * place // count, size * (place + 1) // count
