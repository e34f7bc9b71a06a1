"""`kumiai wallet ...`: what a wallet holds, what moved, and whether it all adds up."""

from kumiai.apps.cli.wallet import purse_group  # its commands join the group
from kumiai.apps.cli.wallet.group import wallet

__all__ = ["purse_group", "wallet"]
