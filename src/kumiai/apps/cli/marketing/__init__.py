"""`kumiai market`, `kumiai provider`, `kumiai relay` and `kumiai blobs`: commands and screens."""

from kumiai.apps.cli.marketing.groups import add_market_groups

__all__ = ["add_market_groups"]
