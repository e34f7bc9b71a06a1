"""The report: a self-contained page that shows a run to people who were not there."""

from kumiai.apps.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
