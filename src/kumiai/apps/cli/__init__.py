"""The command line: `kumiai demo`, `new`, `run`, `verify`, `inspect`, `scenarios`."""

from kumiai.apps.cli.entry import main

__all__ = ["main"]
