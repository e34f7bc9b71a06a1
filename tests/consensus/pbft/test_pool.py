"""The pool's bounds: a client can fill its own share, in number and in bytes, and no other's."""

from __future__ import annotations

import pytest

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.pool import (
    BYTES_PER_CLIENT_MAX,
    WAITING_MAX,
    WAITING_PER_CLIENT_MAX,
    Pool,
)

LARGEST = "x" * m.OPERATION_BYTES_MAX


def request(client: str, timestamp: int, operation: str = "o") -> m.Request:
    return m.Request(client, timestamp, operation, "")


def fill(pool: Pool, client: str, operation: str) -> int:
    """Add until the pool refuses; return how many it took."""
    count = 0
    while not pool.find_flaw(request(client, count, operation)):
        pool.add(request(client, count, operation))
        count += 1
    return count


@pytest.mark.parametrize("letter", ["x", "組"])
def test_a_client_s_waiting_bytes_are_bounded(letter):
    pool, size = Pool(), len(letter.encode())
    operation = letter * (m.OPERATION_BYTES_MAX // size)
    taken = fill(pool, "a", operation)
    assert taken == BYTES_PER_CLIENT_MAX // (m.OPERATION_BYTES_MAX // size * size)
    assert "bytes of this client are waiting" in pool.find_flaw(request("a", 99, operation))
    assert fill(pool, "b", operation) == taken


def test_a_client_s_waiting_requests_are_bounded_and_so_are_all():
    pool = Pool()
    assert fill(pool, "a", "o") == WAITING_PER_CLIENT_MAX
    clients = WAITING_MAX // WAITING_PER_CLIENT_MAX
    assert [fill(pool, f"b{i}", "o") for i in range(clients)][-1] == 0
    assert len(pool.waiting) == WAITING_MAX


def test_what_is_executed_makes_room_again():
    pool = Pool()
    taken = fill(pool, "a", LARGEST)
    for timestamp in range(taken):  # decided with other operations: a client may sign twice
        pool.execute([request("a", timestamp)])
    assert pool.waiting == {}
    later = [request("a", taken + i, LARGEST) for i in range(taken)]
    for each in later:
        assert not pool.find_flaw(each)
        pool.add(each)
    pool.execute(later)
    assert fill(pool, "b", LARGEST) == taken
