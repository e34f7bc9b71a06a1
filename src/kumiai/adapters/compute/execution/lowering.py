"""From a PyTorch function to a faster one for fixed shapes: traced once, or compiled to C++.

traced: torch.fx records the operations behind vmap and grad, which then run without either (a
third of the time for small networks; well under a second to make). compiled: TorchInductor fuses
them into C++ kernels (a tenth; 5 to 20 s to make, so the artefact is kept on disk, where the next
run finds it by the traced graph). Artefacts are written by PyTorch itself and contain code: keep
the cache folder as private as the program's own files.

A lowered function takes and returns a flat list of tensors and accepts only the shapes and strides
of its example.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

Tier = Literal["eager", "traced", "compiled"]
TIERS: tuple[Tier, ...] = ("eager", "traced", "compiled")
Flat = Callable[..., Sequence[Tensor]]

CACHE_VERSION = 2
TOLERANCE = 1e-4  # relative; a compiler may reorder sums
TINY = 1e-6
# kernels are built in this process: a pool of compiler processes would outlive the engine
OPTIONS = {"cpp_wrapper": True}


class LoweringError(RuntimeError):
    """A function that cannot be lowered faithfully; run it as it is."""


def lower(
    function: Flat,
    leaves: Sequence[Tensor],
    tier: Tier,
    cache_dir: Path | None = None,
    *,
    threads: int | None = None,
) -> Flat:
    """Return `function` lowered for tensors like `leaves`; "eager" returns it as it is.

    cache_dir: where a compiled function's artefact is kept between runs, None for nowhere.
    threads: what compiled loops may use, by default as many as PyTorch does here. Raises
    LoweringError where the function branches on numbers it computes, where there is no compiler,
    or where the compiled code's result on `leaves` is another.
    """
    if tier == "eager":
        return function
    # a tensor given twice would be taken for one input for ever: the example owns its tensors
    leaves = [leaf.clone() for leaf in leaves]
    try:
        graph = trace(function, leaves)
        if tier == "traced":
            return graph
        threads = threads or torch.get_num_threads()
        key = compute_key(graph, leaves, threads)
        path = None if cache_dir is None else cache_dir / f"{key}.artefact"
        lowered = load_artefact(path) or compile_graph(graph, leaves, path, threads)
        check_agreement(graph, lowered, leaves)
    except LoweringError:
        raise
    except Exception as error:
        # tracing runs the user's network, compiling a C++ compiler: anything may come of either
        raise LoweringError(f"{type(error).__name__}: {error}") from error
    return lowered


def check_agreement(function: Flat, lowered: Flat, leaves: Sequence[Tensor]) -> None:
    """Raise LoweringError where compiled code computes something else than what was traced.

    Compilers have faults (one was met in the making of this); a wrong gradient would go unnoticed
    for a whole run.
    """
    with torch.no_grad():
        pairs = zip(function(*leaves), lowered(*leaves), strict=True)
        for expected, actual in pairs:
            gap = float((expected - actual).norm())
            scale = float(expected.norm())
            if gap > TOLERANCE * scale + TINY:
                raise LoweringError(
                    f"compiled result is off by {gap:.3g} in a tensor {tuple(expected.shape)} of "
                    f"norm {scale:.3g}"
                )


def trace(function: Flat, leaves: Sequence[Tensor]) -> GraphModule:
    """Record the operations of `function`, dead ones left out."""
    with torch.no_grad():
        # make_fx counts the arguments of a method wrongly
        graph: GraphModule = make_fx(lambda *flat: function(*flat))(*leaves)  # noqa: PLW0108
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.detach.default:  # nothing here is differentiated again
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def compile_graph(
    graph: GraphModule, leaves: Sequence[Tensor], path: Path | None, threads: int
) -> Flat:
    """Compile a traced graph, keeping the artefact at `path`."""
    from torch import _inductor

    with torch.no_grad(), compiler_settings(path):
        artefact = _inductor.standalone_compile(
            graph, list(leaves), options={"config_patches": {**OPTIONS, "cpp.threads": threads}}
        )
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            # a graph with a constant that cannot be written is compiled anew by each run
            with contextlib.suppress(RuntimeError, OSError):
                artefact.save(path=str(path), format="binary")
    run: Flat = artefact
    return run


def load_artefact(path: Path | None) -> Flat | None:
    """Return the compiled function at `path`, or None where there is none that fits."""
    if path is None or not path.exists():
        return None
    from torch._inductor.standalone_compile import CompiledArtifact

    try:
        with compiler_settings(path):
            run: Flat = CompiledArtifact.load(path=str(path), format="binary")
    except (RuntimeError, AssertionError, OSError, ValueError, EOFError):
        # written by another PyTorch, cut short, or its parts cleared away: compile anew
        return None
    return run


def has_compiler() -> bool:
    """Whether a C++ compiler that TorchInductor accepts is installed."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, OSError, RuntimeError):
        return False
    return True


@contextlib.contextmanager
def compiler_settings(path: Path | None) -> Iterator[None]:
    """One compiler process, and its files beside the artefact while `path` is given."""
    from torch._inductor import config

    variable = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(variable)
    if path is not None:
        os.environ[variable] = str(path.parent / "inductor")
    try:
        with config.patch(compile_threads=1):
            yield
    finally:
        if path is not None:
            os.environ.pop(variable)
            if before is not None:
                os.environ[variable] = before


def compute_key(graph: GraphModule, leaves: Sequence[Tensor], threads: int) -> str:
    """Return a name for what an artefact depends on.

    That is the graph's operations with their numbers, its constants, its inputs' shapes and
    strides, and the machine: PyTorch's version, the CPU and the count of threads.
    """
    digest = hashlib.sha256(repr((CACHE_VERSION, describe_machine(), threads, graph.code)).encode())
    for leaf in leaves:
        digest.update(repr((tuple(leaf.shape), leaf.stride(), leaf.dtype)).encode())
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            constant = getattr(graph, node.target)
            digest.update(repr((node.target, tuple(constant.shape), constant.dtype)).encode())
            digest.update(constant.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def describe_machine() -> str:
    """Return what compiled code and measured times depend on beside the graph."""
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    options = sorted(OPTIONS.items())
    return repr((torch.__version__, platform.machine(), capability, threads, options))
