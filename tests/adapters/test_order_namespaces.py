"""Validator processes, each in a network namespace of its own: lines that are cut and healed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess

import pytest
from tests.adapters.namespaces import Net, enter, find_obstacle, run_inside
from tests.adapters.validator_processes import Validators, check_one_order, wait_until

from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.service import run_service
from kumiai.consensus.pbft.safety import ViewEntered

PORT = 7_000
SECONDS_MAX = 300  # generous: what is waited for takes some seconds


@pytest.fixture
def cluster(tmp_path):
    """Four validators, each in its namespace; nothing of it is left afterwards."""
    obstacle = find_obstacle()
    if obstacle and "CI" in os.environ and os.geteuid() == 0 and "no `ip`" not in obstacle:
        pytest.fail(f"in CI as root this must run: {obstacle}")
    if obstacle:
        pytest.skip(obstacle)
    net = Net(4)
    validators = Validators(4, tmp_path)
    addresses = tuple(Address(net.get_host(i), PORT) for i in range(4))
    validators.configs = [
        dataclasses.replace(config, addresses=addresses) for config in validators.configs
    ]
    try:
        net.build()
        for index in range(4):
            validators.start(index, run_in_namespace, net.names[index])
        yield net, validators
    finally:
        validators.end()
        net.remove()


def run_in_namespace(config, name) -> None:
    enter(name)
    run_service(config)


def play(net, work) -> None:
    """Run a coroutine at the hub, from which all are reached that have a line."""
    run_inside(net.hub, lambda: asyncio.run(asyncio.wait_for(work(), SECONDS_MAX)))


def count_all(validators) -> list[int]:
    return [len(validators.read(i)) for i in range(4)]


def count_left(validators, index) -> int:
    """Return the highest view for which this validator says that it left the one before."""
    entries = validators.read_entries(index)
    return max((e.view for e in entries if isinstance(e, ViewEntered) and e.is_changing), default=0)


async def wait_for_equal(validators) -> None:
    await wait_until(lambda: len(set(count_all(validators))) == 1)


def test_a_primary_that_is_unplugged_is_replaced_and_catches_up(cluster):
    net, validators = cluster

    async def work():
        await validators.order(10)
        await wait_for_equal(validators)
        before = count_all(validators)[0]
        net.unplug(0)
        await validators.order(10, down={0})
        assert len(validators.read(0)) == before
        net.heal()
        await validators.order(5)
        await wait_for_equal(validators)

    play(net, work)
    validators.end()
    check_one_order(validators, least=4)


def test_halves_decide_nothing_and_go_on_together(cluster):
    net, validators = cluster

    async def work():
        await validators.order(10)
        await wait_for_equal(validators)
        before, views = count_all(validators), [count_left(validators, i) for i in range(4)]
        net.cut({0, 3})
        for index in range(4):  # both halves are asked, all can be reached
            await validators.order_quietly(index)
        # each half has waited for its primary, given it up, and has no quorum for another
        await wait_until(
            lambda: all(count_left(validators, i) > views[i] for i in range(4)),
        )
        assert count_all(validators) == before
        net.heal()
        await validators.order(5)
        await wait_until(lambda: all(count_requests(validators, i) == 19 for i in range(4)))

    play(net, work)
    validators.end()
    assert validators.count == 19
    check_same_requests(validators)


def count_requests(validators, index) -> int:
    return len({r.timestamp for d in validators.read(index) for r in d.batch.requests})


def check_same_requests(validators) -> None:
    """One order: the same batches everywhere, and each request is in it."""
    orders = [[(d.proof.sequence, d.proof.digest) for d in validators.read(i)] for i in range(4)]
    longest = max(orders, key=len)
    assert all(order == longest[: len(order)] for order in orders)
    assert [place for place, _ in longest] == list(range(1, len(longest) + 1))
    assert all(count_requests(validators, i) == validators.count for i in range(4))


def test_late_lines_keep_one_order(cluster):
    net, validators = cluster
    try:
        for index, ms in enumerate((20, 100, 200, 5)):
            net.delay(index, ms)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel has no netem: {error.stderr.strip()}")

    async def work():
        await validators.order(20)
        await wait_for_equal(validators)

    play(net, work)
    validators.end()
    check_one_order(validators, least=4)


def test_a_cut_is_a_cut(cluster):
    """The tests above would say nothing if frames went around: nobody dials across a cut."""
    net, _ = cluster

    def reaches(source, target) -> bool:
        async def dial() -> bool:
            try:
                _, writer = await asyncio.wait_for(
                    asyncio.open_connection(net.get_host(target), PORT), 2
                )
            except (OSError, TimeoutError):
                return False
            writer.close()
            return True

        return run_inside(net.names[source], lambda: asyncio.run(dial()))

    async def all_listen():
        while not all(reaches(0, i) for i in (1, 2, 3)):
            await asyncio.sleep(0.1)

    asyncio.run(asyncio.wait_for(all_listen(), SECONDS_MAX))
    net.cut({0, 3})
    assert (reaches(0, 3), reaches(3, 0), reaches(1, 2)) == (True, True, True)
    assert (reaches(0, 1), reaches(1, 3), reaches(2, 0)) == (False, False, False)
    net.unplug(1)
    assert not reaches(2, 1)
    net.heal()
    asyncio.run(asyncio.wait_for(all_listen(), SECONDS_MAX))
