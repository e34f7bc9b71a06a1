"""One library's aggregators, timed and measured in this process; JSON lines, for aggregation.py.

    python aggregators.py LIBRARY MEMBERS NUMBERS THREADS SECONDS_MAX     kumiai, byzfl or flower

Needs numpy and torch, and the library. Rows are normal numbers from seed 0, float32; "int32" rows
of kumiai are these in fixed point. f = a fifth of the members. Extra memory is the high-water mark
of this process' resident memory above what it held before the call, reset before each: what numpy,
torch and compiled code take is all in it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

Case = tuple[str, Callable[[], object], Callable[[object], np.ndarray]]
CHECKED = 1000  # coordinates whose norm must agree
BLOCK = 1_000_000


def make_rows(members: int, numbers: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    rows = np.empty((members, numbers), dtype=np.float32)
    for row in rows:
        for start in range(0, numbers, BLOCK):
            part = row[start : start + BLOCK]
            part[:] = generator.standard_normal(len(part), dtype=np.float32)
    return rows


def list_kumiai(rows: np.ndarray, threads: int) -> Iterator[Case]:
    from kumiai.adapters.compute.native.kernels import load_kernels
    from kumiai.learning.aggregation import (
        AGGREGATORS,
        NumpyKernels,
        Settings,
        aggregate,
        aggregate_floats,
    )
    from kumiai.learning.fixed_point import quantise

    members = len(rows)
    weights = [1] * members
    settings = Settings(byzantine_count=members // 5)
    native = load_kernels(None, threads)

    def make(run: Callable[..., np.ndarray], name: str, kernels: object) -> Callable[[], object]:
        reference = rows[0] if name == "trust_root" else None
        return lambda: run(name, rows, weights, settings, reference_P=reference, kernels=kernels)

    for name in AGGREGATORS:
        yield f"{name} float32", make(aggregate_floats, name, native), np.asarray
    for name in ("median", "trimmed_mean"):
        label = f"{name} float32, numpy alone"
        yield label, make(aggregate_floats, name, NumpyKernels()), np.asarray
    for index in range(members):  # in place: the float rows are not needed any more
        rows[index] = quantise(rows[index] / 8).view(np.float32)
    rows = rows.view(np.int32)
    for name in AGGREGATORS:
        yield f"{name} int32", make(aggregate, name, native), lambda r: r * (8 / 2**24)


def list_byzfl(rows: np.ndarray, threads: int) -> Iterator[Case]:
    import torch

    # The package's own __init__ wants data sets and plots; its aggregators do not.
    package = types.ModuleType("byzfl")
    package.__path__ = list(find_spec("byzfl").submodule_search_locations)
    sys.modules["byzfl"] = package
    from byzfl import aggregators

    f = len(rows) // 5
    rules = {
        "mean": aggregators.Average(),
        "median": aggregators.Median(),
        "trimmed_mean": aggregators.TrMean(f=f),
        "krum": aggregators.Krum(f=f),
        "multi_krum": aggregators.MultiKrum(f=f),
        "geometric_median": aggregators.GeometricMedian(),
        "centered_clip": aggregators.CenteredClipping(),
    }
    tensor = torch.from_numpy(rows)
    for name, rule in rules.items():
        yield f"{name} float32", lambda rule=rule: rule(tensor), np.asarray


def list_flower(rows: np.ndarray, threads: int) -> Iterator[Case]:
    import logging

    from flwr.app import Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict  # noqa: F401
    from flwr.serverapp import strategy

    logging.getLogger("flwr").setLevel(logging.ERROR)
    members, f = len(rows), len(rows) // 5

    def answer(index: int) -> Message:
        content = RecordDict(
            {
                "arrays": ArrayRecord([rows[index]]),
                "metrics": MetricRecord({"num-examples": 1}),
            }
        )
        metadata = Metadata(1, f"m{index}", index + 1, 0, f"r{index}", "1", 0.0, 1e12, "train")
        return Message(content=content, metadata=metadata)

    rules = {
        "mean": strategy.FedAvg,
        "median": strategy.FedMedian,
        "trimmed_mean": lambda: strategy.FedTrimmedAvg(beta=0.2),
        "krum": lambda: strategy.Krum(num_malicious_nodes=f),
        "multi_krum": lambda: strategy.MultiKrum(
            num_malicious_nodes=f, num_nodes_to_select=members - f
        ),
    }
    for name, build in rules.items():
        rule = build()
        rule.current_arrays = ArrayRecord([rows[0]])
        answers: list[Message] = []  # an aggregation uses its messages up: made before each

        def prepare(answers: list[Message] = answers) -> None:
            answers[:] = [answer(index) for index in range(members)]

        def run(rule: object = rule, answers: list[Message] = answers) -> object:
            return rule.aggregate_train(1, answers)[0]

        run.prepare = prepare
        yield f"{name} float32", run, lambda record: record.to_numpy_ndarrays()[0]


LIBRARIES = {"kumiai": list_kumiai, "byzfl": list_byzfl, "flower": list_flower}


def read_resident(field: str) -> int:
    """Return VmRSS or VmHWM in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def measure(run: Callable[[], object], seconds_max: float) -> tuple[dict[str, float], object]:
    """Return best and median seconds and the extra bytes of the first call, and a result."""
    times, extra, began = [], 0, time.perf_counter()
    while len(times) < 5 and (len(times) < 1 or time.perf_counter() - began < seconds_max):
        getattr(run, "prepare", lambda: None)()
        gc.collect()
        if not times:
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
            before = read_resident("VmRSS")
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
        if not extra:
            extra = max(1, read_resident("VmHWM") - before)
    times.sort()
    return {"best": times[0], "median": times[len(times) // 2], "extra": extra}, result


def main() -> None:
    library, members, numbers, threads, seconds_max = sys.argv[1], *map(float, sys.argv[2:])
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    if library != "flower":
        import torch

        torch.set_num_threads(int(threads))
    rows = make_rows(int(members), int(numbers))
    if library == "kumiai":
        import torch

        tensor = torch.from_numpy(rows)
        best = min(measure(tensor.sum, 1.0)[0]["best"], measure(rows.sum, 1.0)[0]["best"])
        print(json.dumps({"bandwidth": rows.nbytes / best}), flush=True)
        del tensor
    for name, run, convert in LIBRARIES[library](rows, int(threads)):
        found, result = measure(run, seconds_max)
        checked = convert(result).reshape(-1)[:CHECKED].astype(np.float64)
        row = {"library": library, "rule": name, "check": float(np.linalg.norm(checked)), **found}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
