"""The command line: `kumiai demo`, `new`, `run`, `verify`, `inspect`, `export`, `scenarios`."""

from kumiai.apps.cli.entry import main

__all__ = ["main"]
