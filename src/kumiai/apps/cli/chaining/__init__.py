"""`kumiai chain ...`: the embedded chain, keys, contracts, and what people do with a task there."""

from kumiai.apps.cli.chaining import guarding, money  # they put their commands into the group
from kumiai.apps.cli.chaining.group import chain

__all__ = ["chain", "guarding", "money"]
