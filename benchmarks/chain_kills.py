"""The embedded chain killed again and again: what it acknowledged must be there, once.

    python benchmarks/chain_kills.py [--kills 200] [--seed 1] [--save FOLDER]

A process sends transactions to its own chain and says each hash that was answered; it is killed
(SIGKILL) at a random moment, in turn while it sends one by one and many at once. After each kill
the file is opened and every hash is looked for. Every 20 kills all blocks are executed again from
the genesis, and a new file is begun. Ends with an error at the first broken promise.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KILLS_PER_FILE = 20


def main() -> None:
    """Kill, look, tell."""
    from tests.adapters.evm.killed_chain import check_after_kill, run_and_kill

    from kumiai.adapters.evm.chain.replay import replay_file

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    add_save_option(parser, "chain_kills")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    kills = acknowledged = 0
    start = time.perf_counter()
    while kills < options.kills:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chain.sqlite"
            known: list[str] = []
            for _ in range(min(KILLS_PER_FILE, options.kills - kills)):
                known += run_and_kill(path, chance.uniform(0.0, 0.5), is_pooled=kills % 2 == 1)
                check_after_kill(path, known)
                kills += 1
                print(f"{kills} killed, {acknowledged + len(known)} acknowledged", end="\r")
            replay_file(path)
            acknowledged += len(known)
    out = Printout("chain_kills", options.save)
    table = Table(title="SIGKILL at random moments")
    for head in ("kills", "acknowledged", "lost", "applied twice", "seconds"):
        table.add_column(head, justify="right")
    seconds = f"{time.perf_counter() - start:.0f}"
    table.add_row(str(kills), str(acknowledged), "0", "0", seconds)
    out.show(table)
    out.save()


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from rich.table import Table

    from saved_tables import Printout, add_save_option

    main()
