"""What `kumiai simulate` takes from real runs: noise of scores, detection, returns to effort.

    python benchmarks/economics_noise.py [--seeds 8] [--save docs/results]

Two kinds of runs of the main job (MNIST-5k, 4 validators, 24 rounds): `noise` has 6 honest members
with like amounts of data, a free rider, a copier, a poisoner, a sign flipper and a replayer;
`quantity` has 9 honest members with very different amounts. From the revealed sheets:

noise, noise_decay   sd of the validators' scores of one honest update, times players: a * round^-b
luck                 sd of what both hold-outs saw in common (from the 4th round on), as a share of
                     that; a member's lasting advantage is in it, so it is an upper bound
effort_power         elasticity of a member's summed value in its samples, runs of kind `quantity`
counted              share of honest members' judged rounds that were VALID
seen                 judged rounds of a free rider, copier, replayer and probe that were INVALID
poison               a poisoned update's value over the honest mean, median, first 4 rounds
F honest, zeros, echo  mean of exp(-distance to the consensus) for a sheet as revealed, a sheet of
                     zeros and one that repeats the last round's consensus
loss                 the committee's loss before each round (nat)
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from kumiai.apps.audit.replay import replay_log
from kumiai.apps.population import Casting, Person
from kumiai.apps.rundir import RunDir
from kumiai.apps.scenarios import NAMES, SCENARIOS, Scenario
from kumiai.apps.wiring import run_local
from kumiai.rounds.agreement import INLIER_MADS, compute_spread, stake_weighted_median
from kumiai.rounds.opened import FinalPart
from kumiai.rounds.state import RoundState
from saved_tables import Printout, add_save_option

FALSE = ("free-rider", "copier", "replayer", "canary")
FIRST_ROUNDS = 4

People = dict[str, tuple[str, str]]  # key -> (role, behaviour)


def cast(kind: str) -> Scenario:
    """The main job, with more cheats or with unequal data and none."""
    base = SCENARIOS["cooperative"]
    if kind == "noise":
        more = (Person("Sakasa", "trainer", "sign-flip"), Person("Fukkoku", "trainer", "replayer"))
        return replace(base, people=(*base.people, *more))
    honest = [person for person in base.people if not person.behaviour]
    honest += [Person(name, "trainer") for name in NAMES[6:9]]
    data = {"source": "mnist5k", "partition": "quantity", "alpha_ppm": 1_500_000}
    settings = {**base.settings, "data": data}
    return replace(base, people=tuple(honest), victims={}, settings=settings)


def play(kind: str, seed: int) -> tuple[list[RoundState], dict[int, FinalPart], People]:
    """Return the judged rounds, the second hold-outs' values and (role, behaviour) by key."""
    chosen = cast(kind)
    casting = Casting(chosen.name, chosen.people, chosen.victims, chosen.network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        view = run_local(
            chosen.make_task(seed), casting, path, lambda event: None, resume=False,
            base_dir=Path.cwd(),
        )  # fmt: skip
        replay = replay_log(RunDir(path), print)
    people = {member.pubkey: (member.role, member.behaviour) for member in view.members}
    rounds = [replay.rounds[index] for index in sorted(replay.rounds)]
    judged = [state for state in rounds if state.score_sheets]
    return judged, dict(replay.state.finals), people


class Tally:
    """What all runs showed."""

    def __init__(self) -> None:
        self.sds, self.shared, self.within = [], [], []
        self.honest, self.counted, self.blamed, self.false, self.seen = 0, 0, 0, 0, 0
        self.poison, self.elasticities = [], []
        self.closeness = {"honest": [], "zeros": [], "echo": []}
        self.losses: dict[int, list[float]] = {}

    def add(
        self,
        kind: str,
        rounds: list[RoundState],
        finals: dict[int, FinalPart],
        people: People,
    ) -> None:
        """Read one run."""
        last: dict[str, int] = {}
        totals, samples = {}, {}
        for state in rounds:
            sheets = [state.score_sheets[key] for key in sorted(state.score_sheets)]
            values_VN = np.array([[line[0] for line in sheet.lines] for sheet in sheets])
            players = sum(line[3] == 0 for line in sheets[0].lines)
            honest = [i for i, key in enumerate(state.units) if people[key] == ("trainer", "")]
            self.losses.setdefault(state.index, []).append(
                float(np.mean([sheet.loss_ppm for sheet in sheets])) / 1e6
            )
            sd = np.sqrt(values_VN[:, honest].var(axis=0, ddof=1).mean())
            self.sds.append((state.index, sd * players))
            self._compare_holdouts(
                state.index, finals.get(state.index), values_VN[:, honest], honest
            )
            mean = np.mean([state.judgements[i].value for i in honest])
            for i, (key, judged) in enumerate(zip(state.units, state.judgements, strict=True)):
                _role, behaviour = people[key]
                if behaviour in FALSE:
                    self.false += 1
                    self.seen += judged.verdict.name == "INVALID"
                if behaviour == "poisoner" and state.index <= FIRST_ROUNDS:
                    self.poison.append(-judged.value / mean)
                if i in honest:
                    self.honest += 1
                    self.counted += judged.verdict.name == "VALID"
                    self.blamed += judged.verdict.name == "INVALID"
                    totals[key] = totals.get(key, 0) + judged.value
                    samples[key] = state.assignments[key].samples
            self._measure_sheets(state, values_VN, last)
            last = {j.member: j.value for j in state.judgements}
        if kind == "quantity":
            kept = [key for key in totals if totals[key] > 0]
            x = np.log([samples[key] for key in kept])
            y = np.log([totals[key] for key in kept])
            self.elasticities += list(zip(x - x.mean(), y - y.mean(), strict=True))

    def _compare_holdouts(self, index, part, values_VH, honest) -> None:
        if part is None or index < FIRST_ROUNDS or len(part.values) < 2:
            return
        finals_VH = np.array([part.values[key] for key in sorted(part.values)])[:, honest]
        a, b = values_VH.mean(axis=0), finals_VH.mean(axis=0)
        self.shared.append(((a - a.mean()) * (b - b.mean())).mean())
        self.within.append(values_VH.var(axis=0, ddof=1).mean())

    def _measure_sheets(self, state, values_VN, last: dict[str, int]) -> None:
        sheets = {"honest": [], "zeros": [], "echo": []}
        for i, judged in enumerate(state.judgements):
            column = [int(value) for value in values_VN[:, i]]
            centre = stake_weighted_median(column, [1] * len(column))
            width = INLIER_MADS * compute_spread(column, centre)
            for name, told in (("zeros", 0), ("echo", last.get(judged.member, 0))):
                sheets[name].append(min(1.0, abs(told - judged.value) / width))
            sheets["honest"].append(np.mean(judged.deviations) / 1e6)
        for name, distances in sheets.items():
            self.closeness[name].append(float(np.exp(-np.mean(distances))))


def main() -> None:
    """Print and save the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=1)
    add_save_option(parser, "economics_noise")
    given = parser.parse_args()
    torch.set_num_threads(1)
    printout = Printout("economics_noise", given.save, 100)
    tally = Tally()
    for kind in ("noise", "quantity"):
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            tally.add(kind, *play(kind, seed))
            print(f"{kind} {seed}", flush=True)
    index, sd = np.log(np.array(tally.sds)).T
    power, level = np.polyfit(index, sd, 1)
    effort = np.polyfit(*np.array(tally.elasticities).T, 1)[0]
    shared = np.mean(tally.shared) if tally.shared else 0.0
    table = Table(title=f"what real runs show, {given.seeds} seeds of each kind")
    table.add_column("number")
    table.add_column("measured", justify="right")
    for name, value in (
        ("noise (ppm of a nat)", f"{np.exp(level):,.0f}"),
        ("noise_decay", f"{-power:.2f}"),
        ("luck", f"{np.sqrt(max(shared, 0) / np.mean(tally.within or [1])):.2f}"),
        ("effort_power", f"{effort:.2f}"),
        ("counted", f"{tally.counted} of {tally.honest} ({tally.counted / tally.honest:.1%})"),
        ("honest and INVALID", f"{tally.blamed} of {tally.honest}"),
        ("seen", f"{tally.seen} of {tally.false}"),
        ("poison", f"{np.median(tally.poison):.2f}"),
        *((f"F {name}", f"{np.mean(f):.3f}") for name, f in tally.closeness.items()),
        ("loss", " ".join(f"{np.mean(tally.losses[i]):.2f}" for i in sorted(tally.losses)[:8])),
    ):
        table.add_row(name, value)
    printout.show(table)
    printout.save()


if __name__ == "__main__":
    main()
