"""What a stranger's job may ask of this machine, found out before anything of it is computed.

A library recipe is built and run once on PyTorch's meta device, where tensors have shapes and no
memory: a network of a billion layers' width costs nothing to refuse. Counted there are the numbers
it holds, those in between in one iteration, and the arithmetic. A recipe that is the customer's own
code is not tried so: who allows code by its hash has looked at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kumiai.base.errors import InputError
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.tasks.document import TaskDocument

INPUT_DIMENSIONS_MAX = 4
INPUT_NUMBERS_MAX = 2**24  # of one sample
CLASSES_MAX = 2**20
OPTION_MAX = 2**20  # of a recipe's whole-number options
LAYERS_MAX = 512  # each is a Python object even where it has no memory
FLOAT_BYTES = 4
BACKWARD_FACTOR = 3  # a backward pass costs about two forward ones
# More than any device of the sort does; the processor works on one thread (`exact`).
FLOP_A_SECOND_MAX = {"cpu": 2 * 10**12, "cuda": 10**14}
STATES = 4  # of each number: itself, its gradient, two of the optimiser


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What the owner of a machine lends to one order.

    shard_bytes_max: of a shard's blob; memory_bytes_max: of network, gradients, optimiser and the
    numbers of one iteration; flop_max: of one order's training, estimated; code_bytes_max: of a
    recipe's file.
    """

    shard_bytes_max: int = 2**30
    memory_bytes_max: int = 2**33
    flop_max: int = 10**17
    code_bytes_max: int = 2**18


@dataclass(frozen=True, slots=True)
class Demand:
    """What one iteration takes: bytes of memory at once, floating point operations."""

    memory_bytes: int
    flop: int


class _Counter(TorchDispatchMode):
    """Counts the numbers that operations put out, and their arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.flop = 0, 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled under this mode

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers += result.numel()
        formula = flop_registry.get(getattr(operation, "_overloadpacket", None))
        if formula is not None:
            self.flop += formula(*args, **(kwargs or {}), out_val=result)
        return result


def check_shape(input_shape: tuple[int, ...], class_count: int) -> None:
    """InputError unless samples and classes are of a size that any recipe here could take."""
    fits = 1 <= len(input_shape) <= INPUT_DIMENSIONS_MAX
    if not fits or any(type(size) is not int or size < 1 for size in input_shape):
        fix = f"1 to {INPUT_DIMENSIONS_MAX} positive whole numbers"
        raise InputError("input_shape", input_shape, fix)
    if math.prod(input_shape) > INPUT_NUMBERS_MAX:
        raise InputError("input_shape", input_shape, f"at most {INPUT_NUMBERS_MAX} numbers")
    if type(class_count) is not int or not 1 <= class_count <= CLASSES_MAX:
        raise InputError("class_count", class_count, f"a whole number within 1..{CLASSES_MAX}")


def check_options(options: Mapping[str, object]) -> None:
    """InputError for a recipe's option that is too big even to be tried, or starts processes."""
    for name, value in options.items():
        field = f"model.options.{name}"
        if name.startswith("parallel"):
            raise InputError(field, value, "a provider trains in one process: leave it out")
        most = LAYERS_MAX if name == "layers" else OPTION_MAX
        if isinstance(value, int) and abs(value) > most:
            raise InputError(field, value, f"at most {most}")


def compute_demand(
    recipe: Recipe, task: TaskDocument, input_shape: tuple[int, ...], sample_count: int
) -> Demand:
    """Return what an iteration of a library recipe takes, without any memory for its numbers.

    Counted is a forward pass of a whole batch at every trained width; memory is too much rather
    than too little, since not all of it is held at once. InputError for a recipe that cannot take
    such samples.
    """
    size = min(task.training.batch_size, sample_count)
    numbers, between, flop = 0, 0, 0
    try:
        with torch.device("meta"), torch.no_grad():
            for width in recipe.widths if task.training.slim else (1.0,):
                module = build_seeded(recipe, width, 0)
                held = [*module.parameters(), *module.buffers()]
                numbers += sum(tensor.numel() for tensor in held)
                with _Counter() as counter:
                    module(torch.zeros(size, *input_shape))
                between, flop = between + counter.numbers, flop + counter.flop
    except (ValueError, RuntimeError, IndexError, TypeError) as error:
        fix = f"it cannot take samples of shape {input_shape}: {type(error).__name__}: {error}"
        raise InputError("model.recipe", recipe.name, fix) from error
    memory = FLOAT_BYTES * (STATES * numbers + BACKWARD_FACTOR * between)
    return Demand(memory, BACKWARD_FACTOR * flop)


def check_demand(
    demand: Demand, iteration_count: int, limits: WorkLimits, seconds: int = 0, device: str = "cpu"
) -> None:
    """InputError where the work is more than the machine's owner lends, or can do in its time.

    seconds: how long it may take, 0 for any time. Work that is begun cannot be stopped.
    """
    if demand.memory_bytes > limits.memory_bytes_max:
        fix = f"{demand.memory_bytes} bytes of memory: this machine lends {limits.memory_bytes_max}"
        raise InputError("model", "one iteration", fix)
    flop = demand.flop * iteration_count
    if flop > limits.flop_max:
        fix = f"{flop} operations: this machine lends {limits.flop_max} to an order"
        raise InputError("training", f"{iteration_count} iterations", fix)
    if seconds and flop > seconds * FLOP_A_SECOND_MAX.get(device, flop):
        fix = f"{flop} operations: no machine does them in {seconds} s"
        raise InputError("training", f"{iteration_count} iterations", fix)
