"""The contract against the ledger's rules: random histories, compared to the unit after each step.

`kumiai.settlement.ledger.step` is the executable specification. Every history goes through it (by
way of `arena_model`, which lists the deviations) and through the deployed arena: on py-evm, on the
embedded chain and on a real anvil. KUMIAI_DIFF_EXAMPLES=500 in the environment plays more of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.adapters.evm.anvil import Anvil, run_anvil
from tests.adapters.evm.arena_door import COIN, ArenaDoor
from tests.adapters.evm.arena_model import (
    CANCELLED,
    ENDED,
    OPEN,
    PPM,
    RUNNING,
    STOPPED,
    TRAINER,
    VALIDATOR,
    Rules,
)
from tests.adapters.evm.arena_world import (
    ARBITER,
    DELEGATORS,
    NODES,
    PAYERS,
    PEOPLE,
    TRAINERS,
    VALIDATORS,
    WALLET,
    ArenaWorld,
    open_door,
)
from tests.adapters.evm.embedded_engine import EmbeddedEngine
from tests.adapters.evm.engines import GENESIS_TIME, AnvilEngine, PyEvmEngine

from kumiai.settlement.certificates import ChainSlash

EXAMPLES = int(os.environ.get("KUMIAI_DIFF_EXAMPLES", "40"))
STEPS = 30
PEOPLE_ON_CHAIN = [*PEOPLE, ARBITER]  # who signs transactions

person = st.sampled_from(PEOPLE)
node = st.sampled_from(NODES)
delegator = st.sampled_from(DELEGATORS)
amount = st.one_of(st.integers(0, 300), st.sampled_from([1, WALLET, WALLET + 1, 2**128 - 1]))
slashes = st.lists(
    st.builds(
        ChainSlash,
        member=st.sampled_from([each.address for each in PEOPLE]),
        amount=st.integers(0, 80),
        evidence=st.integers(0, 5).map(lambda n: n.to_bytes(32, "big")),
    ),
    max_size=2,
)
payments = st.lists(st.tuples(person, st.integers(0, 120)), max_size=4)


class Histories(RuleBasedStateMachine):
    """What anybody may try, in any order."""

    door: ArenaDoor  # set by the test

    @initialize(
        delegation_slash=st.sampled_from([0, 0, PPM // 2, PPM]),
        to_task=st.booleans(),
        is_coin=st.booleans(),
        delay=st.sampled_from([0, 8]),
        cool_down=st.sampled_from([0, 40]),
        begin=st.sampled_from(["empty", "staked", "unfunded", "running", "running", "running"]),
    )
    def create(
        self,
        delegation_slash: int,
        to_task: bool,
        is_coin: bool,
        delay: int,
        cool_down: int,
        begin: str,
    ) -> None:
        rules = Rules(
            ends_at=GENESIS_TIME + 10_000,
            grace=100,
            activation_delay=delay,
            cool_down=cool_down,
            slash_ppm=333_333,
            delegation_slash_ppm=delegation_slash,
            slash_to_task=to_task,
            trainer_stake_min=10,
            validator_stake_min=20,
        )
        self.world = ArenaWorld(self.door, rules, COIN if is_coin else self.door.credit)
        if begin == "empty":
            return
        if begin != "unfunded":
            self.world.fund(PAYERS[0], 2_000)
        for each in NODES[:-1]:
            self.world.stake(each, TRAINER if each in TRAINERS else VALIDATOR, 90)
        self.world.delegate(DELEGATORS[0], NODES[0], 70)
        if begin != "staked":
            self.world.start(VALIDATORS[:3])
        if begin == "unfunded":  # nobody is left to be refunded: slashed stake is burnt
            self.world.convict(NODES[1], 500_000, 0)
        if begin == "running":
            self.world.settle(1, [(TRAINERS[0], 50), (DELEGATORS[0], 7)], 30)

    @precondition(lambda self: self.is_in(OPEN, RUNNING))
    @rule(payer=person, amount=amount)
    def fund(self, payer, amount):
        self.world.fund(payer, amount)

    @precondition(lambda self: self.is_in(OPEN, RUNNING))
    @rule(member=node, role=st.sampled_from([TRAINER, VALIDATOR]), amount=amount)
    def stake(self, member, role, amount):
        self.world.stake(member, role, amount)

    @precondition(lambda self: self.is_in(OPEN, RUNNING))
    @rule(delegator=delegator, node=node, amount=amount)
    def delegate(self, delegator, node, amount):
        self.world.delegate(delegator, node, amount)

    @precondition(lambda self: self.is_in(OPEN))
    @rule(member=node)
    def unstake(self, member):
        self.world.unstake(member)

    @precondition(lambda self: self.is_in(OPEN))
    @rule(committee=st.lists(node, unique=True, max_size=4))
    def start(self, committee):
        self.world.start(sorted(committee, key=lambda each: each.address))

    @precondition(lambda self: self.is_in(OPEN))
    @rule(dice=st.integers(0, 4))
    def start_well_or_cancel(self, dice):
        if dice or not self.world.model.seats:
            staked = [each for each in VALIDATORS if self.world.model.get_stake(each.address)]
            self.world.start(staked)
        else:
            self.world.cancel()

    @precondition(lambda self: self.is_in(RUNNING))
    @rule(
        step=st.sampled_from([1, 1, 1, 1, 2, 0, -1]),
        payments=payments,
        locked=st.integers(0, 150),
        slashes=slashes,
        signatures=st.sampled_from([None, None, None, 3, 2, 0]),
        successors=st.sampled_from([(), (), VALIDATORS[:1], VALIDATORS[1:]]),
    )
    def settle(self, step, payments, locked, slashes, signatures, successors):
        round_ = max(0, self.world.model.round_last + step)
        self.world.settle(
            round_, payments, locked, slashes, signatures=signatures, successors=successors
        )

    @precondition(lambda self: self.is_in(RUNNING))
    @rule(payments=payments, locked=st.integers(0, 150))
    def settle_and_claim(self, payments, locked):
        self.go_well(payments, locked, [])

    @precondition(lambda self: self.is_in(RUNNING))
    @rule(payments=payments, locked=st.integers(0, 150), slashes=slashes)
    def settle_slash_and_claim(self, payments, locked, slashes):
        self.go_well(payments, locked, slashes)

    def go_well(self, payments, locked, slashes):
        """What goes well if anything does: money for it, a full quorum, time for the root."""
        need = locked + sum(amount for _, amount in payments)
        if need > self.world.model.escrow:
            self.world.fund(PAYERS[1], need)
        self.world.settle(self.world.model.round_last + 1, payments, locked, slashes)
        self.world.door.engine.pass_time(self.world.model.rules.activation_delay)
        for each, _ in payments:
            self.world.claim(self.world.model.round_last, each, DELEGATORS[0])

    @precondition(lambda self: self.is_in(RUNNING, STOPPED) and self.world.model.round_last > 1)
    @rule(
        payments=payments,
        locked=st.sampled_from([0, 0, 0, 5]),
        slashes=slashes,
        signatures=st.sampled_from([None, None, 2]),
    )
    def settle_end(self, payments, locked, slashes, signatures):
        round_ = self.world.model.round_last + 1
        self.world.settle(round_, payments, locked, slashes, is_final=True, signatures=signatures)
        self.world.withdraw(NODES[0], PAYERS[0])  # too early, unless there is no cool-down

    @rule()
    def settle_again(self):
        self.world.settle_again()

    @precondition(lambda self: not self.is_in(OPEN, CANCELLED))
    @rule(slashes=slashes, signatures=st.sampled_from([None, None, 1]))
    def verdict(self, slashes, signatures):
        self.world.verdict(slashes, signatures)

    @precondition(lambda self: not self.is_in(OPEN, CANCELLED))
    @rule(
        who=st.sampled_from([*VALIDATORS, TRAINERS[0], PAYERS[1]]),
        round_=st.integers(0, 1),
        attempt=st.integers(0, 1),
        salt=st.integers(0, 9),
    )
    def equivocate(self, who, round_, attempt, salt):
        self.world.equivocate(who, round_, attempt, salt)

    @precondition(lambda self: self.world.model.roots)
    @rule(
        back=st.integers(0, 2),
        account=person,
        sender=person,
        extra=st.sampled_from([0, 0, 0, 0, 1]),
        times=st.sampled_from([1, 2]),
    )
    def claim(self, back, account, sender, extra, times):
        for _ in range(times):
            round_ = max(0, self.world.model.round_last - back)
            self.world.claim(round_, account, sender, extra)

    @precondition(lambda self: self.world.model.roots)
    @rule()
    def claim_all(self):
        for each in PEOPLE:
            self.world.claim(self.world.model.round_last, each, PAYERS[0])

    @precondition(lambda self: self.is_in(*ENDED))
    @rule(is_early=st.booleans())
    def take_everything_back(self, is_early):
        if not is_early:
            self.world.door.engine.pass_time(self.world.model.rules.cool_down)
        for each in NODES:
            self.world.withdraw(each, PAYERS[0])
            for lender in DELEGATORS:
                self.world.undelegate(lender, each)
        for each in PAYERS:
            self.world.refund(each)

    @rule(what=st.integers(0, 8), one=person, other=node, lender=delegator)
    def try_anytime(self, what, one, other, lender):
        """In any state: mostly refused."""
        world = self.world
        [
            lambda: world.fund(one, 5),
            lambda: world.stake(other, TRAINER, 25),
            lambda: world.delegate(lender, other, 5),
            lambda: world.unstake(other),
            lambda: world.withdraw(other, one),
            lambda: world.undelegate(lender, other),
            lambda: world.refund(one),
            world.expire,
            lambda: world.start(VALIDATORS[:1]),
        ][what]()

    @precondition(lambda self: self.is_in(RUNNING, STOPPED))
    @rule(
        action=st.sampled_from([0, 0, 1, 1, 2]),
        seconds=st.integers(1, 20),
        signatures=st.sampled_from([2, 3, 1]),
    )
    def order(self, action, seconds, signatures):
        self.world.order(action, seconds, signatures)

    @precondition(lambda self: self.world.model.roots)
    @rule(member=node, back=st.integers(0, 2))
    def hold(self, member, back):
        self.world.hold(member, max(0, self.world.model.round_last - back))

    @precondition(lambda self: self.world.model.held)
    @rule(index=st.integers(0, 3), is_disabled=st.sampled_from([False, False, True]))
    def release(self, index, is_disabled):
        held = self.world.model.held
        member, round_ = held[index % len(held)]
        who = next(each for each in NODES if each.address == member)
        self.world.release(who, round_, is_disabled=is_disabled)

    @rule(member=node, ppm=st.sampled_from([0, 1, 500_000, PPM]), salt=st.integers(0, 3))
    def convict(self, member, ppm, salt):
        self.world.convict(member, ppm, salt)

    @precondition(lambda self: self.is_in(RUNNING))
    @rule(node=node, first=st.integers(1, 50), second=st.integers(1, 50), salt=st.integers(4, 99))
    def lend_before_and_after_a_slash(self, node, first, second, salt):
        self.world.delegate(DELEGATORS[0], node, first)
        self.world.convict(node, 333_333, salt)
        self.world.delegate(DELEGATORS[1], node, second)

    @rule(seconds=st.sampled_from([1, 10, 100]))
    def pass_time(self, seconds):
        self.world.door.engine.pass_time(seconds)

    @precondition(lambda self: self.is_in(RUNNING, STOPPED) and self.world.model.round_last > 2)
    @rule(dice=st.integers(0, 3))
    def outlast(self, dice):
        if not dice:
            self.world.door.engine.pass_time(11_000)
            self.world.expire()

    def is_in(self, *statuses: int) -> bool:
        return self.world.model.status in statuses

    @invariant()
    def compare(self):
        if hasattr(self, "world") and self.world.has_changed:
            self.world.compare()


def play(door: ArenaDoor, examples: int, *, is_shrunk: bool = True) -> None:
    """Play `examples` histories; raises what the first failing one (made small) raised."""
    machine = type("Histories", (Histories,), {"door": door})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[Phase.generate, *([Phase.shrink] if is_shrunk else [])],
            report_multiple_bugs=False,
            derandomize="KUMIAI_DIFF_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with run_anvil("--base-fee", "0", "--gas-price", "0", "--timestamp", str(GENESIS_TIME)) as node:
        yield node


def test_py_evm_answers_as_the_ledger():
    play(open_door(PyEvmEngine()), max(2, EXAMPLES // 2))


def test_anvil_answers_as_the_ledger(node):
    play(open_door(AnvilEngine(node)), EXAMPLES)


def test_the_embedded_chain_answers_as_the_ledger(tmp_path):
    """Signed transactions, one a block, on a chain that is closed and opened for each history."""
    with EmbeddedEngine(tmp_path, PEOPLE_ON_CHAIN, WALLET) as engine:
        play(open_door(engine), max(2, EXAMPLES // 12))
