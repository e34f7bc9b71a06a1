"""What a codec does to learning: accuracy on the digits, round by round, through the real path.

    python benchmarks/codecs_accuracy.py [--rounds 60] [--codec TEXT ...] [--save docs/results]

The reference work of benchmarks/engine.py: scikit-learn's digits, a net of 4,810 numbers, ten
clients. Each round every client trains, encodes its update with its own codec state, and the
receivers decode to the fixed point, take the exact mean and move the model (FedAvg). Accuracy is on
the 360 samples that nobody trained on. bytes: of an update, the mean. One run, one seed: the
differences of a percent are noise.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE), str(HERE / "peers")]

from reference_work import build_net, load_shards  # noqa: E402

from engine import find_digits, make_engine  # noqa: E402
from kumiai.learning import fixed_point  # noqa: E402
from kumiai.learning.aggregation import aggregate  # noqa: E402
from kumiai.learning.codecs import build_codec  # noqa: E402
from kumiai.learning.layout import flatten, unflatten  # noqa: E402
from kumiai.learning.server import FedAvg  # noqa: E402
from saved_tables import Printout, add_save_option  # noqa: E402

CODECS = (
    "dense",
    "ef|int8",
    "ef|int4",
    "int2",
    "ef|int2",
    "sign",
    "ef|sign",
    "topk:density=0.01",
    "ef|topk:density=0.01",
    "ef|topk:density=0.01|int2",
    "ef|topk:density=0.03|int2",
    "ef|dct|topk:density=0.007812,chunk=4096",
    "ef|dct|topk:density=0.03,chunk=4096|int4",
    "powersgd:rank=2",
    "ef|powersgd:rank=2|int8",
)
CLIENTS = 10
TRAINED = 1437  # of the permuted samples; the others measure


def load_holdout() -> tuple[Tensor, Tensor]:
    with gzip.open(find_digits(), "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    table = table[np.random.default_rng(0).permutation(len(table))][TRAINED:]
    inputs = (table[:, :-1] / 16.0).astype(np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(table[:, -1].astype(np.int64))


def train(description: str, rounds: int) -> tuple[float, int, list[float]]:
    """Return bytes an update, P, and the accuracy after every round."""
    shards = load_shards("digits", CLIENTS, find_digits())
    inputs, targets = load_holdout()
    net, accuracies, sent_bytes = build_net("digits"), [], 0
    with make_engine("digits", "vectorised", "eager", None) as engine:
        layout, rule = engine.layout, FedAvg()
        codec = build_codec(description, layout.shapes)
        states = [codec.init(layout.size) for _ in shards]
        model_P = fixed_point.quantise(flatten(layout, net.state_dict()).detach().numpy())
        for number in range(rounds):
            global_P = torch.from_numpy(fixed_point.dequantise(model_P))
            result = engine.train(global_P, shards, range(CLIENTS))
            decoded = []
            for i, update_P in enumerate(result.updates_NP.numpy()):
                payload, states[i] = codec.encode(update_P, states[i], number * CLIENTS + i)
                sent_bytes += len(payload)
                decoded.append(codec.decode_fixed(payload, layout.size))
            _, model_P = rule.apply((), model_P, aggregate("mean", decoded, result.samples_N))
            moved_P = torch.from_numpy(fixed_point.dequantise(model_P))
            net.load_state_dict({k: v.clone() for k, v in unflatten(layout, moved_P).items()})
            accuracies.append(float((net(inputs).argmax(1) == targets).float().mean()))
    return sent_bytes / (rounds * CLIENTS), layout.size, accuracies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--codec", nargs="+", default=CODECS)
    add_save_option(parser, "codecs_accuracy")
    args = parser.parse_args()
    torch.set_num_threads(1)
    marks = sorted({max(1, args.rounds * part // 3) for part in (1, 2, 3)})
    table = Table(title=f"digits, {CLIENTS} clients, accuracy after so many rounds")
    for head in ["codec", "bytes", "ratio", *map(str, marks)]:
        table.add_column(head, justify="left" if head == "codec" else "right", no_wrap=True)
    for description in args.codec:
        size_bytes, size, accuracies = train(description, args.rounds)
        cells = [f"{accuracies[mark - 1]:.1%}" for mark in marks]
        sizes = [f"{size_bytes:,.0f}", f"{4 * size / size_bytes:.1f}"]
        table.add_row(description, *sizes, *cells)
    printout = Printout("codecs_accuracy", args.save, 120)
    printout.show(table)
    printout.save()


if __name__ == "__main__":
    main()
