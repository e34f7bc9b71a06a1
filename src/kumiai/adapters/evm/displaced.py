"""Who took a nonce: the proof that one of our transactions can never be mined.

A missing receipt proves nothing: the node may be behind, or may have forgotten. That a block holds
another transaction of the same sender and nonce does, as far as the node is believed at all and
the chain does not reorganise below that block.
"""

from __future__ import annotations

from collections.abc import Collection

from kumiai.adapters.evm.node import Node
from kumiai.adapters.evm.outbox_table import Row


async def is_displaced(node: Node, row: Row, ours: Collection[str], deep: int) -> bool:
    """Tell whether a block up to number `deep` holds a foreign transaction with the row's nonce.

    ours: hashes of every form in which the row was signed. Costs about 2 log2 of the block's depth
    in questions, of states that a pruned node may not have any more: then ChainError.
    """
    assert row.nonce is not None
    sender, nonce = row.sender, row.nonce
    if deep < 0 or await node.get_nonce(sender, deep) <= nonce:
        return False
    after, step = deep, 1  # the count passes the nonce in a block above `before`, up to `after`
    before = max(-1, after - step)
    while before >= 0 and await node.get_nonce(sender, before) > nonce:
        after, step = before, 2 * step
        before = max(-1, after - step)
    while after - before > 1:
        middle = (after + before) // 2
        if await node.get_nonce(sender, middle) > nonce:
            after = middle
        else:
            before = middle
    found = [
        h for who, number, h in await node.get_senders(after) if (who, number) == (sender, nonce)
    ]
    return bool(found) and not set(found) & set(ours)
