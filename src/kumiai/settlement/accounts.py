"""The names of a ledger's accounts: text that says whose money it is and what binds it.

::

    NAME                           free balance of a member, delegator or customer
    escrow:TASK                    funded and not yet spent
    locked:TASK                    trainers' pay withheld for the final ranking
    stake:TASK:MEMBER              a member's own stake
    delegation:TASK:NODE:DELEGATOR what a delegator lent to a node
    burnt:TASK                     slashed stake; nothing ever leaves it, least of all to an accuser
    world:outside                  the other side of deposits and withdrawals: minus all money here
    memo:paid:TASK[:PAYER]         a memorandum pair: what each payer put in, so that no refund
                                   exceeds it. Holds no money; the pair sums to zero

Names of people, tasks and evidence hold no colon, so nobody can be called `escrow:TASK`.
"""

from __future__ import annotations

OUTSIDE = "world:outside"
NAME_LENGTH_MAX = 128


def escrow_account(task: str) -> str:
    """Name the account of what is funded and not yet spent."""
    return f"escrow:{task}"


def locked_account(task: str) -> str:
    """Name the account of trainers' pay withheld until the final ranking."""
    return f"locked:{task}"


def burnt_account(task: str) -> str:
    """Name the account of slashed stake."""
    return f"burnt:{task}"


def stake_account(task: str, member: str) -> str:
    """Name the account of a member's own stake."""
    return f"stake:{task}:{member}"


def delegation_account(task: str, node: str, delegator: str) -> str:
    """Name the account of what `delegator` lent to `node`."""
    return f"delegation:{task}:{node}:{delegator}"


def paid_account(task: str, payer: str) -> str:
    """Name the memorandum of what `payer` put into a task."""
    return f"memo:paid:{task}:{payer}"


def paid_counter_account(task: str) -> str:
    """Name the other side of the memorandum: minus what all payers put in."""
    return f"memo:paid:{task}"


def may_be_negative(account: str) -> bool:
    """Tell whether `account` is one of the two counters that stand below zero by design."""
    return account == OUTSIDE or (account.startswith("memo:paid:") and account.count(":") == 2)


def is_name(text: object) -> bool:
    """Tell whether `text` may name a person, a task or a piece of evidence."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= NAME_LENGTH_MAX
        and text.isascii()
        and text.isprintable()
        and ":" not in text
        and " " not in text
    )
