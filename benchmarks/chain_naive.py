"""The naive design's round, played on a measured chain: contracts/src/bench/Naive.sol."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from eth_abi import encode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from chain_lab import COIN, Job, Lab, Wallet, load_code
from kumiai.adapters.evm.abi import make_function
from kumiai.base.keys import keccak256

BUDGET = COIN  # of a round, wei
ROUNDS = 4  # that it has money for
SALT = bytes(31) + b"\x05"
SCORE_MAX = 10**6

_FUNCTIONS = {
    name: make_function(f"{name}({arguments})", "()", {})
    for name, arguments in {
        "join": "bool asTrainer",
        "commit": "uint256 round, bytes32 commitment",
        "reveal": "uint256 round, bytes32 model, bytes32 salt",
        "commitScores": "uint256 round, bytes32 commitment",
        "postScores": "uint256 round, uint256[] scores, bytes32 salt",
        "settle": "uint256 round",
        "claim": "",
    }.items()
}


class NaiveRun:
    """The naive contract with its people, round by round."""

    def __init__(
        self,
        lab: Lab,
        trainers: Sequence[Wallet],
        validators: Sequence[Wallet],
        *,
        is_pushing: bool,
    ) -> None:
        self._lab, self._trainers, self._validators = lab, trainers, validators
        self._is_pushing = is_pushing
        code = load_code("Naive") + encode(["uint256", "bool"], [BUDGET, is_pushing])
        self.address, _ = lab.deploy(trainers[0], code, ROUNDS * BUDGET)
        jobs = [self._job(each, "join", True, value=COIN) for each in trainers]
        jobs += [self._job(each, "join", False, value=COIN) for each in validators]
        self.setup = sum(done.gas for done in lab.run(jobs))

    def play(self, round_index: int) -> int:
        """Play one round of everybody; return its gas."""
        draw = random.Random(round_index)
        model = bytes([round_index]) * 32
        model_hash = _hash(["bytes32", "bytes32"], [model, SALT])
        commits = [self._job(each, "commit", round_index, model_hash) for each in self._trainers]
        reveals = [self._job(each, "reveal", round_index, model, SALT) for each in self._trainers]
        score_commits, posts = [], []
        for each in self._validators:
            scores = [draw.randrange(1, SCORE_MAX) for _ in self._trainers]
            commitment = _hash(["uint256[]", "bytes32"], [scores, SALT])
            score_commits.append(self._job(each, "commitScores", round_index, commitment))
            posts.append(self._job(each, "postScores", round_index, scores, SALT))
        phases = [commits, reveals, score_commits, posts]
        phases.append([self._job(self._trainers[0], "settle", round_index)])
        if not self._is_pushing:
            people = [*self._trainers, *self._validators]
            phases.append([self._job(each, "claim") for each in people])
        return self._lab.run_phases(phases)

    def _job(self, wallet: Wallet, name: str, *arguments: object, value: int = 0) -> Job:
        function = _FUNCTIONS[name]
        kinds = [parameter.type for parameter in function.inputs]
        data = function.selector + encode(kinds, arguments)
        return Job(wallet, self.address, data, value, gas=16_000_000)


def _hash(kinds: Sequence[str], values: Sequence[object]) -> bytes:
    return keccak256(encode(kinds, values))
