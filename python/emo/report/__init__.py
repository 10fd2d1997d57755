"""The report: artifacts of a run folder in, one static HTML file out."""

from emo.report.finding import finding
from emo.report.folder import missing_parts, read_run
from emo.report.page import build

__all__ = ["build", "finding", "missing_parts", "read_run"]
