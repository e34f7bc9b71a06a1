"""A model taken out of a finished run: plain files that need nothing of Kumiai."""

from kumiai.apps.export.write import Export, export_run

__all__ = ["Export", "export_run"]
