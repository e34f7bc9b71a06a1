"""The outbox for code that does not wait on a loop: questions while the node is away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kumiai.adapters.evm import sender as module
from kumiai.adapters.evm.errors import LyingNodeError, NodeUnreachableError
from kumiai.adapters.evm.sender import Sender


class Away:
    """A node that answers to its chain's id, and raises `troubles` before each other answer."""

    def __init__(self, *troubles: Exception) -> None:
        self.connections, self._troubles = 1, list(troubles)

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        if method != "eth_chainId" and self._troubles:
            raise self._troubles.pop(0)
        return "0x7"

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        return [await self.request(method, params) for method, params in calls]


@contextmanager
def asking(node: Away, path: Path, wait_seconds: float) -> Iterator[Sender]:
    sender = Sender(lambda: node, path, (), wait_seconds=wait_seconds)
    try:
        yield sender
    finally:
        sender.close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INSIST_SECONDS", 0.0)


def test_a_node_that_is_away_is_asked_until_it_answers(tmp_path: Path) -> None:
    node = Away(*[NodeUnreachableError("away")] * 20)
    with asking(node, tmp_path / "box.db", 60.0) as sender:
        assert sender.insist(sender.node.get_block_number) == 7


def test_after_the_wait_it_is_told_that_the_node_is_away(tmp_path: Path) -> None:
    node = Away(*[NodeUnreachableError("away")] * 20)
    with (
        asking(node, tmp_path / "box.db", 0.0) as sender,
        pytest.raises(NodeUnreachableError, match="away"),
    ):
        sender.insist(sender.node.get_block_number)


def test_what_no_waiting_cures_is_told_at_once(tmp_path: Path) -> None:
    node = Away(LyingNodeError("two heads"), NodeUnreachableError("away"))
    with asking(node, tmp_path / "box.db", 60.0) as sender:
        with pytest.raises(LyingNodeError, match="two heads"):
            sender.insist(sender.node.get_block_number)
        with pytest.raises(NodeUnreachableError):  # one question, asked once
            sender.ask(sender.node.get_block_number())
