"""The fixture itself: it answers, it is ended by its pid, it comes back on its port."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import run_anvil


def test_a_node_answers_and_is_gone_afterwards() -> None:
    with run_anvil() as node:
        assert node.request("eth_chainId") == hex(31337)
        pid = node.pid
        with pytest.raises(RuntimeError, match="-32601"):
            node.request("no_such")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_node_comes_back_on_its_port_with_its_state(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with run_anvil("--state", str(state)) as node:
        node.request("evm_mine")
        url = node.url
        node.stop()
        node.start()
        assert node.url == url
        assert node.request("eth_blockNumber") == "0x1"
