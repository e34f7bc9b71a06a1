"""What a codec costs and what it loses: bytes, time and error for one update.

    OMP_NUM_THREADS=1 python benchmarks/codecs.py [--size 1000000] [--rounds 50] [--codec TEXT ...]
                                                [--save docs/results]

ratio: float32 bytes over payload bytes. encode, decode: the best of `--repeats`, in ms and (x copy)
over a plain float32 copy of the update. error: |decoded - update| / |update| of one round. after N
rounds: |sum decoded - sum of updates| / |sum of updates| on a signal that turns slowly and is half
noise, without and with error feedback: what a model has missed by then. The update is Gaussian, the
hardest case for sparse and low-rank codecs; the signal's steady part has the rank of its size. The
tensors: two square matrices and a vector. One thread makes the times comparable.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from kumiai.learning.codecs import Codec, build_codec
from saved_tables import Printout, add_save_option

CODECS = (
    "dense",
    "bf16",
    "int8",
    "int8:stochastic=1",
    "int4",
    "int2",
    "sign",
    "topk:density=0.01",
    "topk:density=0.01|int2",
    "topk:density=0.015625,chunk=4096|int2",  # SparseLoCo: 64 of 4096
    "topk:density=0.03|int4",
    "dct|topk:density=0.007812,chunk=4096",  # DeMo: 32 of 4096
    "dct|topk:density=0.007812,chunk=4096|sign",
    "powersgd:rank=4",
    "powersgd:rank=4|int8",
)
TURN = 0.02  # radians a round


def make_shapes(size: int) -> list[tuple[int, ...]]:
    """Two square matrices of most of the numbers and a vector of the rest."""
    side = math.isqrt(size // 2) // 64 * 64 or 1
    return [(side, side), (side, side), (size - 2 * side * side,)]


def measure_ms(work: Callable[[], object], repeats: int) -> float:
    best = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return 1000 * best


def measure_drift(codec: Codec, size: int, rounds: int) -> float:
    """Return the relative error of the sum of what was decoded."""
    generator = np.random.default_rng(2)
    start_P, end_P = (generator.standard_normal(size).astype(np.float32) for _ in range(2))
    state, sent_P, wanted_P = codec.init(size), np.zeros(size), np.zeros(size)
    for number in range(rounds):
        angle = TURN * number
        noise_P = generator.standard_normal(size, dtype=np.float32)
        update_P = (math.cos(angle) * start_P + math.sin(angle) * end_P + noise_P) * 1e-3
        update_P = update_P.astype(np.float32)
        payload, state = codec.encode(update_P, state, number)
        sent_P += codec.decode(payload, size)
        wanted_P += update_P
    return float(np.linalg.norm(sent_P - wanted_P) / np.linalg.norm(wanted_P))


def measure(description: str, update_P: NDArray[np.float32], args: argparse.Namespace) -> list[str]:
    size = len(update_P)
    codec = build_codec(description, make_shapes(size))
    state = codec.init(size)
    payload, _ = codec.encode(update_P, state, 1)
    decoded_P = codec.decode(payload, size)
    copy_ms = measure_ms(update_P.copy, 20)
    encode_ms = measure_ms(lambda: codec.encode(update_P, state, 1), args.repeats)
    decode_ms = measure_ms(lambda: codec.decode(payload, size), args.repeats)
    drift_shapes = make_shapes(args.drift_size)
    bare, fed_back = (
        measure_drift(build_codec(text, drift_shapes), args.drift_size, args.rounds)
        for text in (description, f"ef|{description}")
    )
    error = np.linalg.norm(decoded_P - update_P) / np.linalg.norm(update_P)
    return [
        description,
        f"{len(payload):,}",
        f"{4 * size / len(payload):.1f}",
        f"{encode_ms:.1f}",
        f"{encode_ms / copy_ms:.0f}",
        f"{decode_ms:.1f}",
        f"{decode_ms / copy_ms:.0f}",
        f"{error:.3f}",
        f"{bare:.3f}",
        f"{fed_back:.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--drift-size", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--codec", nargs="+", default=CODECS)
    add_save_option(parser, "codecs")
    args = parser.parse_args()
    update_P = np.random.default_rng(1).standard_normal(args.size).astype(np.float32) * 1e-3
    table = Table(title=f"{args.size:,} numbers, {4 * args.size:,} bytes as float32")
    heads = ["bytes", "ratio", "encode ms", "x copy", "decode ms", "x copy", "error"]
    heads = ["codec", *heads, f"after {args.rounds}", "with ef"]
    for head in heads:
        table.add_column(head, justify="left" if head == "codec" else "right", no_wrap=True)
    for text in args.codec:
        table.add_row(*measure(text, update_P.astype(np.float32), args))
    printout = Printout("codecs", args.save, 140)
    printout.show(table)
    printout.save()


if __name__ == "__main__":
    main()
